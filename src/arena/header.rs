//! The header of an arena, in its slot 0, and the arithmetic of its addresses.
//!
//! What must hold: everything but `starts` and `free` is read and changed under the lock of the arenas alone.

use crate::geometry::HEADER_SIZE;
use crate::geometry::{ARENA_MASK, HEADER_SHIFT, SLOT_SHIFT, SLOTS};
use crate::sync::{AtomicU64, Ordering};
use core::cell::Cell;
use core::ptr;

/// Slot 0 is the arena's own and never free.
pub const FREE_WHEN_EMPTY: u64 = !1;
/// Slots that an arena can hand out.
pub const USABLE_SLOTS: usize = SLOTS - 1;

/// The neighbours of an arena in a bucket.
#[repr(C)]
pub struct Links {
    pub(super) next: Cell<*const Arena>,
    pub(super) previous: Cell<*const Arena>,
}

/// The arena header: slot 0's own.
#[repr(C, align(64))]
pub struct Arena {
    /// The free slots, a bit each.
    pub(super) free: AtomicU64,
    /// The slots at which an allocated run (a pool or a large run) starts. Changed under the lock. Whoever holds a block reads the bits of its
    /// run without: they stay as they are.
    pub(super) starts: AtomicU64,
    /// Slots whose pages may hold old data, free or taken. A free slot that is not dirty reads as zeroes, unless it is lazy.
    pub(super) dirty: Cell<u64>,
    /// Free slots, of two kinds. A dirty one: whoever released it told that every page of it was written since it was mapped or last purged (so that
    /// a pool there is carved at once). One that is not dirty is *lazy*: it may hold old data, and the system may take its pages at any moment.
    pub(super) written: Cell<u64>,
    pub(super) by_count: Links,
    pub(super) by_run: Links,
}

const _: () = assert!(size_of::<Arena>() <= HEADER_SIZE);

impl Arena {
    pub(super) fn base(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    pub(super) fn free(&self) -> u64 {
        // Relaxed: the lock orders all writers, and it is held.
        self.free.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> usize {
        self.free().count_ones() as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free() == FREE_WHEN_EMPTY
    }

    /// Free slots that may hold pages, lazy ones aside.
    pub(super) fn dirty_free(&self) -> u64 {
        self.dirty.get() & self.free()
    }

    /// Free slots whose pages the system may take at any moment.
    pub(super) fn lazy_free(&self) -> u64 {
        self.written.get() & !self.dirty.get() & self.free()
    }

    /// Slots that read as zeroes while they are free.
    pub(super) fn zeroed(&self) -> u64 {
        !(self.dirty.get() | self.written.get())
    }
}

/// Which arena and slot a header belongs to.
pub(super) fn slot_of_header(header: *const u8) -> (*const Arena, usize) {
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
