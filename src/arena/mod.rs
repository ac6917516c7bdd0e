//! Arenas: aligned mappings of 64 slots, and how slots are taken and given back.
//!
//! What it owns: the memory of every arena, and the arena header in each arena's slot 0. The headers of the other slots belong to the
//! floors above (`pool`, `large`).
//!
//! From top to ground:
//! - `lookup`: which run holds an address; what statistics and snapshots see.
//! - `purge`, `choose`, `batch`: how pages and whole arenas go back to the system; what goes next; what goes in one go.
//! - `supply`: how arenas come from the system.
//! - `slots`: all arenas, and how their slots change.
//! - `map`: from addresses to live arenas.
//! - `buckets`: `usable_arenas`.
//! - `header`: an arena's own.
//! - `account`: what is taken, and what may be resident, to be read without a lock.
//! - `bits`: runs of slots in a word.
//!
//! ```text
//!   arena (1 MiB, aligned)
//!   +---------------------------------------+-----------+-----------+-- ... --+
//!   | slot 0: arena header, 63 slot headers | slot 1    | slot 2    |         |
//!   +---------------------------------------+-----------+-----------+-- ... --+
//! ```
//!
//! `usable_arenas` are all arenas with a free slot. A single slot comes from the arena
//! with the fewest free ones, so that nearly empty arenas drain. A run of slots comes from an arena
//! whose longest free run is the shortest that fits. Buckets keep both orders, one bucket
//! for each count, so that every change costs the same however many arenas there are.
//! An arena whose last slot is freed is unmapped; all but one (`conf::EMPTY_ARENAS`), as in CPython since 3.8. The pages of
//! free slots in live arenas go back as soon as there are more of them than `budget` allows.
//!
//! The lock around `ARENAS` guards everything but the map, which is written under it and
//! read without. Nobody makes a system call while it holds the lock: others wait for it. So slots on their way to the system are taken off their arena
//! before, and nobody else finds them meanwhile (`purge`).

mod account;
mod batch;
mod bits;
mod buckets;
mod choose;
mod header;
mod lookup;
mod map;
pub mod outside;
mod purge;
mod slots;
mod supply;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::geometry::SLOTS;
use crate::mapping;
pub use account::before_new_memory;
pub use account::{
    LARGE_SLOTS, PURGED_INSIDE, TAKEN_SLOTS, add_large, add_purged_inside, allowance, in_use_bytes,
    is_giving_back, purged_inside, resident_bytes, subtract_large, subtract_purged_inside,
};
use bits::slots_mask;
use header::slot_of_header;
pub use header::{header_of, slot_start};
pub use lookup::{Slot, View, run_of};
pub use lookup::{each, with, with_run_of_stray};
pub use map::MAP;
pub use purge::{decay, give_up, trim};
use slots::Pages;
pub use slots::{ARENAS, Counts, LAYOUT, Taken};
pub use supply::address_bytes;

/// Takes a run of `count` slots. `None` when the system has no memory. `prepare` writes its header before anyone else
/// can see the run. It must not use the arenas.
pub fn take(count: usize, prepare: impl FnOnce(*const u8)) -> Option<Taken> {
    let mut arenas = ARENAS.lock();
    let arena = match arenas.usable(count) {
        Some(arena) => arena,
        None => {
            drop(arenas);
            let made = supply::make_arena()?;
            arenas = made.0;
            made.1
        }
    };
    let mut taken = arenas.take(arena, count, prepare)?;
    purge::after_take(arenas);
    if taken.fresh > 0 {
        // Memory that is retained for other needs goes before the new is touched.
        taken.raised_the_peak = before_new_memory(0, &mut || {
            mapping::give_up(taken.fresh);
            give_up(taken.fresh);
        });
    }
    Some(taken)
}

/// Gives the run of `count` slots that starts at `header` back to its arena. `written` tells that every page of it was written.
///
/// # Safety
/// The run must have been taken whole and be in nobody's use.
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
/// The run must have been taken whole and belong to the caller, and nobody may use the slots that it loses.
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
        let lost = slots_mask(first + wanted, count - wanted);
        arenas.add_free(arena, lost, Pages::Dirty);
        purge::after_release(arenas, false);
    }
    true
}
