//! Which of the free memory in arenas goes back to the system next.
//!
//! What must hold: whatever is chosen is taken off its arena, so that nobody else finds it. Its slots are neither free nor taken, and an empty arena is in
//! no list and not in the map.

use super::account::{allowance, in_use_bytes, set_giving_back};
use super::batch::{Batch, Call, Way};
use super::bits::{runs, slots_mask};
use super::header::{Arena, FREE_WHEN_EMPTY, USABLE_SLOTS};
use super::slots::Arenas;
use crate::budget::FREE_SLOTS;
use crate::conf;
use crate::geometry::{ARENA_SIZE, SLOT_SHIFT, SLOT_SIZE, SLOTS};
use crate::os;
use crate::retain;

impl Arenas {
    /// How many free slots may hold pages before they are purged, beside those that are retained.
    fn dirty_allowance(&self) -> usize {
        if SLOT_SIZE < os::page_size() {
            // Slots smaller than the system's pages share them with their neighbours.
            return usize::MAX;
        }
        allowance(FREE_SLOTS) >> SLOT_SHIFT
    }

    /// How many may stay once some must go: half of the allowance, so that each purge covers many, and those that are retained.
    pub(super) fn dirty_goal(&self) -> usize {
        let allowance = self.dirty_allowance();
        (allowance - allowance / 2).saturating_add(self.retained.resident() >> SLOT_SHIFT)
    }

    /// How many slots may be lazy.
    fn lazy_allowed(&self) -> usize {
        self.retained.lazy() >> SLOT_SHIFT
    }

    /// How many empty arenas stay mapped: the usual ones, and as many as retained pages can fill by half. By half, since an arena is
    /// never wholly dirty: otherwise some would be unmapped and asked for anew each time.
    pub(super) fn empty_allowed(&self) -> usize {
        let held = (self.dirty_slots + self.lazy_slots) << SLOT_SHIFT;
        conf::EMPTY_ARENAS.get() + self.retained.wanted().min(held) / (ARENA_SIZE / 2)
    }

    /// Finds out whether more is dirty than may stay. To be called when slots came free.
    #[inline(never)]
    pub(super) fn check_surplus(&mut self) {
        // Locked memory may have been unlocked.
        self.refused_at = self.refused_at.min(self.dirty_slots);
        let allowed = self
            .dirty_allowance()
            .saturating_add(self.retained.resident() >> SLOT_SHIFT);
        if self.dirty_slots > allowed.max(2 * self.refused_at) {
            set_giving_back(true);
        }
    }

    /// Tells how much of the wanted memory is unused. For changes of free slots, which are many, `in_turn`.
    #[inline]
    pub(super) fn observe(&mut self, in_turn: bool) {
        if self.retained.wanted() > 0 {
            self.observe_now(in_turn);
        }
    }

    /// Bytes that are wanted and unused.
    pub(super) fn unused(&self) -> usize {
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

    /// Takes the next that goes back off its arenas: empty arenas, then slots of the emptiest arenas. The next pools come from the fullest, whose slots stay.
    /// An empty batch when nothing must go, or the call has done its share.
    #[inline(never)]
    pub(super) fn choose(&mut self, call: &mut Call) -> Batch {
        let mut batch = Batch::empty();
        self.choose_empty(call, &mut batch);
        for bucket in (1..SLOTS).rev() {
            let mut next = self.by_count.first[bucket];
            // SAFETY: arenas in the buckets are mapped.
            while let Some(arena) = unsafe { next.as_ref() } {
                if arena.dirty_free() == 0 && !self.wants_lazy(call) {
                    // Nor have those behind it any.
                    break;
                }
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
    pub(super) fn must_purge(&self, call: &Call) -> bool {
        match call.everything {
            true => self.dirty_slots + self.lazy_slots > 0 && SLOT_SIZE >= os::page_size(),
            false => {
                call.given_up > 0 && self.unused() > 0
                    || self.dirty_slots > self.dirty_goal()
                    || self.lazy_slots > self.lazy_allowed()
            }
        }
    }

    /// Whether lazy slots are among what must go back.
    fn wants_lazy(&self, call: &Call) -> bool {
        let wanted = call.everything || call.given_up > 0 || self.lazy_slots > self.lazy_allowed();
        wanted && self.lazy_slots > 0
    }

    /// How many slots more may go lazily, beside those of this batch. Those of another thread's batch do not count: should
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
            // Lazy pages go first: the system may take them anyway.
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
                // No more than somebody needs.
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
}
