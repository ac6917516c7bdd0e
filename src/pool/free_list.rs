//! The free list of a pool, and the countdown of frees into it.
//!
//! What it owns: which blocks of a pool are free and at its owner's disposal, and how many of its blocks are in use.
//!
//! What must hold:
//! - Only the pool's owner changes a free list (`header` has the one exception). Ownership passes by the remote word, which orders it.
//! - `countdown` is how many frees are left until the pool's next event (`events`). `left` is how many blocks are in use then. So
//!   the two together are the number of blocks in use, remote frees that were not collected included.

use super::block::{Block, chain};
use crate::sync::{AtomicU32, Ordering, owner_reads, owner_writes};
use core::ptr;
use core::sync::atomic;
use core::sync::atomic::AtomicU16;

/// Free blocks, newest first, and a count of frees into the list.
#[repr(C)]
pub struct FreeList {
    /// Others read it while the owner pushes (`Pool::is_on_a_list`), and check where it leads.
    pub(super) head: atomic::AtomicPtr<Block>,
    /// Goes down by one with every free. At zero the owner has something to do.
    pub(super) countdown: AtomicU32,
    /// The blocks in use when the countdown is at zero.
    pub(super) left: AtomicU16,
    /// Where the countdown started.
    span: AtomicU16,
}

impl FreeList {
    pub(super) fn is_empty(&self) -> bool {
        self.head().is_null()
    }

    pub(super) fn head(&self) -> *const Block {
        owner_reads(&self.head);
        // Relaxed, here and below: only the owner of the pool writes it.
        self.head.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn set_head(&self, head: *const Block) {
        owner_writes(&self.head);
        // A child that is forked in between must find a whole list, so that the block's own words must be written before.
        atomic::compiler_fence(atomic::Ordering::Release);
        self.head.store(head.cast_mut(), Ordering::Relaxed);
    }

    /// The number of blocks on the list.
    pub(super) fn len(&self) -> u32 {
        self.blocks().count() as u32
    }

    pub(super) fn countdown(&self) -> u32 {
        // Acquire: with `cpu::count_down`'s release. Whoever learns here that a pool is empty may release it.
        self.countdown.load(atomic::Ordering::Acquire)
    }

    pub(super) fn set_countdown(&self, countdown: u32) {
        // Relaxed: others read it as a hint, or when all blocks in use were freed remotely and so
        // nobody writes it.
        self.countdown.store(countdown, Ordering::Relaxed);
    }

    /// Blocks in use. The two words change together only under the lock of the pool's heap.
    pub(super) fn in_use(&self) -> u32 {
        // Relaxed: see `set_countdown`.
        self.countdown() + self.left.load(Ordering::Relaxed) as u32
    }

    pub(super) fn span(&self) -> u32 {
        // Relaxed: only the owner asks.
        self.span.load(Ordering::Relaxed) as u32
    }

    /// Sets the next event: `span` frees from now, of `in_use` blocks.
    pub(super) fn expect(&self, in_use: u32, span: u32) {
        debug_assert!(span <= in_use && (span > 0 || in_use == 0));
        // Relaxed, both: see `set_countdown`.
        self.left.store((in_use - span) as u16, Ordering::Relaxed);
        self.span.store(span as u16, Ordering::Relaxed);
        self.set_countdown(span);
    }

    /// Puts a chain of blocks in front of those on the list.
    pub(super) fn prepend(&self, blocks: *const Block) {
        if self.is_empty() {
            // Nobody has to walk over the chain, whose blocks are most likely in no cache.
            return self.set_head(blocks);
        }
        // SAFETY: blocks of the chain are free and the caller's.
        let Some(mut last) = (unsafe { blocks.as_ref() }) else {
            return;
        };
        // SAFETY: as above.
        while let Some(next) = unsafe { last.next().as_ref() } {
            last = next;
        }
        last.link(self.head());
        self.set_head(blocks);
    }

    /// Puts a chain of blocks behind those on the list.
    pub(super) fn append(&self, blocks: *const Block) {
        match self.blocks().last() {
            // SAFETY: a block on the list is free and the caller's.
            Some(last) => unsafe { &*last }.link(blocks),
            None => self.set_head(blocks),
        }
    }

    /// Takes the blocks off the list that are `unwanted`.
    pub(super) fn remove(&self, unwanted: impl Fn(*const Block) -> bool) {
        let mut last: Option<&Block> = None;
        let relink = |last: Option<&Block>, block| match last {
            Some(last) => last.link(block),
            None => self.set_head(block),
        };
        for block in self.blocks() {
            if unwanted(block) {
                continue;
            }
            relink(last, block);
            // SAFETY: a block on the list is free and the caller's.
            last = Some(unsafe { &*block });
        }
        relink(last, ptr::null());
    }

    /// The blocks on the list.
    pub(super) fn blocks(&self) -> impl Iterator<Item = *const Block> {
        // SAFETY: blocks on the list are free, and the caller keeps the list as it is.
        unsafe { chain(self.head()) }
    }
}
