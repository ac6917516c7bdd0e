//! How arenas come from the system, and how they, and the pages of free slots, go back.
//!
//! What it owns: the choice of what goes back, and `GIVING_BACK`, the debt that is left when a call has done its share.
//!
//! No system call is made with the lock of the arenas held. What is to go back is taken off its arena first (`choose`): the slots are
//! not free, and no run starts there, so that nobody else finds them. Then the system takes the pages (`Batch::carry_out`), and
//! the slots come free again (`Arenas::end_batch`). An arena stays mapped meanwhile, since not all of its slots are free; one that is to be
//! unmapped is in no list and not in the map.
//!
//! A child that is forked meanwhile has no thread that would bring the batch back: its slots stay neither free nor taken there, and an arena on
//! its way to the system stays mapped and unknown. That is one batch a thread at most, and nothing else hangs on it.
//!
//! ```text
//!   take, release, resize, decay, give_up, trim
//!     give_back: choose -> carry_out -> end_batch, until the goal is reached, or the quota of the call
//! ```

use super::account::{DIRTY_PART, DIRTY_SHARE};
use super::batch::{Batch, Call, Part, Way};
use super::bits::{runs, slots_mask};
use super::*;
use crate::mapping;
use crate::registry::{Entry, lock_with_room};
use crate::retain::Moment;
use crate::sync::Guard;
use core::sync::atomic::AtomicBool;

/// Bytes that go back in one call, so that none takes long: 256 pages take about 0.3 ms. What is over is a debt that the next slow
/// paths pay. As much as one call can free, so that the debt does not grow.
const QUOTA: usize = ARENA_SIZE;

/// Whether there is more to go back than may stay. Changed under the lock.
static GIVING_BACK: AtomicBool = AtomicBool::new(false);

/// Whether there is more to go back than may stay.
pub fn is_giving_back() -> bool {
    // Relaxed: a hint to come by.
    GIVING_BACK.load(Ordering::Relaxed)
}

fn set_giving_back(giving_back: bool) {
    // Relaxed: the lock is held. Not written when nothing changes, since every slow path reads it.
    if is_giving_back() != giving_back {
        GIVING_BACK.store(giving_back, Ordering::Relaxed);
    }
}

impl Arenas {
    /// How many free slots may hold pages before they are purged, what is retained aside.
    fn dirty_allowance(&self) -> usize {
        if SLOT_SIZE < os::page_size() {
            // Slots smaller than the system's pages share them with their neighbours.
            return usize::MAX;
        }
        allowance(DIRTY_SHARE, DIRTY_PART) >> SLOT_SHIFT
    }

    /// How many may stay once some must go: half of the allowance, so that each purge covers many, and what is retained.
    pub(super) fn dirty_goal(&self) -> usize {
        let allowance = self.dirty_allowance();
        (allowance - allowance / 2).saturating_add(self.retained.resident() >> SLOT_SHIFT)
    }

    /// How many slots may be lazy.
    fn lazy_allowed(&self) -> usize {
        self.retained.lazy() >> SLOT_SHIFT
    }

    /// How many empty arenas stay mapped: beyond the usual ones as many as the pages that are retained can fill by half. An arena is
    /// never wholly dirty; were it counted so, some would be unmapped whatever is retained, and asked for anew each time.
    fn empty_allowed(&self) -> usize {
        let held = (self.dirty_slots + self.lazy_slots) << SLOT_SHIFT;
        conf::EMPTY_ARENAS.get() + self.retained.wanted().min(held) / (ARENA_SIZE / 2)
    }

    /// Finds out whether more is dirty than may stay. To be called when slots came free.
    #[inline(never)]
    fn check_surplus(&mut self) {
        // What was locked may not be any more.
        self.refused_at = self.refused_at.min(self.dirty_slots);
        let allowed = self
            .dirty_allowance()
            .saturating_add(self.retained.resident() >> SLOT_SHIFT);
        if self.dirty_slots > allowed.max(2 * self.refused_at) {
            set_giving_back(true);
        }
    }

    /// Tells what of the wanted memory is unused. For changes of free slots, which are many, `in_turn`.
    #[inline]
    fn observe(&mut self, in_turn: bool) {
        if self.retained.wanted() > 0 {
            self.observe_now(in_turn);
        }
    }

    /// Bytes of what is wanted that are unused.
    fn unused(&self) -> usize {
        let dirty = self.dirty_slots.saturating_sub(self.dirty_allowance());
        (dirty + self.lazy_slots) << SLOT_SHIFT
    }

    #[inline(never)]
    fn observe_now(&mut self, in_turn: bool) {
        let unused = self.unused();
        let less = match in_turn {
            true => self
                .retained
                .observe_in_turn(unused, in_use_bytes(), retain::now),
            false => self.retained.observe(unused, in_use_bytes(), retain::now()),
        };
        if less {
            set_giving_back(true);
        }
    }

