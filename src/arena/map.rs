//! The map from addresses to live arenas, which every thread reads without a lock.
//!
//! What it owns: `MAP`, and the registry of the arenas that found their place in it taken. Both are written under the lock of the
//! arenas.
//!
//! What must hold: an arena is here from before its first slot is taken until after its last slot was freed, and is removed before it is
//! unmapped.

use super::header::Arena;
use crate::geometry::{ARENA_MASK, ARENA_SHIFT, ARENA_SIZE};
use crate::registry::{Entry, Registry};
use crate::sync::Ordering;
use core::sync::atomic::AtomicUsize;

/// Arenas are found by the low bits of their number. 65,536 places reach 64 GiB before two arenas that lie side
/// by side can want the same one; one that finds its place taken goes to the overflow registry and is
/// found on the slow paths.
const MAP_PLACES: usize = 1 << 16;

/// For each place the address of the live arena there, or 0.
pub static MAP: [AtomicUsize; MAP_PLACES] = [const { AtomicUsize::new(0) }; MAP_PLACES];

/// How many arenas found their place taken. Changed under the lock.
static OVERFLOWING: AtomicUsize = AtomicUsize::new(0);

/// The place of the arena that starts at `base`.
fn place_in_map(base: usize) -> &'static AtomicUsize {
    &MAP[(base >> ARENA_SHIFT) % MAP_PLACES]
}

/// The live arena that holds `address`, if it is in the map.
#[inline]
pub(super) fn arena_in_map(address: usize) -> Option<*const Arena> {
    let base = address & !ARENA_MASK;
    // Relaxed: whoever may free a block got it by some synchronisation from the thread that
    // allocated it, which saw the arena mapped. For a stray pointer any answer will do that
    // is not followed by a fault, and an arena is removed from the map before it is unmapped.
    let found = place_in_map(base).load(Ordering::Relaxed) == base && base != 0;
    found.then_some(base as *const Arena)
}

/// Whether an arena may be live that is not in the map.
#[inline]
pub(super) fn is_any_overflowing() -> bool {
    // Relaxed: as in `arena_in_map`.
    OVERFLOWING.load(Ordering::Relaxed) > 0
}

/// The live arenas, for whoever holds the lock of the arenas.
pub struct ArenaMap {
    /// Those that found their place in the map taken.
    pub(super) overflow: Registry,
}

impl ArenaMap {
    pub(super) const fn empty() -> Self {
        ArenaMap {
            overflow: Registry::empty(),
        }
    }

    /// Makes an arena findable. False when its place is taken and there is no room for it elsewhere.
    pub(super) fn enter(&mut self, arena: &Arena) -> bool {
        // Relaxed here and below: see `arena_in_map`.
        let place = place_in_map(arena.base());
        if place.load(Ordering::Relaxed) == 0 {
            place.store(arena.base(), Ordering::Relaxed);
            return true;
        }
        if !self.overflow.has_room() {
            return false;
        }
        self.overflow.insert(Entry {
            address: arena.base(),
            size: ARENA_SIZE,
        });
        OVERFLOWING.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Nobody finds an arena any more.
    pub(super) fn remove(&mut self, arena: &Arena) {
        let place = place_in_map(arena.base());
        if place.load(Ordering::Relaxed) == arena.base() {
            place.store(0, Ordering::Relaxed);
        } else {
            let found = self.overflow.remove(arena.base());
            debug_assert!(found.is_some(), "a live arena is in the map or overflows");
            OVERFLOWING.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Finds a live arena by its first byte.
    pub(super) fn find(&self, base: usize) -> Option<&'static Arena> {
        // Relaxed: see `arena_in_map`.
        let live = base != 0
            && (place_in_map(base).load(Ordering::Relaxed) == base
                || self.overflow.get(base).is_some());
        // SAFETY: live arenas are mapped, and are removed from map and registry before they are unmapped.
        live.then(|| unsafe { &*(base as *const Arena) })
    }

    /// Visits every live arena.
    pub(super) fn each(&self, mut visit: impl FnMut(&'static Arena)) {
        // Relaxed: see `arena_in_map`.
        let in_map = MAP.iter().map(|place| place.load(Ordering::Relaxed));
        for base in in_map.filter(|base| *base != 0) {
            // SAFETY: as in `find`.
            visit(unsafe { &*(base as *const Arena) });
        }
        for entry in self.overflow.entries() {
            // SAFETY: as in `find`.
            visit(unsafe { &*(entry.address as *const Arena) });
        }
    }
}
