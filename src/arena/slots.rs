//! The slots of all arenas: which are taken, which are free, and what their pages hold.
//!
//! What it owns: `ARENAS`, behind the one lock of the arenas; `usable_arenas`, and the counts of slots.
//!
//! What must hold: the slots of an arena change by `change` alone, so that buckets and counts follow. Whenever the lock is free, the accounts that
//! are read without it (`account`) agree with the counts here.

use super::account::{in_use_bytes, publish};
use super::bits::{first_run, longest_run, slots_mask};
use super::buckets::{Buckets, By};
use super::header::{Arena, FREE_WHEN_EMPTY, USABLE_SLOTS};
use super::map::ArenaMap;
use crate::geometry::{HEADER_SHIFT, SLOT_SHIFT};
use crate::layout::layout;
use crate::retain::{self, Retained};
use crate::sync::Lock;
use crate::sync::Ordering;
use core::ptr;

/// What the pages of slots hold that come free.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// Old data, perhaps not on every page.
    Dirty,
    /// Old data on every page.
    Written,
    /// Old data, or nothing once the system has taken them.
    Lazy,
    /// Nothing.
    Purged,
}

/// Figures about arenas.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Arenas mapped since the start.
    pub mapped: usize,
    /// Arenas unmapped since the start.
    pub unmapped: usize,
    /// Arenas mapped now.
    pub live: usize,
    /// The most that were mapped at one time.
    pub most: usize,
    /// Free slots whose pages were given back, in live arenas, since the start.
    pub purged: usize,
    /// Bytes of the free slots that may be resident.
    pub dirty_bytes: usize,
    /// Bytes of the free slots that the system may take at any moment, beside these.
    pub lazy_bytes: usize,
}

pub struct Arenas {
    /// `usable_arenas` by the number of free slots.
    pub(super) by_count: Buckets,
    /// `usable_arenas` by the longest run of free slots.
    pub(super) by_run: Buckets,
    /// Arenas whose slots are all free.
    pub(super) empty: usize,
    /// Free slots of all arenas.
    pub(super) free_slots: usize,
    /// Free slots of all arenas that may hold pages, lazy ones aside.
    pub(super) dirty_slots: usize,
    /// Free slots of all arenas whose pages the system may take at any moment.
    pub(super) lazy_slots: usize,
    /// How many dirty ones there were when the system last refused to purge (locked memory), 0 after a success: there must be twice as
    /// many before it is asked again.
    pub(super) refused_at: usize,
    /// Memory that stays beyond what may be dirty.
    pub(super) retained: Retained,
    /// Where they are found.
    pub(super) map: ArenaMap,
    /// Empty arenas that the system refused to unmap, and that are in no list: no memory was left to find them by. Linked by
    /// `by_count`.
    pub(super) stranded: *const Arena,
    /// Where the next arena would best be mapped: below the last one, since the system hands out addresses from
    /// the top down; arenas that touch share one kernel mapping and need no trimming.
    pub(super) hint: *mut u8,
    pub(super) counts: Counts,
}

// SAFETY: the pointers are to arenas, which are guarded by the lock around this structure.
unsafe impl Send for Arenas {}

pub static ARENAS: Lock<Arenas> = Lock::new(Arenas {
    by_count: Buckets::empty(),
    by_run: Buckets::empty(),
    empty: 0,
    free_slots: 0,
    dirty_slots: 0,
    lazy_slots: 0,
    refused_at: 0,
    retained: Retained::nothing(),
    map: ArenaMap::empty(),
    stranded: ptr::null(),
    hint: ptr::null_mut(),
    counts: Counts {
        mapped: 0,
        unmapped: 0,
        live: 0,
        most: 0,
        purged: 0,
        dirty_bytes: 0,
        lazy_bytes: 0,
    },
});

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Arena { free, starts, dirty, by_count, by_run }
    Counts { mapped, unmapped, live, most, purged, dirty_bytes, lazy_bytes }
    Arenas { free_slots, dirty_slots, lazy_slots, map, counts }
    Lock<Arenas> {}
};

/// A run of slots that was taken.
pub struct Taken {
    /// The header of the first slot.
    pub header: *mut u8,
    /// The first byte of the first slot.
    pub start: *mut u8,
    /// Whether every byte is known to be zero.
    pub zeroed: bool,
    /// Whether every page is known to have been written, so that it is resident.
    pub written: bool,
    /// Bytes of it that hold nothing yet.
    pub fresh: usize,
    /// Whether the process holds more than ever before while something is retained.
    pub raised_the_peak: bool,
}

