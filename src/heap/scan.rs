//! Scan: finds the wholly free pages of pools, and purges them.
//!
//! What it owns: which pools are scanned, in which order, and how many in one call. What a scan of one pool does is in `pool::events`.
//!
//! ```text
//!   unscanned            the heap's pools with unscanned blocks, class by class
//!     gather               moves them to the front of their list
//!     purge_first          one by one: taken out, purged without the lock, put back or abandoned
//!   purge_abandoned      the same for pools that nobody owns
//! ```
//!
//! What must hold: the heap's lock is not held while the system takes pages. A pool that is purged meanwhile is the calling thread's alone, and named in
//! `UsedPools::in_hand`. No call scans more pools than it was told. No block is freed here: what others own waits in the heap.

use super::abandoned::{self, ABANDONED};
use super::active;
use super::budget;
use super::heap::Heap;
use super::usedpools::UsedPools;
use crate::geometry::SLOT_SIZE;
use crate::pool::{Pool, PoolList};
use crate::sync::Guard;
use core::ptr;

/// One call scans at most this many pools: four of 16 KiB, or as many bytes of smaller ones, which takes some 15 us. Later calls scan the rest. An event
/// is a page's worth of frees and adds at most one pool, so the backlog shrinks. With four pools of 4 KiB it does not shrink, and memory
/// exceeds the bound. With 1,024 pools a single free takes 4 ms; with 32, one free in ten thousand takes 0.13 ms. (400,000 blocks of up to
/// 4 KiB that churn, of which 95 % are then dropped.)
pub const SCANS_AT_ONCE: usize = (64 << 10) / SLOT_SIZE;

/// Pools that are passed over on the way to those, which takes a fiftieth of a scan.
const PASSES_AT_ONCE: usize = 32 * SCANS_AT_ONCE;

/// Whether pools of the heap must be scanned: the process has more unscanned bytes than may stay, or had, and not half of the budget is free yet. To be asked
/// by slow paths of the heap's own thread that free.
#[inline]
pub fn is_due(heap: &Heap, used: &UsedPools) -> bool {
    // Others may have used the budget up for long: a scan must be worth it each time. First what is cheap to tell.
    heap.owes_scans()
        || used.unscanned_bytes > budget::LEAST_WORTH_SCANNING
            && budget::is_used_up()
            && used.unscanned_bytes > budget::worth_scanning()
}

/// Takes a used pool out of the heap and purges its free pages; true when there were any. The lock is not held while the system takes
/// them, which takes long. The pool is then the calling thread's, and on no list.
pub fn purge_in_hand<'a>(
    heap: &'a Heap,
    mut used: Guard<'a, UsedPools>,
    pool: &Pool,
) -> (Guard<'a, UsedPools>, bool) {
    used.take_out(&heap.front, pool);
    let pages = pool.unlist_free_pages();
    if pages == 0 {
        return (used, false);
    }
    debug_assert!(used.in_hand.is_null());
    used.in_hand = pool;
    drop(used);
    pool.purge_pages(pages);
    let mut used = heap.lock();
    debug_assert!(ptr::eq(used.in_hand, pool));
    used.in_hand = ptr::null();
    (used, true)
}

/// Which pools a walk purges.
type Wanted = fn(&Pool) -> bool;

/// Whether a pool has blocks that were freed since its last scan.
fn has_unscanned(pool: &Pool) -> bool {
    pool.unscanned() > 0
}

/// Whether a thread among several abandons a pool that it comes by: it has unscanned blocks, or is not carved to the end.
fn is_for_others(pool: &Pool) -> bool {
    pool.unscanned() > 0 || pool.has_untouched()
}

/// Any pool.
pub fn every(_: &Pool) -> bool {
    true
}

