//! Arenas: aligned mappings of 64 slots, and how slots are taken and given back.
//!
//! What it owns: the memory of every arena, and the arena header in each arena's slot 0. What a slot's own header says belongs to the
//! floors above (`pool`, `large`).
//!
//! - `map`: from addresses to live arenas.
//! - `buckets`: `usable_arenas`.
//! - `purge`: how pages and whole arenas go back to the system.
//! - `batch`: what goes in one go.
//! - `lookup`: which run holds an address.
//! - `account`: what is taken, and what may be resident.
//! - `bits`: runs of slots in a word.
//!
//! ```text
//!   arena (1 MiB, aligned)
//!   +---------------------------------------+-----------+-----------+-- ... --+
//!   | slot 0: arena header, 63 slot headers | slot 1    | slot 2    |         |
//!   +---------------------------------------+-----------+-----------+-- ... --+
//! ```
//!
//! `usable_arenas` are all arenas with a free slot. A request for one slot is served from the arena
//! with the fewest free ones, so that nearly empty arenas drain; a request for a run of slots from an arena
//! whose longest free run is the shortest that fits. Both orders are kept in buckets, one
//! for each count, so that every change costs the same however many arenas there are.
//! An arena whose last slot is freed is unmapped; all but one (`conf::EMPTY_ARENAS`), as in CPython since 3.8. The pages of
//! free slots in live arenas go back as soon as there are more of them than `account` allows.
//!
//! Everything but the map is guarded by `ARENAS`. The map is written under the lock and
//! read without. No system call is made while the lock is held: others wait for it. What the system is to take is taken off its arena
//! before, so that nobody else finds it meanwhile (`purge`).

mod account;
#[cfg(not(loom))]
mod batch;
mod bits;
mod buckets;
mod lookup;
mod map;
#[cfg(not(loom))]
pub mod outside;
#[cfg(not(loom))]
mod purge;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::conf;
use crate::geometry::{
    ARENA_MASK, ARENA_SIZE, HEADER_SHIFT, HEADER_SIZE, SLOT_SHIFT, SLOT_SIZE, SLOTS,
};
use crate::layout::layout;
#[cfg(not(loom))]
use crate::mapping;
use crate::os;
use crate::registry::Registry;
use crate::retain::{self, Retained};
use crate::sync::{AtomicU64, Lock, Ordering};
pub use account::*;
use bits::{first_run, longest_run, slots_mask};
use buckets::{Buckets, Links};
use core::cell::Cell;
use core::ptr;
pub use lookup::*;
pub use map::MAP;
#[cfg(not(loom))]
pub use purge::{address_bytes, decay, give_up, is_giving_back, trim};

/// Slot 0 is the arena's own and never free.
const FREE_WHEN_EMPTY: u64 = !1;
/// Slots that an arena can hand out.
const USABLE_SLOTS: usize = SLOTS - 1;

/// The arena header: slot 0's own.
#[repr(C, align(64))]
struct Arena {
    /// The free slots, a bit each.
    free: AtomicU64,
    /// The slots at which an allocated run (a pool or a large run) starts. Changed under the lock. Read without
    /// by those who hold a block of the run in question: its bits stay as they are.
    starts: AtomicU64,
    /// Slots whose pages may hold old data, free or taken. A free slot that is not dirty reads as zeroes, unless it is lazy.
    dirty: Cell<u64>,
    /// Free slots, of two kinds. A dirty one: every page of it was written since it was mapped or last purged, as whoever released it
    /// told. One that is not dirty is *lazy*: it may hold old data, and the system may take its pages at any moment.
    written: Cell<u64>,
    by_count: Links,
    by_run: Links,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Arena>() <= HEADER_SIZE);

