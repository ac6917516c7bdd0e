//! Remote frees: a block goes to a pool that the calling thread's heap does not own.
//!
//! What it owns: which of these ways a block takes.
//!
//! ```text
//!   free
//!     keep                   a bin of the calling thread has room: it serves this thread's next malloc
//!     concerns_owner         the pool is used, and its owner should not miss the block
//!       free_under_lock        posts it; if it was the last: used by the owner -> vacant
//!                              else: the owner's slot map forgets the pool
//!     push_or_claim          posts it, or claims a pool that nobody owns
//!       free_claimed             used by the calling thread's heap
//!       free_claimed_without_heap  abandoned again, full, or vacant
//!   free_all               blocks from a bin, one after the other
//! ```
//!
//! What must hold: a block that is not posted yet keeps its pool alive, so the thread that frees it may look at the pool. After the post it may not.
//! A pool without a block that its owner could still free goes back here, as its owner may sleep for ever. Nothing is scanned here: `free` hands the
//! heap's lock back where that may be due.

use super::abandoned;
use super::active;
use super::budget;
use super::heap::Heap;
use super::news;
use super::supply;
use super::usedpools::UsedPools;
use crate::pool::remote::Pushed;
use crate::pool::{Block, Pool, State};
use crate::sync::Guard;

/// Remote frees from one decay to the next: a thread that does nothing else must come by within seconds.
const FREES_A_DECAY: usize = 64;

/// Blocks of more bytes than this, which another thread's heap owns, stay with the thread that frees them as far as its bin has room. Their pools hold few, so that
/// each post costs more there, and the refill that brings the block back: `rptest`, blocks of up to 16,000 bytes on two threads, takes 0.67 of the time. Smaller ones
/// go back to their owner: neighbours in different threads would share lines of the cache (`cache-scratch` of `make bench`), and a post is cheap.
/// In the model all blocks are posted, since posts are what it is about.
const KEPT_ABOVE: usize = if cfg!(loom) { usize::MAX } else { 512 };

/// Frees a block of a pool that the calling thread's heap does not own. `heap` is `None` for a thread that has none, or none any more. Returns the heap's
/// lock if the heap has the pool from now on: a scan may be due.
pub fn free<'a>(
    heap: Option<&'a Heap>,
    pool: &Pool,
    block: &Block,
) -> Option<Guard<'a, UsedPools>> {
    let is_kept = heap.is_some_and(|heap| keep(heap, pool, block));
    if !is_kept && post_or_claim(pool, block) == Pushed::Claimed {
        return match heap {
            Some(heap) => Some(free_claimed(heap, pool, block)),
            None => {
                free_claimed_without_heap(pool, block);
                None
            }
        };
    }
    match heap {
        Some(heap) if heap.count_remote_free().is_multiple_of(FREES_A_DECAY) => budget::decay(),
        Some(_) => {}
        None => news::tell(),
    }
    None
}

/// Keeps a large block of another heap's pool in the bin of the thread that frees it, if there is room. To its pool it stays in use. A pool that nobody owns is
/// claimed instead: then its other blocks are the thread's own.
fn keep(heap: &Heap, pool: &Pool, block: &Block) -> bool {
    let bin = heap.front.bin(pool.class());
    let is_kept = pool.block_size() > KEPT_ABOVE && bin.has_room() && !pool.owner().is_null();
    if is_kept {
        bin.push(block);
    }
    is_kept
}

/// Posts a block to its pool, or claims the pool.
fn post_or_claim(pool: &Pool, block: &Block) -> Pushed {
    // Until the block is posted it keeps the pool alive; afterwards nothing does.
    let start = pool.start();
    loop {
        if !concerns_owner(pool) {
            return pool.remote.push_or_claim(block, start);
        }
        if let Some(pushed) = free_under_lock(pool, block, start) {
            return pushed;
        }
    }
}

/// Frees blocks that are linked to each other. `heap` as for `free`. A heap that has come to own one of the pools scans it another time.
#[inline(never)]
pub fn free_all(heap: Option<&Heap>, mut blocks: *const Block) {
    // SAFETY: the blocks are free, and the caller's.
    while let Some(block) = unsafe { blocks.as_ref() } {
        blocks = block.next();
        if let Some(pool) = supply::pool_around(block)
            && let Some(used) = free(heap, pool, block)
            && let Some(heap) = heap
        {
            let more = heap.unlock(used);
            debug_assert!(more.is_null(), "no bin was emptied");
        }
    }
}