impl Arenas {
    pub(super) fn enter_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            let in_front = arena.dirty_free() != 0;
            self.by_count
                .insert(By::Count, arena, arena.count(), in_front);
            self.by_run
                .insert(By::Run, arena, longest_run(arena.free()), in_front);
        }
    }

    pub(super) fn remove_from_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            self.by_count.remove(By::Count, arena, arena.count());
            self.by_run
                .remove(By::Run, arena, longest_run(arena.free()));
        }
    }

    /// The one place where the slots of a live arena change, and what they say of their pages. Keeps the buckets and the counts.
    pub(super) fn change(&mut self, arena: &Arena, free: u64, dirty: u64, written: u64) {
        debug_assert!(free & 1 == 0, "slot 0 is never free");
        debug_assert!(written & !free == 0, "of taken slots nobody knows");
        self.remove_from_usable(arena);
        self.uncount(arena);
        // Relaxed: see `Arena::free`.
        arena.free.store(free, Ordering::Relaxed);
        arena.dirty.set(dirty);
        arena.written.set(written);
        self.count(arena);
        self.enter_usable(arena);
        self.publish_slots();
    }

    /// Slots come free.
    pub(super) fn add_free(&mut self, arena: &Arena, slots: u64, pages: Pages) {
        debug_assert!(arena.free() & slots == 0, "slots come free once");
        let (dirty, written) = (arena.dirty.get(), arena.written.get());
        let (dirty, written) = match pages {
            Pages::Dirty => (dirty | slots, written),
            Pages::Written => (dirty | slots, written | slots),
            Pages::Lazy => (dirty & !slots, written | slots),
            Pages::Purged => (dirty & !slots, written),
        };
        self.change(arena, arena.free() | slots, dirty, written);
    }

    /// Free slots are taken. Lazy ones may hold old data from now on.
    pub(super) fn take_free(&mut self, arena: &Arena, slots: u64) {
        debug_assert!(arena.free() & slots == slots, "only free slots are taken");
        let dirty = arena.dirty.get() | arena.written.get() & slots;
        self.change(
            arena,
            arena.free() & !slots,
            dirty,
            arena.written.get() & !slots,
        );
    }

    /// A usable arena with a run of `count` free slots.
    pub(super) fn usable(&self, count: usize) -> Option<&'static Arena> {
        let usable = match count {
            1 => self.by_count.lowest_from(1),
            _ => self.by_run.lowest_from(count),
        };
        // SAFETY: arenas in the buckets are mapped.
        unsafe { usable.as_ref() }
    }

    /// Takes a run of slots from a usable arena that has it.
    pub(super) fn take(
        &mut self,
        arena: &'static Arena,
        count: usize,
        prepare: impl FnOnce(*const u8),
    ) -> Option<Taken> {
        let first = first_run(arena.free(), count)?;
        let mask = slots_mask(first, count);
        let bytes = |slots: u64| (slots.count_ones() as usize) << SLOT_SHIFT;
        let zeroed = arena.zeroed() & mask;
        let written = arena.written.get() & arena.dirty.get() & mask == mask;
        let lazy = arena.lazy_free() & mask;
        self.take_free(arena, mask);
        if lazy != 0 {
            self.retained.serve_again(bytes(lazy), in_use_bytes());
        }
        self.retained
            .ask(bytes(zeroed), in_use_bytes(), retain::now);
        let header = (arena.base() + (first << HEADER_SHIFT)) as *mut u8;
        prepare(header);
        // Relaxed: see `Arena::starts`.
        let starts = arena.starts.load(Ordering::Relaxed);
        debug_assert!(starts & mask == 0);
        arena.starts.store(starts | 1 << first, Ordering::Relaxed);
        Some(Taken {
            header,
            start: (arena.base() + (first << SLOT_SHIFT)) as *mut u8,
            zeroed: zeroed == mask,
            fresh: bytes(zeroed),
            written,
            raised_the_peak: false,
        })
    }

    pub(super) fn release(&mut self, arena: &Arena, first: usize, count: usize, written: bool) {
        let mask = slots_mask(first, count);
        // Relaxed: see `Arena::starts`.
        let starts = arena.starts.load(Ordering::Relaxed);
        arena.starts.store(starts & !mask, Ordering::Relaxed);
        let pages = if written {
            Pages::Written
        } else {
            Pages::Dirty
        };
        self.add_free(arena, mask, pages);
    }

    fn taken_slots(&self) -> usize {
        self.counts.live * USABLE_SLOTS - self.free_slots
    }

    /// Counts the free slots of an arena.
    pub(super) fn count(&mut self, arena: &Arena) {
        self.empty += usize::from(arena.is_empty());
        self.free_slots += arena.count();
        self.dirty_slots += arena.dirty_free().count_ones() as usize;
        self.lazy_slots += arena.lazy_free().count_ones() as usize;
    }

    /// The opposite of `count`.
    pub(super) fn uncount(&mut self, arena: &Arena) {
        self.empty -= usize::from(arena.is_empty());
        self.free_slots -= arena.count();
        self.dirty_slots -= arena.dirty_free().count_ones() as usize;
        self.lazy_slots -= arena.lazy_free().count_ones() as usize;
    }

    /// Tells those without the lock how many slots are taken, and how many of the free ones may hold pages. To be called after each change of the
    /// counts.
    pub(super) fn publish_slots(&self) {
        publish(self.taken_slots(), self.dirty_slots + self.lazy_slots);
    }

    /// Enters a new arena, all of its slots free and zeroed, everywhere. False when there is no room to find it by.
    #[inline(never)]
    pub(super) fn enter_arena(&mut self, arena: &Arena) -> bool {
        if !self.map.enter(arena) {
            return false;
        }
        self.counts.live += 1;
        self.counts.most = self.counts.most.max(self.counts.live);
        // Relaxed: see `Arena::free`.
        arena.free.store(FREE_WHEN_EMPTY, Ordering::Relaxed);
        self.count(arena);
        self.enter_usable(arena);
        self.publish_slots();
        true
    }

    /// Takes an empty arena out of everything, so that it can be unmapped.
    #[inline(never)]
    pub(super) fn remove_arena(&mut self, arena: &Arena) {
        debug_assert!(arena.is_empty());
        self.remove_from_usable(arena);
        self.map.remove(arena);
        self.uncount(arena);
        self.counts.live -= 1;
        self.publish_slots();
    }
}