    /// Takes what goes back next off its arenas: empty arenas, then slots of the emptiest arenas, so that what the next pools will take,
    /// from the fullest, stays. Nothing when nothing must go, or the call has done its share.
    #[inline(never)]
    pub(super) fn choose(&mut self, call: &mut Call) -> Batch {
        let mut batch = Batch::empty();
        self.choose_empty(call, &mut batch);
        for bucket in (1..SLOTS).rev() {
            let mut next = self.by_count.first[bucket];
            // SAFETY: arenas in the buckets are mapped.
            while let Some(arena) = unsafe { next.as_ref() } {
                // Before the arena goes to another bucket.
                next = arena.by_count.next.get();
                if !call.avoids(arena) {
                    self.choose_slots(arena, call, &mut batch);
                }
                if call.is_over() || !batch.has_room() || !self.must_purge(call) {
                    return batch;
                }
            }
        }
        batch
    }

    #[inline(never)]
    fn choose_empty(&mut self, call: &mut Call, batch: &mut Batch) {
        let mut next = self.by_count.first[USABLE_SLOTS];
        // SAFETY: arenas in the buckets are mapped.
        while let Some(arena) = unsafe { next.as_ref() } {
            next = arena.by_count.next.get();
            let stay = if call.everything {
                0
            } else {
                self.empty_allowed()
            };
            if self.empty <= stay || call.is_over() || !batch.has_room() {
                return;
            }
            if call.avoids(arena) {
                continue;
            }
            let dirty = arena.dirty_free();
            self.remove_arena(arena);
            batch.push(arena, FREE_WHEN_EMPTY, Way::Unmap, dirty);
            // Its addresses take time as well.
            let bytes = (dirty.count_ones() as usize + 1) << SLOT_SHIFT;
            call.left = call.left.saturating_sub(bytes);
        }
    }

    /// Whether slots must go back.
    #[inline(never)]
    fn must_purge(&self, call: &Call) -> bool {
        match call.everything {
            true => self.dirty_slots + self.lazy_slots > 0 && SLOT_SIZE >= os::page_size(),
            false => {
                call.given_up > 0 && self.unused() > 0
                    || self.dirty_slots > self.dirty_goal()
                    || self.lazy_slots > self.lazy_allowed()
            }
        }
    }

    /// How many slots more may go lazily, beside those that this batch takes there. What another thread is taking there just now is not counted: should
    /// the two be too many, the next call purges the rest.
    fn lazy_room(&self, batch: &Batch) -> usize {
        self.lazy_allowed()
            .saturating_sub(self.lazy_slots + batch.lazy_slots)
    }

    /// The slots of an arena that are to go back next, and how: lazily if there is room for some more of these.
    fn due_slots(&self, arena: &Arena, call: &Call, lazy_room: usize) -> (u64, Way) {
        if call.everything {
            return (arena.dirty_free() | arena.lazy_free(), Way::Purge);
        }
        if call.given_up > 0 {
            // What is lazy is the system's anyway: it goes first.
            let slots = match self.lazy_slots {
                0 => arena.dirty_free(),
                _ => arena.lazy_free(),
            };
            return (slots, Way::Purge);
        }
        if self.dirty_slots > self.dirty_goal() && arena.dirty_free() != 0 {
            let way = match lazy_room {
                0 => Way::Purge,
                _ => Way::Lazily,
            };
            return (arena.dirty_free(), way);
        }
        match self.lazy_slots > self.lazy_allowed() {
            true => (arena.lazy_free(), Way::Purge),
            false => (0, Way::Purge),
        }
    }

    #[inline(never)]
    fn choose_slots(&mut self, arena: &Arena, call: &mut Call, batch: &mut Batch) {
        while batch.has_room() && !call.is_over() && self.must_purge(call) {
            let lazy_room = self.lazy_room(batch);
            let (due, way) = self.due_slots(arena, call, lazy_room);
            let Some((first, count)) = runs(due).next() else {
                return;
            };
            let count = match (way, call.given_up) {
                (Way::Lazily, _) => count.min(lazy_room),
                (_, 0) => count,
                // No more is given up than somebody needs.
                (_, bytes) => count.min(bytes.div_ceil(SLOT_SIZE)),
            };
            let slots = slots_mask(first, count);
            batch.push(arena, slots, way, slots);
            if way == Way::Lazily {
                batch.lazy_slots += count;
            }
            call.left = call.left.saturating_sub(count << SLOT_SHIFT);
            call.given_up = call.given_up.saturating_sub(count << SLOT_SHIFT);
            // Neither free nor taken: nobody finds them.
            self.change(
                arena,
                arena.free() & !slots,
                arena.dirty.get() & !slots,
                arena.written.get() & !slots,
            );
        }
    }