/// Whether a remote free into a used pool is one that its owner, which may be asleep, should not miss: the first that waits, or
/// the one that leaves no block in use. A hint, since owner and others go on meanwhile. A pool that is
/// missed so is found by `release_some_empty`, by `refill`, or by `trim`.
fn concerns_owner(pool: &Pool) -> bool {
    let waiting = pool.remote.count();
    pool.state() == State::Used && (waiting == 0 || waiting + 1 >= pool.in_use())
}

/// Frees a block of a used pool of another thread under the lock of its heap. If that was the last block, the pool goes back
/// to its arena. Otherwise its entry in the owner's slot map becomes void, so that the owner's own next free into it goes by `free_own` and
/// finds the remote frees. The first that waits is only posted when the owner is busy, if it cannot be the last. `None`, and nothing is freed,
/// when the pool has another owner or state by then.
#[cold]
fn free_under_lock(pool: &Pool, block: &Block, start: usize) -> Option<Pushed> {
    let Some(owner) = Heap::of_owner(pool.owner()) else {
        // No heap's any more: whoever takes it in hand, gives it up or claims it is about to finish.
        return Some(pool.remote.push_or_claim(block, start));
    };
    // With more blocks in use than there are threads, those that post at once hardly free the last. A hint, as `concerns_owner` is.
    let many = pool.in_use() as usize > active::count();
    let (first, slots) = (pool.remote.count() == 0 && many, pool.slots());
    let mut used = match owner.try_lock() {
        Some(used) => used,
        // The owner is busy with its lists, and may be for a millisecond: it learns of the block when it next frees into the pool.
        None if first => {
            let pushed = pool.remote.push_or_claim(block, start);
            if pushed == Pushed::Posted {
                owner.front.map.void_posted(start, slots);
            }
            return Some(pushed);
        }
        None => owner.lock(),
    };
    if !pool.is_owned_by(owner.as_owner()) || pool.state() != State::Used {
        return None;
    }
    // The owner cannot give the pool up without its lock.
    let pushed = pool.remote.push_or_claim(block, start);
    debug_assert!(pushed == Pushed::Posted);
    if pool.remote.count() == pool.in_use() && !pool.awaits_owner() {
        pool.collect_into_local();
        used.take_out_empty(&owner.front, pool);
        drop(used);
        supply::release(pool);
    } else {
        owner.front.map.void(pool);
    }
    Some(pushed)
}

/// just claimed -> used by the heap, behind its others, with a block freed that is not free yet.
fn free_claimed<'a>(heap: &'a Heap, pool: &Pool, block: &Block) -> Guard<'a, UsedPools> {
    abandoned::unlist_claimed(pool);
    let mut used = heap.lock();
    release_some_empty(&mut used, heap, pool.class());
    pool.become_used_by(heap.as_owner());
    pool.push(block);
    heap.front.enter(pool);
    // At the back, so that it has more free blocks when its turn comes.
    used.of(pool.class()).push_back(pool);
    if pool.unscanned() > 0 {
        used.unscanned |= 1 << pool.class();
    }
    if pool.is_at_event() {
        used.handle_event(&heap.front, pool);
    }
    used
}

/// The same for a thread without a heap: the pool is nobody's again afterwards, or vacant.
fn free_claimed_without_heap(pool: &Pool, block: &Block) {
    abandoned::take_claimed(pool);
    let event = pool.push(block);
    if pool.in_use() == 0 {
        pool.become_vacant();
        return supply::release(pool);
    }
    if event {
        pool.count_event();
        if budget::is_used_up() {
            pool.purge_free_pages();
        }
    }
    abandoned::abandon_at_once(pool);
}

/// Looks at the first used pools of a class: one whose blocks in use were all freed remotely goes back, the others move to
/// the back. Called once for every pool that is claimed, and two are looked at, so that such pools are found faster than
/// they are made, also by a thread that never allocates from the class.
fn release_some_empty(used: &mut UsedPools, heap: &Heap, class: usize) {
    for _ in 0..2 {
        let Some(pool) = used.of(class).first() else {
            return;
        };
        let remote = pool.remote.count();
        // If all blocks in use were freed remotely, nobody can change the count.
        if remote > 0 && remote == pool.in_use() {
            used.give_back_empty(&heap.front, pool);
        } else {
            used.move_to_back(pool);
        }
    }
}
