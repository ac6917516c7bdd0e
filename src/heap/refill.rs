//! Refill: where the next blocks come from when a bin is empty.
//!
//! What it owns: the order of the sources, so that memory that was touched is filled before any other:
//!
//! ```text
//!   from_own           under the heap's lock
//!     fill               all free blocks of a used pool, or of several if they have few
//!                        the next page's worth of a used pool's untouched blocks
//!   from_others        without it, since the system may be asked
//!     ABANDONED.adopt    a pool that another thread abandoned
//!     supply::take       a new one, from the fullest arena
//!     accept, fill       under the heap's lock again
//! ```
//!
//! What must hold: used pools are tried from the front. One that has nothing left to give is given up, and belongs to nobody.

use super::abandoned::ABANDONED;
use super::active;
use super::front::Front;
use super::heap::Heap;
use super::supply;
use super::usedpools::UsedPools;
use crate::pool::{Pool, State};
use crate::size_class::TABLE;

/// A bin is filled from several pools until it has this many blocks. With 1, `1-17 KiB random` of `make bench-instructions` takes a sixth
/// more instructions.
const ENOUGH: u32 = 8;

/// Fills the empty bin of a class from the pools that the heap has. False when none has a block. Only for the heap's thread.
pub fn from_own(heap: &Heap, class: usize) -> bool {
    fill(&mut heap.lock(), &heap.front, class)
}

/// The same from a pool that the heap did not have: an abandoned one, or a new one. False when the system has no memory.
pub fn from_others(heap: &Heap, class: usize) -> bool {
    let pool = ABANDONED
        .adopt(class)
        .or_else(|| supply::take(class, heap.as_owner()));
    let Some(pool) = pool else {
        return false;
    };
    let mut used = heap.lock();
    accept(&used, &heap.front, pool);
    let filled = fill(&mut used, &heap.front, class);
    debug_assert!(filled, "a pool that is not exhausted");
    true
}

/// just adopted, or new -> used by the heap, in front of its others. An adopted pool becomes the heap's only now that it is on a list: a remote free
/// that empties it would otherwise take it off a list that it is not on.
fn accept(used: &UsedPools, front: &Front, pool: &Pool) {
    if pool.state() == State::Abandoned {
        pool.become_used_by(front.as_owner());
    }
    if pool.carved_blocks() > 0 {
        front.enter(pool);
    }
    used.of(pool.class()).push_front(pool);
}

/// Fills an empty bin from the used pools. Those that are found exhausted are given up. False when none has a block.
fn fill(used: &mut UsedPools, front: &Front, class: usize) -> bool {
    let bin = front.bin(class);
    debug_assert!(bin.is_empty());
    bin.start(room_of_bin(class));
    let (mut found, mut exhausted) = (0, 0);
    // Those that gave all they had stay in front: the next time they are given up, should nothing be freed into them by then.
    while let Some(pool) = used.of(class).iter().nth(exhausted) {
        // Others made it void when the first block waited, a scan when it purged pages.
        let in_slot_map = pool.remote.count() == 0 && !pool.has_purged_pages();
        // What is unscanned there is forgotten right away.
        pool.collect_into_local();
        let (blocks, count) = pool.take_all();
        if count > 0 {
            used.keep_no_more(pool);
            if !in_slot_map {
                front.enter(pool);
            }
            bin.append(blocks, count);
            found += count;
            if found >= ENOUGH || pool.has_untouched() {
                return true;
            }
            exhausted += 1;
        } else if found > 0 {
            return true;
        } else if pool.has_untouched() {
            let second = used.of(class).second();
            if second.is_some_and(Pool::has_free_blocks) {
                // At the back: it has nothing but untouched blocks to offer.
                used.move_to_back(pool);
                continue;
            }
            used.keep_no_more(pool);
            let before = pool.carved_blocks();
            let (blocks, count) = pool.carve_more();
            bin.append(blocks, count);
            match before {
                0 => front.enter(pool),
                _ => front.map.extend(pool, before),
            }
            return true;
        } else {
            try_retire_full(used, front, pool);
        }
    }
    found > 0
}

/// used by the heap, and exhausted -> full, unless remote frees came meanwhile.
#[inline(never)]
fn try_retire_full(used: &mut UsedPools, front: &Front, pool: &Pool) {
    front.map.void(pool);
    used.remove(pool);
    if !pool.try_become_full() {
        used.of(pool.class()).push_front(pool);
    }
}

/// How many blocks a bin of a class may hold now. All threads together hold no more than the bins of two would, or two blocks each: what is in
/// the bin of a thread that sleeps stays there, and keeps a pool from going back whatever others free.
fn room_of_bin(class: usize) -> u16 {
    let most = TABLE[class].bin_blocks as usize;
    (2 * most / active::count()).clamp(2, most) as u16
}
