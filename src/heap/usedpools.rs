//! The usedpools of a heap: the pools that it owns, by size class, and how one enters, changes and goes.
//!
//! What it owns: the lists of a heap's pools, those among them that are empty and kept, what is known of their unscanned blocks, and what waits
//! until the heap's lock is given back.
//!
//! ```text
//!   event of a pool     handle_event
//!                         empty: keep_empty, or give_back_empty      -> vacant
//!                         all in use was freed remotely              -> vacant
//!                         else: its unscanned blocks are counted
//!   bin that goes       empty_bin: each block to its pool, or to `foreign`
//!   pool that goes      take_out, put_back, abandon, take_out_empty
//! ```
//!
//! What must hold:
//! - All of it is reached under the heap's lock only.
//! - A pool is on the list of its class exactly as long as its owner is this heap. One that was taken out is in hand: it belongs to the
//!   thread that took it, and is on no list.
//! - A kept pool is empty, remote frees aside, and on the list of its class too.
//! - Nothing here frees a block of another heap's pool, and nothing asks the system for anything: that waits in `foreign` and `vacant`.

use super::abandoned;
use super::budget;
use super::front::Front;
use super::supply;
use crate::pool::{Block, Pool, PoolList, State};
use crate::size_class::CLASSES;
use core::ptr;

/// Empty pools that a heap keeps, of all classes together, so that a program at the edge of a pool does not give it
/// back, and take and carve another, again and again. Few: each of them can keep an arena mapped. With 0 a pair of
/// `make bench-instructions`, first in first out, takes six instructions more.
const KEPT_POOLS: usize = 4;

pub struct UsedPools {
    of: [PoolList; CLASSES],
    /// The empty pools among the used ones, longest kept first; null behind the last.
    kept: [*const Pool; KEPT_POOLS],
    /// The classes of which a used pool may have unscanned blocks (`pool::events`), a bit each.
    pub unscanned: u128,
    /// Bytes counted as unscanned at events since these pools were last scanned.
    pub unscanned_bytes: usize,
    /// The class that a scan goes on with, and the last one that was scanned to the end...
    pub scan_class: Option<usize>,
    pub scanned_class: usize,
    /// ... and the pool of it where it goes on, towards the front; null behind the first.
    pub scan_next: *const Pool,
    /// Blocks from the bins whose pools others own, linked.
    foreign: *const Block,
    /// Pools that became vacant, whose slots go back to their arenas.
    vacant: PoolList,
    /// The pool that was taken out while its free pages go back, without the lock; null for none. It is whole at any time, so that the child of a
    /// fork can abandon it.
    pub in_hand: *const Pool,
}

const _: () = assert!(CLASSES <= u128::BITS as usize);

// SAFETY: pools are live as long as they are listed, and the lists are reached under the heap's lock only.
unsafe impl Send for UsedPools {}

impl UsedPools {
    pub const fn none() -> Self {
        UsedPools {
            of: [const { PoolList::new() }; CLASSES],
            kept: [ptr::null(); KEPT_POOLS],
            unscanned: 0,
            unscanned_bytes: 0,
            scan_class: None,
            scanned_class: 0,
            scan_next: ptr::null(),
            foreign: ptr::null(),
            vacant: PoolList::new(),
            in_hand: ptr::null(),
        }
    }

    /// The pools of a class. They are filled from the front.
    pub fn of(&self, class: usize) -> &PoolList {
        &self.of[class]
    }

    /// Whether anything waits until the lock is given back.
    #[inline]
    pub fn is_anything_waiting(&self) -> bool {
        !self.foreign.is_null() || self.vacant.first().is_some()
    }

    /// The blocks that wait for whoever frees them, linked. None waits afterwards.
    pub fn take_foreign(&mut self) -> *const Block {
        core::mem::replace(&mut self.foreign, ptr::null())
    }

    /// A vacant pool, which is the caller's to release, and whether there are more.
    pub fn take_vacant(&mut self) -> Option<(&'static Pool, bool)> {
        let pool = self.vacant.first()?;
        self.vacant.remove(pool);
        Some((pool, self.vacant.first().is_some()))
    }

    /// Takes a pool off the list of its class.
    pub fn remove(&mut self, pool: &Pool) {
        if ptr::eq(self.scan_next, pool) {
            self.scan_next = self.of(pool.class()).before(pool);
        }
        self.of(pool.class()).remove(pool);
    }

    pub fn move_to_back(&mut self, pool: &Pool) {
        if !self.of(pool.class()).is_last(pool) {
            self.remove(pool);
            self.of(pool.class()).push_back(pool);
        }
    }

    // Events and empty pools.

    /// Counts what was freed in a used pool since it was last counted.
    pub fn count_unscanned(&mut self, pool: &Pool, bytes: usize) {
        self.unscanned_bytes += bytes;
        self.unscanned |= 1 << pool.class();
    }

    /// Handles an event of a used pool, which may go back to its arena.
    #[inline(never)]
    pub fn handle_event(&mut self, front: &Front, pool: &Pool) {
        debug_assert!(pool.state() == State::Used && pool.is_at_event());
        if pool.in_use() == 0 {
            if let Some(going) = self.keep_empty(pool) {
                self.give_back_empty(front, going);
            }
        } else if pool.remote.count() == pool.in_use() {
            self.give_back_empty(front, pool);
        } else {
            let bytes = pool.count_event();
            self.count_unscanned(pool, bytes);
            self.move_to_back(pool);
        }
    }

