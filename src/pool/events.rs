//! Events of a pool: the frees after which its owner has something to do.
//!
//! What it owns: the choice of a pool's next event, and the account of the bytes that scans may find free (`UNSCANNED`).
//!
//! A pool in which one block of two hundred is alive is worth a page, not four. No free counts blocks by page, since every free would pay
//! for that. Instead the pool's countdown stops at *events*: when the pool is empty, and each time that one more page could have come free,
//! were the freed blocks neighbours. An event counts the blocks freed since the last as *unscanned*. A scan (`pages`) is due once the unscanned
//! blocks of the process together exceed what may stay resident (`heap::budget`).
//!
//! A pool that was scanned has its next event when a quarter of its live blocks has been freed: nothing
//! is scanned again until enough has changed. Pages that come free by fewer frees are what the bound on resident memory can miss.

use super::block::Block;
use super::free_list::FreeList;
use super::header::{Pool, State};
use crate::arena;
use crate::cpu;
use crate::os;
use crate::sync::{Ordering, SharedWord};
use core::mem::offset_of;
use core::ptr;

/// Of the blocks in use in a pool that was scanned, this part must be freed before it is scanned again. With 8 the frees of
/// a large heap in random order take a third more instructions; with 2 half the live blocks can hide free pages.
const RESCAN_PART: u32 = 4;

/// With no more blocks than this in use, a pool is scanned again when half of them have been freed: frees in random order
/// would lead to a scan each.
const FEW: u32 = 8;

/// With fewer blocks a page than this in use, frees in random order begin to free pages: of 16 blocks on four pages one page is free in
/// one pool of 25, of eight in one of three.
const FEW_A_PAGE: u32 = 4;

/// Pools that fill while less than this is taken in arenas have no event before they are empty: all their free pages together would
/// not be worth a scan. Events take eight instructions a pair in `make bench-instructions`, 1-512 B random.
const WORTH_SCANNING: usize = 2 << 20;

/// Bytes of the unscanned blocks of all pools: what scans can find on free pages, but for pages that came free between two events.
pub static UNSCANNED: SharedWord = SharedWord::named("bytes unscanned");

/// Bytes that scans of all pools would find free at most.
pub fn unscanned_bytes() -> usize {
    // Relaxed: an account that others change meanwhile.
    UNSCANNED.load(Ordering::Relaxed)
}

impl Pool {
    /// Takes a block back into the caller's own pool. True when that is the pool's next event.
    #[inline(always)]
    pub fn push(&self, block: &Block) -> bool {
        debug_assert!(self.is_used_or_in_hand());
        block.become_free(self.local.head());
        self.local.set_head(block);
        // SAFETY: the countdown of the pool, which only its owner writes: the caller.
        unsafe {
            cpu::count_down::<{ offset_of!(Pool, local) + offset_of!(FreeList, countdown) }>(
                ptr::from_ref(self).cast(),
            )
        }
    }

    /// Moves the remote frees of an owned pool to its own list. Returns the bytes that became unscanned: more than 0 when an
    /// event has passed, which is handled so.
    #[inline]
    pub fn collect_into_local(&self) -> usize {
        debug_assert!(self.is_used_or_in_hand() || self.state() == State::Abandoned);
        match self.remote.count() {
            0 => 0,
            _ => self.collect_waiting(),
        }
    }

    #[inline(never)]
    fn collect_waiting(&self) -> usize {
        let collected = self.remote.collect(self.start());
        self.local.prepend(collected.head);
        let in_use = self.in_use() - collected.count;
        match self.local.countdown().checked_sub(collected.count) {
            Some(countdown) if countdown > 0 => {
                self.local.set_countdown(countdown);
                0
            }
            _ => {
                let freed = self.local.span() - self.local.countdown() + collected.count;
                self.count_freed(freed);
                self.set_next_event(in_use);
                freed as usize * self.block_size()
            }
        }
    }

    /// Whether a used pool is at an event, or all of its blocks in use wait as remote frees. The caller holds its heap's lock.
    pub fn is_at_event(&self) -> bool {
        self.local.countdown() == 0 || self.remote.count() == self.in_use()
    }

    /// Whether the owner is on its way here: an event happened that it has not handled. The caller holds its heap's lock.
    pub fn awaits_owner(&self) -> bool {
        self.local.countdown() == 0 && self.in_use() > 0
    }

    /// Counts what was freed until this event, and sets the next, of a pool that is not empty. Returns the bytes that became unscanned. Only for the
    /// owner, under its heap's lock.
    #[inline]
    pub fn count_event(&self) -> usize {
        debug_assert!(self.is_used_or_in_hand() && self.in_use() > 0);
        let (freed, in_use) = (self.local.span(), self.in_use());
        let few = self.was_scanned() && in_use < FEW_A_PAGE * self.pages() as u32;
        let unscanned = match few {
            // The last block of a page frees all of it.
            true => freed.max((os::page_size() / self.block_size()) as u32),
            false => freed,
        };
        self.count_freed(unscanned);
        self.set_next_event(in_use);
        unscanned as usize * self.block_size()
    }

    /// Counts the blocks in use anew: a thread that a fork left behind may have been between the two halves of a free.
    pub fn recount(&self) {
        debug_assert!(self.state() == State::Used);
        self.set_next_event(self.carved_blocks() - self.local.len() - self.purged_blocks());
    }

    /// Sets the next event of a pool with `in_use` blocks in use.
    pub(super) fn set_next_event(&self, in_use: u32) {
        self.local.expect(in_use, self.next_span(in_use));
    }

    /// Frees from now to the next event, with `in_use` blocks in use.
    #[inline]
    fn next_span(&self, in_use: u32) -> u32 {
        match self.was_scanned() {
            true if in_use <= FEW => in_use.div_ceil(2),
            true => in_use / RESCAN_PART,
            _ if os::page_size() > os::SMALLEST_PAGE && self.pages() == 0 => in_use,
            // The model is of pools with events.
            false if !cfg!(loom) && arena::resident_bytes() < WORTH_SCANNING => in_use,
            false => (self.size_class().event_step as u32).min(in_use),
        }
    }

    /// Blocks freed since the pool was last scanned, as far as its events have told.
    pub fn unscanned(&self) -> u32 {
        // Relaxed: only the owner writes and asks.
        self.unscanned.load(Ordering::Relaxed) as u32
    }

    fn set_unscanned(&self, unscanned: u32) {
        self.unscanned.store(unscanned as u16, Ordering::Relaxed);
    }

    /// `freed` more blocks are unscanned.
    fn count_freed(&self, freed: u32) {
        if freed > 0 {
            self.set_unscanned(self.unscanned() + freed);
            UNSCANNED.fetch_add(freed as usize * self.block_size(), Ordering::Relaxed);
        }
    }

    /// All blocks of a pool that is empty and kept are unscanned.
    pub fn count_all_freed(&self) {
        debug_assert!(self.state() == State::Used && self.in_use() == 0);
        self.forget_unscanned();
        self.count_freed(self.carved_blocks());
    }

    /// No block of the pool is unscanned any more: a scan is about to see them, or they are in use again, or the slots go back.
    pub(super) fn forget_unscanned(&self) {
        if self.unscanned() > 0 {
            UNSCANNED.fetch_sub(
                self.unscanned() as usize * self.block_size(),
                Ordering::Relaxed,
            );
            self.set_unscanned(0);
        }
    }
}
