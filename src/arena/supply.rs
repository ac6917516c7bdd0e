//! How arenas come from the system, and where those wait that it refused to take back.

use super::header::Arena;
use super::slots::{ARENAS, Arenas};
use crate::geometry::ARENA_SIZE;
use crate::mapping;
use crate::os;
use crate::registry::{Entry, lock_with_room};
use crate::sync::Guard;

impl Arenas {
    /// Enters an arena that could not be unmapped, or keeps it aside when there is no room to find it by.
    #[inline(never)]
    pub(super) fn enter_or_strand(&mut self, arena: &'static Arena) {
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

/// Bytes of addresses that the arenas take.
pub fn address_bytes() -> usize {
    ARENAS.lock().counts.live * ARENA_SIZE
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
        let Some(roomy) = lock_with_room(
            &ARENAS,
            |arenas| &mut arenas.map.overflow,
            mapping::stuck_memory,
        ) else {
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
