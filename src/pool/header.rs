//! The header of a run of slots: that of a pool, or of a large run.
//!
//! What it owns: the cache line of every slot that starts a run.
//!
//! What must hold:
//! - Only the pool's owner changes these fields, `remote` aside. One exception: when every block in use was freed remotely, any thread that holds the
//!   lock of the owner's heap may empty the pool and give it back.
//! - The owner changes the links and `state` under the lock of the list that the pool is on (`pool::state` says which thread is the owner). Fields that
//!   others read meanwhile are atomic, and they treat them as hints.
//! - No byte of a block past the high-water mark `carved` was written since the run was mapped or last purged.

use super::free_list::FreeList;
use super::page_set::PageSet;
use super::remote::RemoteFrees;
use crate::arena;
use crate::geometry::{HEADER_SIZE, SLOT_SIZE};
use crate::layout::{layout, mix};
use crate::os;
use crate::size_class::{self, CLASSES, SizeClass};
use crate::sync::{AtomicPtr, Ordering};
use core::cell::Cell;
use core::hint;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16};

/// Stands for a heap on this floor, which only compares owners.
pub struct Owner(());

/// The state of a pool. The picture is in `state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// No pool here: the slots are free, or a large run's. What a zeroed header says.
    Vacant = 0,
    /// A heap's.
    Used = 1,
    /// All blocks were in use when its heap gave it up, or nearly all. On no list.
    Full = 2,
    /// On the list of abandoned pools: its thread has ended, or scanned it and may be about to sleep.
    Abandoned = 3,
    /// In one thread's hand, for a moment: in no list, and no heap's.
    InHand = 4,
}

#[repr(C, align(64))]
pub struct Pool {
    /// The heap that has the pool in its lists. Null for none.
    pub(super) owner: AtomicPtr<Owner>,
    pub(super) local: FreeList,
    pub(super) next: Cell<*const Pool>,
    pub(super) previous: Cell<*const Pool>,
    /// Blocks that are carved: the high-water mark.
    carved: AtomicU16,
    /// Blocks freed since the pool was last scanned, as far as its events have told.
    pub(super) unscanned: AtomicU16,
    pub remote: RemoteFrees,
    /// The purged pages.
    pub(super) purged: PageSet,
    /// 0 for a large run, which is no pool.
    pub(super) class: AtomicU8,
    state: AtomicU8,
    /// Slots of the run.
    pub(super) slots: AtomicU8,
    /// Whether it was scanned since all its blocks were last handed out.
    scanned: AtomicBool,
}

const _: () = assert!(size_of::<Pool>() == HEADER_SIZE);

/// See `layout`.
pub const LAYOUT: u64 = mix(&[
    State::InHand as u64,
    layout! {
        FreeList { head, countdown, left }
        Pool { owner, local, carved, remote, purged, class, state, slots }
    },
]);

impl Pool {
    /// The header at an address that `arena` gave.
    ///
    /// # Safety
    /// It must be the header of a slot, and its arena must stay mapped while the reference is used.
    #[inline(always)]
    pub unsafe fn at<'a>(header: *const u8) -> &'a Pool {
        // SAFETY: a header is aligned, initialised at least by zeroes, and shared by its atomics and cells.
        unsafe { &*header.cast() }
    }

    fn header(&self) -> *const u8 {
        ptr::from_ref(self).cast()
    }

    /// The first byte of the run.
    #[inline(always)]
    pub fn start(&self) -> usize {
        arena::slot_start(self.header())
    }

    #[inline(always)]
    pub fn is_owned_by(&self, heap: *const Owner) -> bool {
        // Relaxed: only a heap itself writes its own address here, so that the answer "mine" is
        // never stale. Any other answer leads to a slow path that asks again.
        ptr::eq(self.owner.load(Ordering::Relaxed), heap)
    }

    /// Whose pool it is; null for no heap's.
    pub fn owner(&self) -> *const Owner {
        // Relaxed: a hint, unless the owner's lock is held.
        self.owner.load(Ordering::Relaxed)
    }

    /// The size class, 0 for a large run.
    #[inline(always)]
    pub fn class(&self) -> usize {
        // Relaxed, here and for what follows: written before the run's first block was handed out.
        let class = self.class.load(Ordering::Relaxed) as usize;
        // SAFETY: only `become_used_first` and `become_large` write it (and of a copied header `settle`, which checks it).
        // With it no caller checks an index, and none has code to fail.
        unsafe { hint::assert_unchecked(class < CLASSES) };
        class
    }

    #[inline]
    pub fn size_class(&self) -> &'static SizeClass {
        &size_class::TABLE[self.class()]
    }

    /// Bytes of a block.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.size_class().block_size as usize
    }

    /// Slots of the run.
    #[inline]
    pub fn slots(&self) -> usize {
        self.slots.load(Ordering::Relaxed) as usize
    }

    /// Pages of the pool that could be purged while it has live blocks: none of a pool of a single one, or of one that
    /// starts in the middle of a page.
    pub(super) fn pages(&self) -> usize {
        let page = os::page_size();
        match self.slots() * SLOT_SIZE / page {
            0 | 1 => 0,
            _ if page > SLOT_SIZE => 0,
            pages => pages,
        }
    }

    pub fn state(&self) -> State {
        // Relaxed: a hint, unless the lock of the pool's list is held.
        match self.state.load(Ordering::Relaxed) {
            1 => State::Used,
            2 => State::Full,
            3 => State::Abandoned,
            4 => State::InHand,
            _ => State::Vacant,
        }
    }

    /// For `state` alone.
    pub(super) fn set_state(&self, state: State) {
        // Relaxed: see `state`.
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// For `state` alone.
    pub(super) fn set_owner(&self, owner: *const Owner) {
        // Relaxed: see `is_owned_by`. The remote word orders everything else.
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
    }

    /// Blocks that are carved.
    pub fn carved_blocks(&self) -> u32 {
        // Relaxed: only the owner writes. Others ask about blocks they hold, which were carved before they got them.
        self.carved.load(Ordering::Relaxed) as u32
    }

    pub(super) fn set_carved_blocks(&self, carved: u32) {
        // Relaxed: see above.
        self.carved.store(carved as u16, Ordering::Relaxed);
    }

    /// Whether blocks are left that were never carved.
    pub fn has_untouched(&self) -> bool {
        self.carved_blocks() < self.size_class().blocks
    }

    /// Whether pages of the pool are purged.
    pub fn has_purged_pages(&self) -> bool {
        !self.purged.is_empty()
    }

    /// Whether it was scanned since all its blocks were last handed out. Many were free then.
    pub(super) fn was_scanned(&self) -> bool {
        // Relaxed: only the owner asks and writes.
        self.scanned.load(Ordering::Relaxed)
    }

    pub(super) fn set_scanned(&self, scanned: bool) {
        self.scanned.store(scanned, Ordering::Relaxed);
    }

    /// Makes the header of a run that was just taken that of a large run. It is never owned.
    pub fn become_large(&self, slots: usize) {
        debug_assert!(self.state() == State::Vacant && self.owner().is_null());
        // Relaxed: see `class`.
        self.class.store(0, Ordering::Relaxed);
        self.resize_large(slots);
    }

    /// Notes the new length of a large run.
    pub fn resize_large(&self, slots: usize) {
        // Relaxed: see `class`.
        self.slots.store(slots as u8, Ordering::Relaxed);
    }
}