impl Arena {
    fn base(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    fn free(&self) -> u64 {
        // Relaxed: the lock orders all writers, and it is held.
        self.free.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        self.free().count_ones() as usize
    }

    fn is_empty(&self) -> bool {
        self.free() == FREE_WHEN_EMPTY
    }

    /// Free slots that may hold pages, lazy ones aside.
    fn dirty_free(&self) -> u64 {
        self.dirty.get() & self.free()
    }

    /// Free slots whose pages the system may take at any moment.
    fn lazy_free(&self) -> u64 {
        self.written.get() & !self.dirty.get() & self.free()
    }

    /// Slots that read as zeroes while they are free.
    fn zeroed(&self) -> u64 {
        !(self.dirty.get() | self.written.get())
    }
}

/// What the pages of slots hold that come free.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pages {
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
    by_count: Buckets,
    /// `usable_arenas` by the longest run of free slots.
    by_run: Buckets,
    /// Arenas whose slots are all free.
    empty: usize,
    /// Free slots of all arenas.
    free_slots: usize,
    /// Free slots of all arenas that may hold pages, lazy ones aside.
    dirty_slots: usize,
    /// Free slots of all arenas whose pages the system may take at any moment.
    lazy_slots: usize,
    /// How many dirty ones there were when the system last refused to purge (locked memory), 0 after a success: there must be twice as
    /// many before it is asked again.
    refused_at: usize,
    /// What is kept beyond what may be dirty.
    retained: Retained,
    /// Live arenas that found their place in the map taken.
    overflow: Registry,
    /// Empty arenas that the system refused to unmap, and that are in no list: no memory was left to find them by. Linked by
    /// `by_count`.
    stranded: *const Arena,
    /// Where the next arena would best be mapped: below the last one, since the system hands out addresses from
    /// the top down; arenas that touch share one kernel mapping and need no trimming.
    hint: *mut u8,
    counts: Counts,
}

// SAFETY: the pointers are to arenas, which are guarded by the lock around this structure.
unsafe impl Send for Arenas {}

