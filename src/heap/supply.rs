//! Supply: the slots of pools, from the arenas and back to them.
//!
//! What it owns: nothing. It is all that the heaps know of the arenas, so that the model (`model`) can stand in for them here.
//!
//! What must hold: neither `take` nor `release` is called under a lock, since either may ask the system.

use super::active;
use super::budget;
use crate::arena::{self, Slot};
use crate::geometry::SLOT_SIZE;
use crate::pool::{Block, Owner, Pool};
use crate::size_class::TABLE;
use core::ptr;

/// Takes a new pool of a class, which nobody else knows of. `None` when the system has no memory.
pub fn take<'a>(class: usize, owner: *const Owner) -> Option<&'a Pool> {
    let slots = TABLE[class].slots as usize;
    let taken = arena::take(slots, |header| {
        // SAFETY: the header of a run that is being taken.
        unsafe { Pool::at(header) }.become_used_first(class, owner);
    })?;
    if taken.raised_the_peak {
        // What pools retain would add to the peak.
        budget::give_up(slots * SLOT_SIZE);
    }
    // SAFETY: `take` gave the header of a run, which stays mapped while it is taken.
    let pool = unsafe { Pool::at(taken.header) };
    // Its pages are resident, so that carving it page by page gains nothing: `fifo` and `lifo` of `make bench` take 0.95 of the time this
    // way, and 0.8 to 1.0 % fewer instructions. Not among several threads: this one may sleep for ever, with all blocks in its bin.
    if taken.written && active::count() == 1 {
        pool.carve_all();
    }
    Some(pool)
}

/// Gives the slots of a vacant pool back to their arena.
pub fn release(pool: &Pool) {
    // SAFETY: a vacant pool has no live block and no owner, and is on no list.
    unsafe { arena::release(ptr::from_ref(pool).cast(), pool.slots(), pool.is_written()) };
}

/// The pool of a block of a class, which is in use to that pool.
#[inline]
pub fn pool_of_block(block: &Block, class: usize) -> Option<&'static Pool> {
    match TABLE[class].slots {
        // SAFETY: the header of a taken slot, where the block's pool begins.
        1 => Some(unsafe { Pool::at(arena::header_of(ptr::from_ref(block) as usize)) }),
        _ => pool_around(block),
    }
}

/// The pool of a block, which is in use to that pool.
#[inline(never)]
pub fn pool_around(block: &Block) -> Option<&'static Pool> {
    match arena::run_of(ptr::from_ref(block) as usize) {
        // SAFETY: the header of an allocated run.
        Slot::Run(header) => Some(unsafe { Pool::at(header) }),
        _ => None,
    }
}
