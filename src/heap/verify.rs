//! Verify: whether a block that carries the mark of free blocks is free.
//!
//! What it owns: the search for such a block, on every list on which it could be. It runs before a program is ended for a double free.
//!
//! ```text
//!   is_free
//!     Bin::holds            the bin of the calling thread
//!     is_on_a_list_of       the lists of its pool: under the lock of the owner's heap, or after a claim
//!     is_in_a_bin           the bins of all heaps, which their threads may change meanwhile
//! ```
//!
//! What must hold: no program is ended for a block that it has. The mark alone proves nothing: a program can copy bytes that it never wrote,
//! and bring a mark back to where it was. Without the search of other threads' bins, 4 of the 12 double frees in which another thread frees
//! the block again (`c_tests/misuse.c`) are not seen, for 700 bytes less.

use super::abandoned;
use super::heap::Heap;
use super::heaps;
use super::news;
use crate::arena::{self, Slot};
use crate::os;
use crate::pool::{Block, Pool, State};
use core::sync::atomic::AtomicU32;

/// Looks at a pool between owners, and the milliseconds between two, before a block is given the benefit of the doubt. Nobody tells when it has an
/// owner again, so that whoever waits for that sleeps a little, by the call that locks sleep by.
const LOOKS: usize = if cfg!(loom) { 1 } else { 200 };
const BETWEEN_LOOKS: u64 = 1;

/// Whether a block that carries the mark of free blocks is free. `heap` is the calling thread's.
#[cold]
pub fn is_free(heap: Option<&Heap>, pool: &Pool, block: &Block) -> bool {
    heap.is_some_and(|heap| heap.front.bin(pool.class()).holds(block))
        || is_on_a_list_of(pool, block)
        || is_in_a_bin(pool.class(), block)
}

/// Whether a block is on one of its pool's lists.
#[inline(never)]
fn is_on_a_list_of(pool: &Pool, block: &Block) -> bool {
    // Bounded, because in a forked child nobody finishes what a thread of the parent was about to do.
    for _ in 0..LOOKS {
        if let Some(owner) = Heap::of_owner(pool.owner()) {
            let _used = owner.lock();
            if pool.is_owned_by(owner.as_owner()) {
                return pool.is_on_a_list(block);
            }
        } else if pool.remote.try_claim() {
            return is_on_a_list_of_claimed(pool, block);
        }
        // Between owners: whoever is giving it up, claiming it, or looking for free pages in it is about to finish.
        os::wait(&AtomicU32::new(0), 0, BETWEEN_LOOKS);
    }
    false
}

/// The same of a pool that was just claimed, only for this. It goes back to where it was.
fn is_on_a_list_of_claimed(pool: &Pool, block: &Block) -> bool {
    let was_full = pool.state() == State::Full;
    abandoned::take_claimed(pool);
    let is_free = pool.is_on_a_list(block);
    match was_full && pool.try_become_full() {
        true => news::tell(),
        false => abandoned::abandon_at_once(pool),
    }
    is_free
}

/// Whether a block is in a bin of any heap.
fn is_in_a_bin(class: usize, block: &Block) -> bool {
    let mut found = false;
    heaps::each(|heap| {
        found = found
            || heap
                .front
                .bin(class)
                .seems_to_hold(block, |at| look_in_bin(at, class));
    });
    found
}

/// What the block of a class at an address that was seen in a bin says: the one behind it, and whether it carries the mark. `None` when it
/// is no block any more.
fn look_in_bin(address: usize, class: usize) -> Option<(*const Block, bool)> {
    arena::with_run_of_stray(address, |slot| {
        let Slot::Run(header) = slot else {
            return None;
        };
        // SAFETY: the header of an allocated run, and the arenas are held still.
        let pool = unsafe { Pool::at(header) };
        let block = (pool.class() == class)
            .then(|| pool.block_at(address))?
            .ok()?;
        pool.look_at(block)
    })
}