#[cfg(not(loom))]
pub static ARENAS: Lock<Arenas> = Lock::new(Arenas {
    by_count: Buckets::new(|arena| &arena.by_count),
    by_run: Buckets::new(|arena| &arena.by_run),
    empty: 0,
    free_slots: 0,
    dirty_slots: 0,
    lazy_slots: 0,
    refused_at: 0,
    retained: Retained::nothing(),
    overflow: Registry::empty(),
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
#[cfg(not(loom))]
pub const LAYOUT: u64 = layout! {
    Arena { free, starts, dirty, by_count, by_run }
    Counts { mapped, unmapped, live, most, purged, dirty_bytes, lazy_bytes }
    Arenas { free_slots, dirty_slots, lazy_slots, overflow, counts }
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
    fn enter_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            self.by_count.insert(arena, arena.count());
            self.by_run.insert(arena, longest_run(arena.free()));
        }
    }

    fn remove_from_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            self.by_count.remove(arena, arena.count());
            self.by_run.remove(arena, longest_run(arena.free()));
        }
    }

    /// The one place where the slots of a live arena change, and what is known of their pages: keeps the buckets and the counts.
    fn change(&mut self, arena: &Arena, free: u64, dirty: u64, written: u64) {
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
    fn add_free(&mut self, arena: &Arena, slots: u64, pages: Pages) {
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

    /// Free slots are taken. What was lazy may hold old data from now on.
    fn take_free(&mut self, arena: &Arena, slots: u64) {
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
    fn usable(&self, count: usize) -> Option<&'static Arena> {
        let usable = match count {
            1 => self.by_count.lowest_from(1),
            _ => self.by_run.lowest_from(count),
        };
        // SAFETY: arenas in the buckets are mapped.
        unsafe { usable.as_ref() }
    }

    /// Takes a run of slots from a usable arena that has it.
    fn take(
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

    fn release(&mut self, arena: &Arena, first: usize, count: usize, written: bool) {
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

    /// Enters a new arena, all of its slots free and zeroed, everywhere. False when there is no room to find it by.
    #[inline(never)]
    fn enter_arena(&mut self, arena: &Arena) -> bool {
        if !self.enter_map(arena) {
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
    fn remove_arena(&mut self, arena: &Arena) {
        debug_assert!(arena.is_empty());
        self.remove_from_usable(arena);
        self.remove_from_map(arena);
        self.uncount(arena);
        self.counts.live -= 1;
        self.publish_slots();
    }
}

/// Takes a run of `count` slots. `None` when the system has no memory. `prepare` writes its header, before anyone who looks
/// at the arena can see the run; it must not use the arenas.
#[cfg(not(loom))]
pub fn take(count: usize, prepare: impl FnOnce(*const u8)) -> Option<Taken> {
    let mut arenas = ARENAS.lock();
    let arena = match arenas.usable(count) {
        Some(arena) => arena,
        None => {
            drop(arenas);
            let made = purge::make_arena()?;
            arenas = made.0;
            made.1
        }
    };
    let mut taken = arenas.take(arena, count, prepare)?;
    purge::after_take(arenas);
    if taken.fresh > 0 {
        // What is retained for other needs goes before the new memory is touched.
        taken.raised_the_peak = before_new_memory(0, &mut || {
            mapping::give_up(taken.fresh);
            give_up(taken.fresh);
        });
    }
    Some(taken)
}

/// Which arena and slot a header belongs to.
fn slot_of_header(header: *const u8) -> (*const Arena, usize) {
    let base = header as usize & !ARENA_MASK;
    (
        base as *const Arena,
        (header as usize & ARENA_MASK) >> HEADER_SHIFT,
    )
}

/// The header of the slot in which an address lies.
pub fn header_of(address: usize) -> *const u8 {
    let slot = (address & ARENA_MASK) >> SLOT_SHIFT;
    ((address & !ARENA_MASK) + (slot << HEADER_SHIFT)) as *const u8
}

/// The first byte of the slot that a header belongs to.
#[inline(always)]
pub fn slot_start(header: *const u8) -> usize {
    let (base, slot) = slot_of_header(header);
    base as usize + (slot << SLOT_SHIFT)
}

/// Gives the run of `count` slots that starts at `header` back to its arena. `written` tells that every page of it was written.
///
/// # Safety
/// The run must have been taken whole and be in nobody's use.
#[cfg(not(loom))]
pub unsafe fn release(header: *const u8, count: usize, written: bool) {
    let (arena, first) = slot_of_header(header);
    let mut arenas = ARENAS.lock();
    // SAFETY: an arena with an allocated run is mapped.
    let arena = unsafe { &*arena };
    arenas.release(arena, first, count, written);
    let emptied = arena.is_empty();
    purge::after_release(arenas, emptied);
}

/// Resizes the run of `count` slots at `header` to `wanted` slots without moving it. False, and nothing
/// changed, when the slots behind it are not free.
///
/// # Safety
/// The run must have been taken whole and belong to the caller; what is cut off must be in nobody's use.
#[cfg(not(loom))]
pub unsafe fn resize(header: *const u8, count: usize, wanted: usize) -> bool {
    let (arena, first) = slot_of_header(header);
    let mut arenas = ARENAS.lock();
    // SAFETY: an arena with an allocated run is mapped.
    let arena = unsafe { &*arena };
    if wanted > count {
        if first + wanted > SLOTS {
            return false;
        }
        let added = slots_mask(first + count, wanted - count);
        if arena.free() & added != added {
            return false;
        }
        arenas.take_free(arena, added);
    } else if wanted < count {
        let cut = slots_mask(first + wanted, count - wanted);
        arenas.add_free(arena, cut, Pages::Dirty);
        purge::after_release(arenas, false);
    }
    true
}

/// Holds the arenas still across `fork`.
#[cfg(not(loom))]
pub fn hold_for_fork() {
    ARENAS.hold_for_fork();
}

/// Ends `hold_for_fork`.
///
/// # Safety
/// Only in the thread that called it, in the parent and in the child.
#[cfg(not(loom))]
pub unsafe fn release_after_fork() {
    // SAFETY: passed on from the caller.
    unsafe { ARENAS.release_after_fork() }
}
