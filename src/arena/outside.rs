//! The arenas of another process, once its statics have been copied over these (`outside::mirror` of `pymalloc-watch`).

use super::buckets::Buckets;
use super::header::{Arena, FREE_WHEN_EMPTY};
use super::map::MAP;
use super::slots::ARENAS;
use crate::geometry::ARENA_MASK;
use crate::registry::Registry;
use crate::sync::Ordering;
use core::{mem, ptr};

/// Whether an arena can start at an address.
pub fn may_be_base(address: usize) -> bool {
    address != 0 && address & ARENA_MASK == 0
}

/// Unmaps an earlier copy of the table of arenas without a place in the map.
pub fn forget_overflow() {
    ARENAS.lock().map.overflow.unmap();
}

/// Empties the map while the arenas that were in it are read off.
pub fn take_map() -> impl Iterator<Item = usize> {
    // Relaxed: there is one thread here.
    MAP.iter()
        .map(|place| place.swap(0, Ordering::Relaxed))
        .filter(|base| may_be_base(*base))
}

/// Forgets all arenas, but not the figures. Returns the table of those that had no place in the map, which is in the other process.
pub fn take_overflow() -> Registry {
    let mut arenas = ARENAS.lock();
    arenas.by_count = Buckets::empty();
    arenas.by_run = Buckets::empty();
    arenas.hint = ptr::null_mut();
    mem::replace(&mut arenas.map.overflow, Registry::empty())
}

/// Enters the copy of an arena's headers.
///
/// # Safety
/// All headers of an arena must lie at `place`, aligned as an arena, and stay there until `take_map`.
pub unsafe fn enter(place: *const u8) {
    // SAFETY: passed on from the caller; an arena header may have any contents.
    let arena: &'static Arena = unsafe { &*place.cast() };
    // Relaxed, here and below: there is one thread here.
    let free = arena.free() & FREE_WHEN_EMPTY;
    arena.free.store(free, Ordering::Relaxed);
    let starts = arena.starts.load(Ordering::Relaxed) & FREE_WHEN_EMPTY;
    arena.starts.store(starts & !free, Ordering::Relaxed);
    let mut arenas = ARENAS.lock();
    if arenas.map.enter(arena) {
        arenas.enter_usable(arena);
    }
}