    /// What the system has taken comes free again, and so does what it refused.
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
            if call.lesson && part.way != Way::Lazily {
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

    /// Enters an arena that could not be unmapped, or keeps it aside when there is no room to find it by.
    #[inline(never)]
    fn enter_or_strand(&mut self, arena: &'static Arena) {
        if !self.enter_arena(arena) {
            arena.by_count.next.set(self.stranded);
            self.stranded = arena;
        }
    }

    /// An arena that was kept aside, if there is room for it by now.
    fn enter_stranded(&mut self) -> Option<&'static Arena> {
        // SAFETY: it could not be unmapped, and nobody else knows of it.
        let arena: &'static Arena = unsafe { self.stranded.as_ref() }?;
        let next = arena.by_count.next.get();
        self.enter_arena(arena).then(|| {
            self.stranded = next;
            arena
        })
    }
}

/// Gives back what may not stay, as far as the call goes, and the lock.
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
        let now = if call.lesson { retain::now() } else { 0 };
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

/// After slots came free, perhaps the last of an arena: what may not stay goes back, and the lock.
pub(super) fn after_release(mut arenas: Guard<'static, Arenas>, emptied: bool) {
    arenas.observe(true);
    arenas.check_surplus();
    if is_giving_back() || emptied && arenas.empty > arenas.empty_allowed() {
        give_back(arenas, &mut Call::of(QUOTA));
    }
}

/// Wants so many bytes less of what is retained here, and gives back as many: somebody else is about to map them.
pub fn give_up(bytes: usize) {
    let mut arenas = ARENAS.lock();
    let unused = arenas.unused();
    let given_up = arenas.retained.give_up(bytes, unused);
    if is_giving_back() || given_up > 0 {
        set_giving_back(true);
        let mut call = Call::of(bytes.max(QUOTA));
        // They would have stayed.
        call.lesson = false;
        call.given_up = given_up;
        give_back(arenas, &mut call);
    }
}

/// Forgets what was wanted and has not been used for long, and gives a part of it back. For when no slot comes or goes.
pub fn decay() {
    let mut arenas = ARENAS.lock();
    arenas.observe(false);
    if is_giving_back() {
        give_back(arenas, &mut Call::of(QUOTA));
    }
}

/// Bytes of addresses that the arenas take.
pub fn address_bytes() -> usize {
    ARENAS.lock().counts.live * ARENA_SIZE
}

/// Gives back every empty arena, and the pages of every free slot. True when something went back.
pub fn trim() -> bool {
    let mut arenas = ARENAS.lock();
    arenas.retained.forget();
    let mut call = Call::of(usize::MAX);
    call.everything = true;
    // Asked for by the program.
    call.lesson = false;
    give_back(arenas, &mut call);
    call.returned
}

/// Maps an arena, all of its slots free and zeroed. The lock of the arenas comes with it, so that nobody else takes its slots.
/// `None` when the system has no memory.
pub(super) fn make_arena() -> Option<(Guard<'static, Arenas>, &'static Arena)> {
    let mut arenas = ARENAS.lock();
    if let Some(arena) = arenas.enter_stranded() {
        return Some((arenas, arena));
    }
    let hint = arenas.hint;
    drop(arenas);
    let base = match os::map_aligned(hint, ARENA_SIZE, ARENA_SIZE) {
        Some(base) => base.as_ptr(),
        None => mapping::take_stuck(ARENA_SIZE, ARENA_SIZE)?.as_ptr(),
    };
    // Free pages inside an arena go back one by one. Where huge pages are always on, the kernel would fill them again.
    os::no_huge_pages(base, ARENA_SIZE);
    // SAFETY: fresh zeroed memory, aligned, and all zeroes is a valid arena header; it stays mapped until `remove_arena` has taken it
    // out of every list.
    let arena: &'static Arena = unsafe { &*base.cast() };
    let mut arenas = ARENAS.lock();
    if !arenas.enter_arena(arena) {
        drop(arenas);
        let Some(roomy) = lock_with_room(&ARENAS, Arenas::overflow, mapping::stuck_memory) else {
            // Nobody has seen it.
            mapping::let_go(Entry {
                address: base as usize,
                size: ARENA_SIZE,
            });
            return None;
        };
        arenas = roomy;
        let entered = arenas.enter_arena(arena);
        debug_assert!(entered, "there is room");
    }
    arenas.hint = base.wrapping_sub(ARENA_SIZE);
    arenas.counts.mapped += 1;
    Some((arenas, arena))
}