/// Purges the pools of a class that are `wanted`, from the first on, until one is not, and at most `most`. They go back behind the heap's others, or with
/// `abandons` to everyone. True when there were free pages, or an empty pool. What is left of `most` is told.
#[inline(never)]
pub fn purge_first<'a>(
    heap: &'a Heap,
    mut used: Guard<'a, UsedPools>,
    class: usize,
    wanted: Wanted,
    abandons: bool,
    most: &mut usize,
) -> (Guard<'a, UsedPools>, bool) {
    let mut any = false;
    while *most > 0 {
        let Some(pool) = used.of(class).first().filter(|pool| wanted(pool)) else {
            break;
        };
        *most -= 1;
        let purged;
        (used, purged) = purge_in_hand(heap, used, pool);
        any |= purged;
        match abandons {
            true => used.abandon(pool),
            false => any |= used.put_back(&heap.front, pool),
        }
    }
    (used, any)
}

/// Scans the heap's pools with unscanned blocks, at most `most`; what is left of `most` is told. With several threads each pool that was scanned is
/// abandoned, since this thread may sleep for ever from now on, while others free what it has in there.
#[cold]
#[inline(never)]
pub fn unscanned<'a>(
    heap: &'a Heap,
    mut used: Guard<'a, UsedPools>,
    most: &mut usize,
) -> Guard<'a, UsedPools> {
    let abandons = active::count() > 1;
    let wanted = match abandons {
        true => is_for_others,
        false => has_unscanned,
    };
    used.unscanned_bytes = 0;
    let mut passes = PASSES_AT_ONCE;
    while let Some(class) = used
        .scan_class
        .or_else(|| begin_next_class(heap, &mut used))
    {
        gather(&mut used, class, wanted, *most, &mut passes);
        (used, _) = purge_first(heap, used, class, wanted, abandons, most);
        if passes == 0 {
            // The walk is not over: the next call goes on.
            *most = 0;
        }
        if *most == 0 {
            break;
        }
        (used.scan_class, used.scanned_class) = (None, class);
    }
    used
}

/// Begins a scan of the next class with unscanned blocks, in turn, so that a class that always has some leaves time for the others.
fn begin_next_class(heap: &Heap, used: &mut UsedPools) -> Option<usize> {
    if used.unscanned == 0 {
        return None;
    }
    let behind = used.unscanned >> used.scanned_class >> 1;
    let class = match behind {
        0 => used.unscanned.trailing_zeros() as usize,
        _ => used.scanned_class + 1 + behind.trailing_zeros() as usize,
    };
    used.unscanned &= !(1 << class);
    used.empty_bin(&heap.front, class);
    used.scan_class = Some(class);
    used.scan_next = used.of(class).last();
    Some(class)
}

/// Moves the next pools of a class that are `wanted` to its front, at most `most`. Those with an event most recently are at the back, where it begins.
fn gather(used: &mut UsedPools, class: usize, wanted: Wanted, most: usize, passes: &mut usize) {
    let found = PoolList::new();
    let mut room = most;
    for pool in PoolList::iter_backwards_from(used.scan_next) {
        if room == 0 || *passes == 0 {
            break;
        }
        used.scan_next = used.of(class).before(pool);
        if wanted(pool) {
            room -= 1;
            used.remove(pool);
            found.push_back(pool);
        } else {
            *passes -= 1;
        }
    }
    while let Some(pool) = found.first() {
        found.remove(pool);
        used.of(class).push_front(pool);
    }
}

/// Purges the free pages of abandoned pools of a class, at most `most`: of all of them, or only of those that have unscanned blocks, which
/// are in front. True when there were any. What is left of `most` is told.
#[inline(never)]
pub fn purge_abandoned(class: usize, most: &mut usize, only_unscanned: bool) -> bool {
    let mut purged = false;
    for _ in 0..ABANDONED.count(class).min(*most) {
        let Some(pool) = ABANDONED.claim_first(class, only_unscanned) else {
            break;
        };
        *most -= 1;
        pool.take_in_hand();
        purged |= pool.purge_free_pages() > 0;
        abandoned::abandon_at_once(pool);
    }
    purged
}
