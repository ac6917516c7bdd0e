//! Release: a heap gives up what it has.
//!
//! What it owns: what becomes of the pools of a heap when its memory is wanted elsewhere, and when its thread has ended.
//!
//! ```text
//!   trim                 empty pools to their arenas; free pages of the others to the system
//!   abandon_all          every pool: empty ones to their arenas, full and nearly full ones to nobody, the others to the abandoned ones
//!   abandon_if_ended     the same for a thread that ended without giving its heap back
//! ```
//!
//! What must hold: the caller holds no lock. Blocks of others' pools that were in the heap's bins are freed when all else is done.

use super::budget;
use super::heap::Heap;
use super::remote;
use super::scan;
use crate::pool::Pool;
use crate::size_class::CLASSES;
use core::ptr;
use core::sync::atomic::Ordering;

/// Gives empty pools of a heap back to their arenas: those that are kept, and with `walks` all others. With `own`, only for the heap's thread, what is in its
/// bins as well, and with `purges` the free pages of all others. True when there were any.
pub fn trim(heap: &Heap, own: bool, walks: bool, purges: bool) -> bool {
    let mut used = heap.lock();
    let mut returned = false;
    for class in 1..CLASSES {
        if own {
            used.empty_bin(&heap.front, class);
        }
        if walks {
            returned |= used.give_back_empty_of(&heap.front, class, own);
        }
        if own && purges {
            // Each pool once: one that was scanned goes to the back.
            let mut most = used.of(class).iter().count();
            let purged;
            (used, purged) = scan::purge_first(heap, used, class, scan::every, false, &mut most);
            returned |= purged;
        }
    }
    returned |= used.give_back_kept(&heap.front);
    remote::free_all(own.then_some(heap), heap.unlock(used));
    returned
}

/// Abandons every pool of a heap whose thread has ended without giving it back, if it has, and takes the heap from it.
pub fn abandon_if_ended(heap: &Heap) -> bool {
    // Relaxed, both: an orphan's thread is none of this process.
    let is_had = heap.taken.load(Ordering::Relaxed) && !heap.orphaned.load(Ordering::Relaxed);
    if !is_had || !heap.life.has_ended() {
        return false;
    }
    // A thread that was ended in the middle of an allocation, by a call of its own in a signal handler, may have left its lists locked or half
    // changed: they stay so. Should somebody else have them now, the next caller takes the heap.
    if heap.try_lock().is_none() || !heap.life.claim() {
        return false;
    }
    abandon_all(heap, true);
    true
}

/// Gives up every pool, and a large slot map. Only for the heap's thread as it ends, or with `recount` for a heap whose thread does not exist.
pub fn abandon_all(heap: &Heap, recount: bool) {
    let mut used = heap.lock();
    // SAFETY: a pool in hand is live.
    if let Some(pool) = unsafe { used.in_hand.as_ref() } {
        debug_assert!(
            recount,
            "only a thread that does not exist has anything in hand"
        );
        used.in_hand = ptr::null();
        used.abandon(pool);
    }
    for class in 1..CLASSES {
        if recount {
            used.of(class).iter().for_each(Pool::recount);
        }
        used.empty_bin(&heap.front, class);
        while let Some(pool) = used.of(class).first() {
            pool.collect_into_local();
            if pool.in_use() == 0 {
                used.give_back_empty(&heap.front, pool);
                continue;
            }
            if pool.unscanned() > 0 && budget::is_half_used() {
                // Nobody else would before a block of it is freed.
                (used, _) = scan::purge_in_hand(heap, used, pool);
            } else {
                used.take_out(&heap.front, pool);
            }
            used.abandon(pool);
        }
    }
    remote::free_all(None, heap.unlock(used));
    heap.rest_map();
}