    /// Keeps a used pool that has just become empty. Returns the one that must go instead, if any: the longest kept one, or this
    /// one if others of its class have room or the budget is used up.
    fn keep_empty<'a>(&mut self, pool: &'a Pool) -> Option<&'a Pool> {
        // At the back, so that the others are filled first.
        self.move_to_back(pool);
        let first = self.of(pool.class()).first();
        // A single slot is kept whoever has used the budget up.
        let small = pool.slots() == 1;
        if !first.is_some_and(|first| ptr::eq(first, pool)) || !small && budget::is_used_up() {
            return Some(pool);
        }
        pool.count_all_freed();
        self.unscanned |= 1 << pool.class();
        if let Some(place) = self.kept.iter().position(|kept| kept.is_null()) {
            self.kept[place] = pool;
            return None;
        }
        let oldest = self.kept[0];
        self.kept.rotate_left(1);
        self.kept[KEPT_POOLS - 1] = pool;
        // SAFETY: kept pools are used ones, which are live.
        Some(unsafe { &*oldest })
    }

    /// A pool is not kept any more: it has blocks in use again, or goes.
    pub fn keep_no_more(&mut self, pool: &Pool) {
        if let Some(place) = self.kept.iter().position(|kept| ptr::eq(*kept, pool)) {
            self.kept.copy_within(place + 1.., place);
            self.kept[KEPT_POOLS - 1] = ptr::null();
        }
    }

    /// Gives the blocks of a bin back to their pools. Those of pools that the heap does not own wait in `foreign`.
    #[inline(never)]
    pub fn empty_bin(&mut self, front: &Front, class: usize) {
        let mut blocks = front.bin(class).take_all();
        // SAFETY: blocks that were in the bin.
        while let Some(block) = unsafe { blocks.as_ref() } {
            blocks = block.next();
            let own = supply::pool_of_block(block, class)
                .filter(|pool| pool.is_owned_by(front.as_owner()));
            let Some(pool) = own else {
                block.link(self.foreign);
                self.foreign = block;
                continue;
            };
            if pool.push(block) || pool.remote.count() > 0 && pool.is_at_event() {
                self.handle_event(front, pool);
            }
        }
    }

    // Used pools that go.

    /// the heap's -> in the caller's hand. The pool is on no list then.
    pub fn take_out(&mut self, front: &Front, pool: &Pool) {
        self.keep_no_more(pool);
        self.remove(pool);
        front.map.void(pool);
        pool.take_from_heap();
    }

    /// in the caller's hand -> the heap's, behind its others, so that it drains. True if it is empty and so becomes vacant instead.
    pub fn put_back(&mut self, front: &Front, pool: &Pool) -> bool {
        pool.return_to_heap(front.as_owner());
        self.of(pool.class()).push_back(pool);
        // Meanwhile others may have posted the rest.
        let unscanned = pool.collect_into_local();
        if pool.in_use() == 0 {
            self.give_back_empty(front, pool);
            return true;
        }
        if unscanned > 0 {
            self.count_unscanned(pool, unscanned);
        }
        front.enter(pool);
        false
    }

    /// in the caller's hand -> abandoned, full, or vacant if it is empty.
    pub fn abandon(&mut self, pool: &Pool) {
        if let Some(vacant) = abandoned::abandon(pool) {
            self.vacant.push_back(vacant);
        }
    }

    /// the heap's, and empty -> vacant, and the caller's.
    pub fn take_out_empty(&mut self, front: &Front, pool: &Pool) {
        debug_assert!(pool.in_use() == 0);
        self.keep_no_more(pool);
        self.remove(pool);
        front.map.void(pool);
        pool.become_vacant();
    }

    /// the heap's, and empty once remote frees are collected -> vacant, to be released with the lock given back.
    #[inline(never)]
    pub fn give_back_empty(&mut self, front: &Front, pool: &Pool) {
        pool.collect_into_local();
        self.take_out_empty(front, pool);
        self.vacant.push_back(pool);
    }

    /// Gives back the empty used pools of a class that are not kept. True when there were any. `own`: the calling thread is the heap's.
    pub fn give_back_empty_of(&mut self, front: &Front, class: usize, own: bool) -> bool {
        let mut returned = false;
        for pool in self.of(class).iter() {
            // If all blocks in use were freed remotely, nobody can change the count. Other pools without any in use are for their thread to give
            // back, which is on its way here.
            let remote = pool.remote.count();
            let empty = remote == pool.in_use() && !pool.awaits_owner();
            if empty && (own || remote > 0) {
                self.give_back_empty(front, pool);
                returned = true;
            }
        }
        returned
    }

    /// Gives back the empty pools that are kept. True when there were any.
    pub fn give_back_kept(&mut self, front: &Front) -> bool {
        let mut returned = false;
        // SAFETY: kept pools are used ones, which are live.
        while let Some(pool) = unsafe { self.kept[0].as_ref() } {
            self.give_back_empty(front, pool);
            returned = true;
        }
        returned
    }
}
