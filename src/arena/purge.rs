//! How arenas, and the pages of free slots, go back to the system.
//!
//! Nobody makes a system call with the lock of the arenas held. So the slots of a batch are taken off their arena first (`choose`): they are
//! not free, and no run starts there, and nobody else finds them. Then the system takes the pages (`Batch::carry_out`), and
//! the slots come free again (`Arenas::end_batch`). An arena stays mapped meanwhile, since not all of its slots are free. One that is to be
//! unmapped is in no list and not in the map.
//!
//! A child that is forked meanwhile has no thread that would bring the batch back: its slots stay neither free nor taken there, and an arena on
//! its way to the system stays mapped and unknown. That is one batch a thread at most, and nothing else hangs on it.
//!
//! ```text
//!   take, release, resize, decay, give_up, trim
//!     give_back: choose -> carry_out -> end_batch, until the goal is reached, or the quota of the call
//! ```

use super::account::{is_giving_back, set_giving_back};
use super::batch::{Batch, Call, Part, Way};
use super::header::{Arena, FREE_WHEN_EMPTY};
use super::slots::{ARENAS, Arenas, Pages};
use crate::geometry::ARENA_SIZE;
use crate::retain::{self, Moment};
use crate::sync::Guard;

/// Bytes that go back in one call, so that none takes long: 256 pages take about 0.3 ms. The rest is a debt that the next slow
/// paths pay. As much as one call can free, so that the debt does not grow.
const QUOTA: usize = ARENA_SIZE;

impl Arenas {
    /// The slots of a batch come free again, whether the system took them or refused.
    #[inline(never)]
    pub(super) fn end_batch(&mut self, batch: &Batch, call: &mut Call, now: Moment) {
        for part in batch.parts() {
            // SAFETY: mapped, unless it was unmapped just now; then nothing follows the pointer.
            if part.way == Way::Unmap && !part.refused {
                self.counts.unmapped += 1;
                // Its addresses are the first that a later arena should fill again.
                self.hint = part.arena.cast_mut().cast();
            } else {
                // SAFETY: the arena is mapped, since it has slots in this batch, or could not be unmapped.
                self.take_back(unsafe { &*part.arena }, part);
            }
            if part.refused {
                call.note_refusal(part.arena);
                continue;
            }
            call.returned = true;
            if call.counts && part.way != Way::Lazily {
                self.retained.give_back(part.dirty_bytes(), now);
            }
        }
        self.refused_at = match call.refusals {
            0 => 0,
            _ => self.dirty_slots,
        };
    }

    /// Slots come back from the system, or an arena that it refused to unmap.
    #[inline(never)]
    fn take_back(&mut self, arena: &'static Arena, part: &Part) {
        let pages = match part.way {
            _ if part.unpurged => Pages::Dirty,
            Way::Lazily => Pages::Lazy,
            Way::Purge | Way::Unmap => Pages::Purged,
        };
        if part.way == Way::Unmap {
            let dirty = if part.unpurged { FREE_WHEN_EMPTY } else { 0 };
            arena.dirty.set(dirty);
            arena.written.set(0);
            return self.enter_or_strand(arena);
        }
        if pages == Pages::Purged {
            self.counts.purged += part.slots.count_ones() as usize;
        }
        self.add_free(arena, part.slots, pages);
    }
}

/// Gives back memory that may not stay, as far as the call goes, and the lock.
#[inline(never)]
fn give_back(mut arenas: Guard<'static, Arenas>, call: &mut Call) {
    loop {
        let mut batch = arenas.choose(call);
        if batch.count == 0 {
            // Where the system takes nothing there is nothing to go on with.
            let rest = call.left == 0 && call.returned && arenas.must_purge(call);
            set_giving_back(rest);
            return;
        }
        drop(arenas);
        batch.carry_out();
        let now = if call.counts { retain::now() } else { 0 };
        arenas = ARENAS.lock();
        arenas.end_batch(&batch, call, now);
    }
}

/// After slots were taken: pays a part of the debt, if there is any, and gives the lock back.
pub(super) fn after_take(mut arenas: Guard<'static, Arenas>) {
    arenas.observe(true);
    if is_giving_back() {
        give_back(arenas, &mut Call::of(QUOTA));
    }
}

/// After slots came free, perhaps the last of an arena: gives back memory that may not stay, and the lock.
pub(super) fn after_release(mut arenas: Guard<'static, Arenas>, emptied: bool) {
    arenas.observe(true);
    arenas.check_surplus();
    if is_giving_back() || emptied && arenas.empty > arenas.empty_allowed() {
        give_back(arenas, &mut Call::of(QUOTA));
    }
}

/// Retains `bytes` less here, and gives back as many: somebody else is about to map them.
pub fn give_up(bytes: usize) {
    let mut arenas = ARENAS.lock();
    let unused = arenas.unused();
    let given_up = arenas.retained.give_up(bytes, unused);
    if is_giving_back() || given_up > 0 {
        set_giving_back(true);
        let mut call = Call::of(bytes.max(QUOTA));
        // They would have stayed.
        call.counts = false;
        call.given_up = given_up;
        give_back(arenas, &mut call);
    }
}

/// Forgets wanted memory that has not been used for long, and gives a part of it back. For when no slot comes or goes.
pub fn decay() {
    let mut arenas = ARENAS.lock();
    arenas.observe(false);
    if is_giving_back() {
        give_back(arenas, &mut Call::of(QUOTA));
    }
}

/// Gives back every empty arena, and the pages of every free slot. True when something went back.
pub fn trim() -> bool {
    let mut arenas = ARENAS.lock();
    arenas.retained.forget();
    let mut call = Call::of(usize::MAX);
    call.everything = true;
    // Asked for by the program.
    call.counts = false;
    give_back(arenas, &mut call);
    call.returned
}
