//! Large runs: blocks larger than a pool holds well, as whole slots of an arena.
//!
//! What it owns: the headers of such runs. A run costs no memory beyond the pages that the program
//! touches; only its slots are taken. Nobody owns a run, so that any thread frees it the same way: to its arena.

use crate::arena::{self, Taken};
use crate::geometry::{MAX_RUN, SLOT_SHIFT, SLOT_SIZE};
use crate::pool::Pool;
use core::ptr;

/// Slots that a block of `size` bytes takes.
fn slots_for(size: usize) -> usize {
    debug_assert!(size > 0 && size <= MAX_RUN);
    size.div_ceil(SLOT_SIZE)
}

/// Allocates a block of at least `size` bytes, at most `MAX_RUN`, at a multiple of the slot size.
pub fn allocate(size: usize) -> Option<Taken> {
    let slots = slots_for(size);
    let taken = arena::take(slots, |header| {
        // SAFETY: the header of a run that is being taken, which keeps its arena mapped.
        unsafe { Pool::at(header) }.become_large(slots);
    })?;
    arena::add_large(slots);
    Some(taken)
}

/// The size in bytes of the block whose header `run` is.
pub fn size_of(run: &Pool) -> usize {
    run.slots() << SLOT_SHIFT
}

/// Frees the block whose header `run` is.
pub fn free(run: &Pool) {
    arena::subtract_large(run.slots());
    // SAFETY: a large run is never owned, and the caller gives it up.
    // Nobody knows which of its pages the program has written.
    unsafe { arena::release(ptr::from_ref(run).cast(), run.slots(), false) };
}

/// Resizes the block whose header `run` is to at least `size` bytes, at most `MAX_RUN`, where it is.
/// False, and nothing changed, when the slots behind it are not free.
pub fn resize(run: &Pool, size: usize) -> bool {
    let (wanted, before) = (slots_for(size), run.slots());
    // SAFETY: the run is the caller's, and it uses at most `size` bytes from now on.
    let resized = unsafe { arena::resize(ptr::from_ref(run).cast(), before, wanted) };
    if resized {
        run.resize_large(wanted);
        match wanted > before {
            true => arena::add_large(wanted - before),
            false => arena::subtract_large(before - wanted),
        }
    }
    resized
}
