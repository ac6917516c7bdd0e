//! Finds the run that holds an address, and shows the arenas to statistics and snapshots.

use super::header::Arena;
use super::map;
use super::slots::{ARENAS, Counts};
use crate::geometry::{ARENA_MASK, HEADER_SHIFT, SLOT_SHIFT, SLOTS};
use crate::sync::Ordering;
use core::ptr;

/// Where an address lies in an arena.
pub enum Slot {
    /// In the allocated run whose header this is.
    Run(*const u8),
    /// In a live arena, but in no allocated run: the arena's header, or a free slot.
    Unallocated,
    /// In no arena.
    Outside,
}

/// The live arena that holds `address`. Of a block that the caller holds it stays live.
#[inline]
fn arena_of(address: usize) -> Option<*const Arena> {
    match map::arena_in_map(address) {
        Some(arena) => Some(arena),
        None if map::is_any_overflowing() => overflowing(address),
        None => None,
    }
}

#[cold]
fn overflowing(address: usize) -> Option<*const Arena> {
    let arenas = ARENAS.lock();
    arenas.map.find(address & !ARENA_MASK).map(ptr::from_ref)
}

/// Finds the run that holds `address`. The caller may follow the header only if it holds a block of that run, or
/// else only as far as `with_run_of_stray` allows.
#[inline]
pub fn run_of(address: usize) -> Slot {
    // An address on an arena boundary is the arena's header, or a mapping of its own that the map does not know.
    match arena_of(address) {
        // SAFETY: the arena is live (for a stray pointer: was, a moment ago).
        Some(arena) => run_in(unsafe { &*arena }, address),
        None => Slot::Outside,
    }
}

fn run_in(arena: &Arena, address: usize) -> Slot {
    let slot = (address & ARENA_MASK) >> SLOT_SHIFT;
    // Relaxed: see `Arena::starts`; the bits of a run that holds a live block do not change.
    let up_to_slot = arena.starts.load(Ordering::Relaxed) & (u64::MAX >> (SLOTS - 1 - slot));
    if slot == 0 || up_to_slot == 0 || arena.free.load(Ordering::Relaxed) >> slot & 1 == 1 {
        return Slot::Unallocated;
    }
    let first = up_to_slot.ilog2() as usize;
    Slot::Run((arena.base() + (first << HEADER_SHIFT)) as *const u8)
}

/// Finds the run that holds any address at all, with the arenas held still: `look` may follow the header it is given.
pub fn with_run_of_stray<R>(address: usize, look: impl FnOnce(Slot) -> R) -> R {
    let arenas = ARENAS.lock();
    look(match arenas.map.find(address & !ARENA_MASK) {
        Some(arena) => run_in(arena, address),
        None => Slot::Outside,
    })
}

/// An arena as the statistics see it.
pub struct View {
    /// The first byte of the arena.
    pub base: usize,
    /// Free slots.
    pub free_slots: usize,
    starts: u64,
}

impl View {
    /// The lock is held.
    #[inline(never)]
    fn of(arena: &Arena) -> View {
        View {
            base: arena.base(),
            free_slots: arena.count(),
            // Relaxed: the lock is held.
            starts: arena.starts.load(Ordering::Relaxed),
        }
    }

    /// The headers of the allocated runs.
    pub fn runs(&self) -> impl Iterator<Item = *const u8> + '_ {
        (1..SLOTS)
            .filter(|slot| self.starts >> slot & 1 == 1)
            .map(|slot| (self.base + (slot << HEADER_SHIFT)) as *const u8)
    }
}

/// Visits every arena while none can come, go or change its slots. `visit` must not allocate.
#[inline(never)]
pub fn each(visit: &mut dyn FnMut(&View)) -> Counts {
    let arenas = ARENAS.lock();
    arenas.map.each(|arena| visit(&View::of(arena)));
    Counts {
        dirty_bytes: arenas.dirty_slots << SLOT_SHIFT,
        lazy_bytes: arenas.lazy_slots << SLOT_SHIFT,
        ..arenas.counts
    }
}

/// Visits the arena that starts at `base` while it cannot go or change its slots. Nothing happens when there is none.
/// `look` must not allocate.
pub fn with(base: usize, look: impl FnOnce(&View)) {
    let arenas = ARENAS.lock();
    if let Some(arena) = arenas.map.find(base) {
        look(&View::of(arena));
    }
}
