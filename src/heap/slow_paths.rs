//! The slow paths of `malloc` and `free`, from top to bottom: what the fast paths leave to a heap.
//!
//! What it owns: in which order a slow path does what the files below offer.
//!
//! ```text
//!   refill         malloc, the bin of the class is empty
//!     refill::from_own, heaps::rescue_orphans, refill::from_others
//!   free_at_event  free, the countdown of a pool of the thread's own is at zero
//!   free_own       free, a pool of the thread's own that is not in the slot map
//!   free_foreign   free, any other pool
//!     remote::free
//!   each of these ends with
//!     finish         gives the lock back; if a scan is due:
//!       scan::unscanned        the heap's own pools
//!       remote::free_all       blocks that waited for the lock
//!       scan::purge_abandoned  if the budget is still used up
//!       budget::decay
//! ```
//!
//! What must hold: what the floors below hand back is done here, one after the other: a scan frees no blocks of others, and a remote free scans nothing.

use super::budget;
use super::heap::Heap;
use super::heaps;
use super::refill::{from_others, from_own};
use super::remote;
use super::scan;
use super::usedpools::UsedPools;
use crate::pool::{Block, Pool};
use crate::size_class::CLASSES;
use crate::sync::Guard;
use core::ptr;

/// Takes a block of a class whose bin is empty. Null when the system has no memory. Only for the heap's thread.
pub fn refill(heap: &Heap, class: usize) -> *mut u8 {
    let bin = heap.front.bin(class);
    if !bin.is_empty() {
        // The C library allocated while this thread's heap was made.
        return bin.pop();
    }
    budget::decay_in_turn(&heap.turns);
    if !from_own(heap, class) {
        // What a fork left behind, if anything, comes before new memory.
        heaps::rescue_orphans();
        if !from_others(heap, class) {
            return ptr::null_mut();
        }
    }
    let block = bin.pop();
    debug_assert!(!block.is_null());
    block
}

/// The rest of a free into a pool of the heap that made its countdown zero. Only for the heap's thread.
pub fn free_at_event(heap: &Heap, pool: &Pool) {
    heap.front.bin(pool.class()).recount_if_due();
    budget::decay_in_turn(&heap.turns);
    let mut used = heap.lock();
    used.handle_event(&heap.front, pool);
    finish(heap, used);
}

/// Frees a block of a pool of the calling thread's heap that is not in the slot map: remote frees wait there, pages of it
/// are purged, or another pool of the heap has its place in the map.
pub fn free_own(heap: &Heap, pool: &Pool, block: &Block) {
    let mut used = heap.lock();
    let unscanned = pool.collect_into_local();
    pool.push(block);
    heap.front.enter(pool);
    if unscanned > 0 {
        used.count_unscanned(pool, unscanned);
        used.move_to_back(pool);
    }
    if pool.is_at_event() {
        used.handle_event(&heap.front, pool);
    }
    finish(heap, used);
}

/// Frees a block of a pool that the calling thread's heap does not own. `heap` is `None` for a
/// thread that has no heap, or none any more.
pub fn free_foreign(heap: Option<&Heap>, pool: &Pool, block: &Block) {
    if let Some(used) = remote::free(heap, pool, block)
        && let Some(heap) = heap
    {
        finish(heap, used);
    }
}

/// Ends a slow path that holds the heap's lock: a scan, if it is due, and what must not be done under the lock.
#[inline(never)]
fn finish<'a>(heap: &'a Heap, used: Guard<'a, UsedPools>) {
    if scan::is_due(heap, &used) {
        scan_and_finish(heap, used);
    } else if used.is_anything_waiting() {
        remote::free_all(Some(heap), heap.unlock(used));
    }
}

#[cold]
#[inline(never)]
fn scan_and_finish<'a>(heap: &'a Heap, used: Guard<'a, UsedPools>) {
    let mut most = scan::SCANS_AT_ONCE;
    let used = scan::unscanned(heap, used, &mut most);
    remote::free_all(Some(heap), heap.unlock(used));
    if budget::is_used_up() {
        for class in 1..CLASSES {
            scan::purge_abandoned(class, &mut most, true);
        }
    }
    // Once it was used up, scans go on until half of it is free, so that many pages go each time.
    heap.set_owes_scans(most == 0 && budget::is_half_used());
    budget::decay();
}
