//! The states of a pool, and the one function for each change between them.
//!
//! What it owns: `state` and `owner` of every header.
//!
//! ```text
//!   begins     vacant      -- become_used_first ->  a heap's
//!
//!   taken out  a heap's    -- take_from_heap ---->  in hand  -- return_to_heap ->  a heap's
//!
//!   given up   a heap's  --+-- try_become_full -->  full, still owned  ----------------------->  full
//!              in hand   --+
//!              in hand     -- become_abandoned -->  abandoned, still owned  -- try_disown ---->  abandoned
//!
//!   taken up   full        -- claim ------------->  full, claimed       --+-- become_used_by ->  a heap's
//!              abandoned   -- claim ------------->  abandoned, claimed  --+-- take_in_hand --->  in hand
//!
//!   ends       a heap's, in hand, or abandoned and still owned; and empty  -- become_vacant -->  vacant
//!
//!   claim:     RemoteFrees::try_claim, or a free by RemoteFrees::push_or_claim
//! ```
//!
//! | | `state` | `owner` | OWNED | on the list | whose it is |
//! | --- | --- | --- | --- | --- | --- |
//! | vacant | Vacant | null | of no meaning | none | its arena's |
//! | a heap's | Used | the heap | set | the heap's used pools | the heap's |
//! | full | Full | null | clear | none | nobody's |
//! | abandoned | Abandoned | null | clear | `ABANDONED` | nobody's |
//!
//! Between these a pool is one thread's, for a moment. The thread is the only one to know:
//!
//! | | `state` | `owner` | OWNED | on the list | whose it is |
//! | --- | --- | --- | --- | --- | --- |
//! | in hand | InHand | null | set | none | a thread scans it, looks at it, leaves it, or frees into it and has no heap |
//! | full, still owned | Full | null | set | none | the thread that gives it up: `try_become_full` fails while remote frees wait, and it is used again |
//! | full, claimed | Full | null | set | none | a thread is about to make it a heap's, or take it in hand |
//! | abandoned, claimed | Abandoned | null | set | `ABANDONED`, until the thread takes it off | the same |
//! | abandoned, still owned | Abandoned | null | set | `ABANDONED`, or about to be | the thread that leaves it. `try_disown` fails while remote frees wait: it collects them and tries anew |
//!
//! `owner` and the remote word's OWNED bit (`remote`) say different things:
//! - `owner` says which heap has the pool in its lists. While the pool is on a list, `owner` changes only under that heap's lock. A new pool gets its
//!   owner before any list has it. Threads compare `owner` with their own heap, and take the lock of the heap that it names.
//! - OWNED says that somebody owns the pool, a heap or a thread that has it in hand. It changes by compare-and-swap, and decides between threads
//!   that want the pool at once. Whoever sets it acquires the private fields, whoever clears it releases them.
//!
//! So a pool with an `owner` always has OWNED set. A pool without an `owner` may have it set: then a thread has the pool, for a moment, and a
//! remote free is posted to that.
//!
//! Full and abandoned pools are up to whoever frees into them first (the idea is mimalloc 3's). So a thread that only frees what another allocated
//! pays one compare-and-swap a pool, not one a block, and memory of a sleeping thread goes to the threads that free it. A pool that its thread gives up
//! nearly full counts as full (`fill`).

use super::header::{Owner, Pool, State};
use crate::size_class;
use crate::sync::Ordering;
use core::ptr;

impl Pool {
    /// Whether somebody takes blocks from it and puts blocks into it. For assertions of that thread.
    pub(super) fn is_used_or_in_hand(&self) -> bool {
        matches!(self.state(), State::Used | State::InHand)
    }

    /// vacant -> a heap's, with no block carved yet, and on no list. The run was just taken for `class`.
    pub fn become_used_first(&self, class: usize, owner: *const Owner) {
        debug_assert!(self.state() == State::Vacant && self.owner().is_null());
        debug_assert!(self.unscanned() == 0 && !self.has_purged_pages());
        let entry = &size_class::TABLE[class];
        // Relaxed, all of them: nobody else reads them before a block is handed over.
        self.class.store(class as u8, Ordering::Relaxed);
        self.slots.store(entry.slots as u8, Ordering::Relaxed);
        self.set_carved_blocks(0);
        self.set_scanned(false);
        self.remote.start_owned();
        self.local.set_head(ptr::null());
        self.local.expect(0, 0);
        self.set_state(State::Used);
        self.set_owner(owner);
    }

    /// full or abandoned, and claimed by the caller -> a heap's, under the heap's lock.
    pub fn become_used_by(&self, owner: *const Owner) {
        debug_assert!(!owner.is_null());
        self.take_in_hand();
        self.return_to_heap(owner);
    }

    /// full or abandoned, and claimed by the caller -> in the caller's hand. On no list.
    pub fn take_in_hand(&self) {
        debug_assert!(matches!(self.state(), State::Full | State::Abandoned));
        debug_assert!(self.owner().is_null() && self.remote.is_owned());
        debug_assert!(self.local.countdown() > 0);
        self.set_state(State::InHand);
    }

    /// a heap's or in the caller's hand, and nearly full -> full, if no remote free came meanwhile. Afterwards the pool is not the caller's, not even
    /// to look at. Whoever claims it gets what is free in it.
    pub fn try_become_full(&self) -> bool {
        debug_assert!(self.is_used_or_in_hand() && self.remote.is_owned());
        debug_assert!(self.is_nearly_full());
        // An event would have told of more free blocks than there are.
        debug_assert!(self.local.countdown() > 0 && self.unscanned() == 0);
        let (state, owner) = (self.state(), self.owner());
        self.set_state(State::Full);
        self.set_owner(ptr::null());
        if self.remote.give_up() {
            return true;
        }
        self.set_state(state);
        self.set_owner(owner);
        false
    }

    /// a heap's -> in the caller's hand. The caller has taken it off all lists, under the heap's lock.
    pub fn take_from_heap(&self) {
        debug_assert!(self.state() == State::Used && self.remote.is_owned());
        self.set_state(State::InHand);
        self.set_owner(ptr::null());
    }

    /// in the caller's hand -> the heap's again, under the heap's lock.
    pub fn return_to_heap(&self, heap: *const Owner) {
        debug_assert!(self.state() == State::InHand && self.remote.is_owned());
        debug_assert!(self.owner().is_null());
        self.set_state(State::Used);
        self.set_owner(heap);
    }

    /// in the caller's hand -> abandoned. It is still the caller's until `try_disown`.
    pub fn become_abandoned(&self) {
        debug_assert!(self.state() == State::InHand && self.remote.is_owned());
        debug_assert!(self.owner().is_null());
        self.set_state(State::Abandoned);
    }

    /// abandoned, and still the caller's -> abandoned, and nobody's: whoever needs it can claim it. False, and it is still the caller's, when
    /// remote frees are waiting.
    pub fn try_disown(&self) -> bool {
        debug_assert!(self.state() == State::Abandoned && self.owner().is_null());
        debug_assert!(self.in_use() > 0 && self.remote.is_owned());
        self.remote.give_up()
    }

    /// a heap's, in the caller's hand, or abandoned and still the caller's; and empty -> vacant. The caller then releases the slots.
    pub fn become_vacant(&self) {
        debug_assert!(self.is_used_or_in_hand() || self.state() == State::Abandoned);
        debug_assert!(self.in_use() == 0 && self.remote.is_owned());
        self.forget_pages();
        self.set_state(State::Vacant);
        self.set_owner(ptr::null());
    }
}
