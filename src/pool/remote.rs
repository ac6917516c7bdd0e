//! Remote frees: the one word of a pool that several threads change, and the protocol on it.
//!
//! The word says whether the pool is owned, and holds the list of blocks that other threads
//! have freed while it was:
//!
//! ```text
//!   31     30 .. 16                 15 .. 0
//!   owned | blocks on the list     | newest block, as (its offset in the pool) / 16 + 1; 0: none
//! ```
//!
//! An unowned pool has the word 0: nothing is ever posted to it. A free into it claims
//! it instead, so that exactly one thread becomes the owner and then frees the block as its own.
//!
//! Orderings. Whoever gives a pool up publishes the pool's private fields by a release; whoever claims it
//! acquires them. Whoever posts a block publishes the block's words (and all the program did with it) by a
//! release; the owner that collects acquires them. Later posts continue the release sequence of
//! earlier ones, since all are read-modify-writes. A list of posts is only ever pushed to and taken
//! whole, so that a word which went away and came back (ABA) is harmless.

use super::block::Block;
use crate::geometry::BLOCK_ALIGN;
use crate::size_class::LONGEST_POOL;
use crate::sync::{AtomicU32, Ordering};
use core::ptr;

const OWNED: u32 = 1 << 31;
const ONE_BLOCK: u32 = 1 << 16;
const NEWEST: u32 = ONE_BLOCK - 1;
const UNOWNED: u32 = 0;

// Both halves have room for the longest pool of the smallest blocks.
const _: () = assert!(LONGEST_POOL / BLOCK_ALIGN < (OWNED / ONE_BLOCK) as usize);

fn count_of(word: u32) -> u32 {
    (word & !OWNED) >> 16
}

fn newest_of(word: u32, start: usize) -> *const Block {
    match (word & NEWEST) as usize {
        0 => ptr::null(),
        place => (start + (place - 1) * BLOCK_ALIGN) as *const Block,
    }
}

/// What `push_or_claim` did.
#[derive(PartialEq, Eq, Debug)]
pub enum Pushed {
    /// The block is on the owner's list of remote frees.
    Posted,
    /// The pool had no owner. Now the caller owns it, and still has to free the block.
    Claimed,
}

/// Remote frees that were taken from a pool.
pub struct Collected {
    /// The newest, linked to the others.
    pub head: *const Block,
    /// How many there are.
    pub count: u32,
}

/// The word.
pub struct RemoteFrees(AtomicU32);

impl RemoteFrees {
    /// Makes the pool owned by its maker.
    pub fn start_owned(&self) {
        // Relaxed: nobody else knows of the pool yet.
        self.0.store(OWNED, Ordering::Relaxed);
    }

    /// Frees `block`, of the pool that starts at `start`, from a thread that does not own it.
    pub fn push_or_claim(&self, block: &Block, start: usize) -> Pushed {
        let place = ((ptr::from_ref(block) as usize - start) / BLOCK_ALIGN + 1) as u32;
        // Relaxed: the compare-and-swap below decides.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let new = if word == UNOWNED {
                OWNED
            } else {
                block.become_free(newest_of(word, start));
                ((word & !NEWEST) + ONE_BLOCK) | place
            };
            // AcqRel: release for a post, acquire for a claim (see the top of this file).
            match self
                .0
                .compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(UNOWNED) => return Pushed::Claimed,
                Ok(_) => return Pushed::Posted,
                Err(found) => word = found,
            }
        }
    }

    /// Claims an unowned pool. False when it has an owner.
    pub fn try_claim(&self) -> bool {
        // Acquire: the private fields as the last owner left them.
        self.0
            .compare_exchange(UNOWNED, OWNED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives the pool up. False, and it is still the caller's, when remote frees are waiting.
    pub fn give_up(&self) -> bool {
        // Release: the private fields, for the next owner.
        self.0
            .compare_exchange(OWNED, UNOWNED, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether the pool is owned. For assertions of its owner.
    pub(super) fn is_owned(&self) -> bool {
        // Relaxed: nobody takes the pool from its owner.
        self.0.load(Ordering::Relaxed) & OWNED != 0
    }

    /// How many remote frees are waiting. Exact for the owner, or if no block is in use that could be freed.
    #[inline]
    pub fn count(&self) -> u32 {
        // Relaxed: a hint, or followed by `collect`.
        count_of(self.0.load(Ordering::Relaxed))
    }

    /// Takes all remote frees. Only for the owner of the pool, which starts at `start`.
    pub fn collect(&self, start: usize) -> Collected {
        // Acquire: the blocks' words as their posters wrote them.
        let word = self.0.swap(OWNED, Ordering::Acquire);
        debug_assert!(word & OWNED != 0, "only the owner collects");
        Collected {
            head: newest_of(word, start),
            count: count_of(word),
        }
    }

    /// The newest remote free, for whoever walks over those that are waiting.
    pub fn newest(&self, start: usize) -> *const Block {
        // Acquire: as in `collect`.
        newest_of(self.0.load(Ordering::Acquire), start)
    }
}
