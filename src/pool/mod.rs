//! Pools: a run of slots cut into blocks of one size class; the header, its blocks, its states.
//!
//! What it owns: the header of every slot that starts a run, and the first two words of every free block.
//!
//! ```text
//!            taken      found full, or nearly
//!   Vacant ---------> Used -------------------> Full
//!     ^               | ^ ^                       |
//!     | last block    | | +-----------------------+
//!     | freed         | |   whoever frees into it first claims it
//!     +---------------+ |
//!     |                 |
//!     |   thread leaves v
//!     +---------- Abandoned: claimed by a free, or by a heap in need
//! ```
//!
//! A pool is *owned* by one heap, or by nobody: full and abandoned pools are up to whoever frees into
//! them first (the idea is mimalloc 3's). One that its thread leaves nearly full counts as full. So a thread that only frees what another allocated
//! pays one compare-and-swap a pool, not one a block, and memory of a sleeping thread goes to those who free it.
//!
//! What must hold:
//! - Everything but `remote` is changed by the owner alone, links and `state` under the lock of the list
//!   the pool is in. What others read meanwhile is atomic, and they treat it as a hint.
//! - A free block, on whatever list, carries the mark of free blocks in its second word; an
//!   allocated one does not (`become_allocated` wipes it), unless the program stores it there itself.
//! - A block that a heap holds in a bin (`heap::bin`) is free to the program, and in use to its pool.
//! - Blocks past the high-water mark are untouched: no byte of them was written since they were mapped or last purged.
//! - `countdown` is how many frees are left until the pool's *next event*, the free after which there is something to
//!   do: it is empty, or a page inside it may have come free (see `pages`). `left` says how many blocks are in use then, so that the
//!   two together are the number of blocks in use, remote frees that were not collected included.
//! - A block on a purged page is *hidden*: it is on no list, and not in use. Only used and abandoned pools have purged pages.

#[cfg(not(loom))]
mod outside;
pub mod pages;
pub mod remote;

use crate::arena;
use crate::cpu;
use crate::geometry::{HEADER_SIZE, SLOT_SIZE};
use crate::layout::layout;
use crate::os;
use crate::size_class::{self, SizeClass};
use crate::sync::{AtomicPtr, Ordering};
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicUsize};
use pages::PageSet;
use remote::RemoteFrees;

/// Stands for a heap on this floor, which only compares owners.
pub struct Owner(());

/// A pool of which no more than this part is free is left as a full one. With the whole of it in use only, short threads that leave
/// blocks to others (`thread-lifetimes` of `make bench`) take a quarter more time: each adopts a hundred pools for a few blocks each, and
/// leaves them again. (mimalloc 3 tells pools that are mostly used by the same part.)
const NEARLY_FULL_PART: u32 = if cfg!(loom) { 4 } else { 8 };

/// See `Pool::has_short_blocks`. The tests below show it of the classes.
const SHORT_BLOCK: usize = os::SMALLEST_PAGE / 4;

/// A free block: its first two words.
#[repr(C)]
pub struct Block {
    next: atomic::AtomicPtr<Block>,
    /// While the block is free, its own address plus `MARK`.
    mark: AtomicUsize,
}

/// Makes the mark of a free block from its address. With the address in it, because a program may copy bytes that a freed
/// block left behind to anywhere else. Odd, since few programs keep odd numbers near a block's own address in it; what
/// the value is does not matter otherwise.
const MARK: usize = 0x5b8d_1e75;

impl Block {
    /// Whether the block carries the mark of free blocks.
    #[inline(always)]
    pub fn is_marked_free(&self) -> bool {
        // Relaxed: whoever frees a block is the only one to use it; whoever inspects it takes what is there.
        self.mark.load(Ordering::Relaxed) == self.mark_if_free()
    }

    /// The same for the thread that is about to free the block.
    ///
    /// # Safety
    /// Nobody writes the block: the program gives it up, or it is free in a pool of the caller's.
    #[inline(always)]
    pub unsafe fn is_marked_free_already(&self) -> bool {
        // SAFETY: nobody writes it. A plain read, since the compiler does not merge an
        // atomic one into the comparison.
        unsafe { *self.mark.as_ptr() == self.mark_if_free() }
    }

    #[inline(always)]
    fn mark_if_free(&self) -> usize {
        (ptr::from_ref(self) as usize).wrapping_add(MARK)
    }

    /// The block behind this one on the list that it is on.
    #[inline(always)]
    pub fn next(&self) -> *const Block {
        // Relaxed here and below: the list that the block is on orders its accesses.
        self.next.load(Ordering::Relaxed)
    }

    /// Puts another block behind this one, which is free.
    #[inline(always)]
    pub fn link(&self, next: *const Block) {
        self.next.store(next.cast_mut(), Ordering::Relaxed);
    }

    /// Marks the block as free, and puts another behind it.
    #[inline(always)]
    pub fn become_free(&self, next: *const Block) {
        self.next.store(next.cast_mut(), Ordering::Relaxed);
        self.mark.store(self.mark_if_free(), Ordering::Relaxed);
    }

    /// Wipes the mark.
    #[inline(always)]
    pub fn become_allocated(&self) {
        self.mark.store(0, Ordering::Relaxed);
    }
}

/// Free blocks of a pool, newest first, and a count of frees into the list. Only the owner of the pool changes it.
#[repr(C)]
struct FreeList {
    /// Others read it while the owner pushes (`is_on_a_list`), and check where it leads.
    head: atomic::AtomicPtr<Block>,
    /// Goes down by one with every free; at zero the owner has something to do.
    countdown: AtomicU32,
    /// The blocks in use when the countdown is at zero.
    left: AtomicU16,
    /// What the countdown started from.
    span: AtomicU16,
}

impl FreeList {
    #[cfg(all(test, loom))]
    fn new() -> Self {
        FreeList {
            head: atomic::AtomicPtr::new(ptr::null_mut()),
            countdown: AtomicU32::new(0),
            left: AtomicU16::new(0),
            span: AtomicU16::new(0),
        }
    }

    fn is_empty(&self) -> bool {
        self.head().is_null()
    }

    fn head(&self) -> *const Block {
        // Relaxed, here and below: only the owner of the pool writes it, and ownership passes by the remote word, which orders it.
        self.head.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_head(&self, head: *const Block) {
        // A child that is forked in between must find a whole list, so that the block's own words must be written before.
        atomic::compiler_fence(atomic::Ordering::Release);
        self.head.store(head.cast_mut(), Ordering::Relaxed);
    }

    /// The number of blocks on the list.
    fn len(&self) -> u32 {
        self.blocks().count() as u32
    }

    fn countdown(&self) -> u32 {
        // Acquire: with `cpu::count_down`'s release. Whoever learns here that a pool is empty may release it.
        self.countdown.load(atomic::Ordering::Acquire)
    }

    fn set_countdown(&self, countdown: u32) {
        // Relaxed: others read it as a hint, or when all blocks in use were freed remotely and so
        // nobody writes it.
        self.countdown.store(countdown, Ordering::Relaxed);
    }

    /// Blocks in use. The two words change together only under the lock of the pool's heap.
    fn in_use(&self) -> u32 {
        // Relaxed: see above.
        self.countdown() + self.left.load(Ordering::Relaxed) as u32
    }

    fn span(&self) -> u32 {
        // Relaxed: only the owner asks.
        self.span.load(Ordering::Relaxed) as u32
    }

    /// Sets the next event: so many frees from now, of `in_use` blocks.
    fn expect(&self, in_use: u32, span: u32) {
        debug_assert!(span <= in_use && (span > 0 || in_use == 0));
        // Relaxed, both: see `set_countdown`.
        self.left.store((in_use - span) as u16, Ordering::Relaxed);
        self.span.store(span as u16, Ordering::Relaxed);
        self.set_countdown(span);
    }

    /// Puts a chain of blocks in front of those on the list.
    fn prepend(&self, chain: *const Block) {
        // SAFETY: blocks of the chain are free and the caller's.
        let Some(mut last) = (unsafe { chain.as_ref() }) else {
            return;
        };
        // SAFETY: as above.
        while let Some(next) = unsafe { last.next().as_ref() } {
            last = next;
        }
        last.next.store(self.head().cast_mut(), Ordering::Relaxed);
        self.set_head(chain);
    }

    /// Puts a chain of blocks behind those on the list.
    fn append(&self, chain: *const Block) {
        match self.blocks().last() {
            // SAFETY: a block on the list is free and the caller's.
            Some(last) => unsafe { &*last }
                .next
                .store(chain.cast_mut(), Ordering::Relaxed),
            None => self.set_head(chain),
        }
    }

    /// The blocks on the list.
    fn blocks(&self) -> impl Iterator<Item = *const Block> {
        // SAFETY: blocks on the list are free, and the caller keeps the list as it is.
        unsafe { chain(self.head()) }
    }
}

/// The blocks that are linked to each other from `first` on. What is behind a block is read before that is given out.
///
/// # Safety
/// The blocks must be free, and stay as they are until they are given out.
pub unsafe fn chain(first: *const Block) -> impl Iterator<Item = *const Block> {
    let mut next = first;
    core::iter::from_fn(move || {
        let block = next;
        // SAFETY: the caller vouches for the block.
        next = unsafe { block.as_ref() }?.next();
        Some(block)
    })
}

/// The state of a pool; the picture at the top of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// No pool here. What a zeroed header says.
    Vacant = 0,
    /// Owned and in the heap's usedpools.
    Used = 1,
    /// Not owned: all blocks were in use when its heap gave it up, or nearly all.
    Full = 2,
    /// Not owned, but in the list of abandoned pools: its thread has ended, or looked at it and may be about to sleep.
    Abandoned = 3,
}

/// The header of a run of slots that starts here.
#[repr(C, align(64))]
pub struct Pool {
    owner: AtomicPtr<Owner>,
    local: FreeList,
    next: Cell<*const Pool>,
    previous: Cell<*const Pool>,
    /// Blocks that are cut: the high-water mark.
    cut: AtomicU16,
    /// Blocks freed, as the events tell, since the pool was last looked at for free pages.
    unscanned: AtomicU16,
    pub remote: RemoteFrees,
    /// The purged pages.
    purged: PageSet,
    /// 0 for a large run, which is no pool.
    class: AtomicU8,
    state: AtomicU8,
    /// Slots of the run.
    slots: AtomicU8,
    /// Whether it was looked at for free pages since all its blocks were last handed out.
    scanned: AtomicBool,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Pool>() == HEADER_SIZE);

/// See `layout`.
#[cfg(not(loom))]
pub const LAYOUT: u64 = layout! {
    FreeList { head, countdown, left }
    Pool { owner, local, cut, remote, purged, class, state, slots }
};

/// Why an address is not that of an allocated block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAllocated {
    /// Inside a block, but not its start.
    Interior,
    /// In the part of the pool that was never handed out, or behind its last block.
    Untouched,
    /// Free, on a page that was purged.
    Purged,
}

impl Pool {
    /// What a zeroed header says. For the model, whose atomics are made by calls only.
    #[cfg(all(test, loom))]
    pub fn vacant() -> Self {
        Pool {
            owner: AtomicPtr::new(ptr::null_mut()),
            local: FreeList::new(),
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            cut: AtomicU16::new(0),
            unscanned: AtomicU16::new(0),
            remote: RemoteFrees::owned(),
            purged: PageSet::empty(),
            class: AtomicU8::new(0),
            state: AtomicU8::new(State::Vacant as u8),
            slots: AtomicU8::new(0),
            scanned: AtomicBool::new(false),
        }
    }

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
        // never stale, and any other answer leads to a slow path that looks again.
        ptr::eq(self.owner.load(Ordering::Relaxed), heap)
    }

    /// Whose pool it is; null for nobody's.
    pub fn owner(&self) -> *const Owner {
        // Relaxed: a hint, unless the owner's lock is held.
        self.owner.load(Ordering::Relaxed)
    }

    /// The size class, 0 for a large run.
    #[inline(always)]
    pub fn class(&self) -> usize {
        // Relaxed, here and for what follows: written before the run's first block was handed out.
        self.class.load(Ordering::Relaxed) as usize
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

    pub fn state(&self) -> State {
        // Relaxed: a hint, unless the lock of the pool's list is held.
        match self.state.load(Ordering::Relaxed) {
            1 => State::Used,
            2 => State::Full,
            3 => State::Abandoned,
            _ => State::Vacant,
        }
    }

    fn set_state(&self, state: State) {
        // Relaxed: see `state`.
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Blocks that are cut.
    pub fn carved_blocks(&self) -> u32 {
        // Relaxed: only the owner writes. Others ask about blocks they hold, which were cut before they got them.
        self.cut.load(Ordering::Relaxed) as u32
    }

    /// Whether it was looked at for free pages since all its blocks were last handed out: many were free then.
    pub fn was_scanned(&self) -> bool {
        // Relaxed: only the owner asks and writes.
        self.scanned.load(Ordering::Relaxed)
    }

    fn set_scanned(&self, scanned: bool) {
        self.scanned.store(scanned, Ordering::Relaxed);
    }

    fn set_carved_blocks(&self, cut: u32) {
        // Relaxed: see above.
        self.cut.store(cut as u16, Ordering::Relaxed);
    }

    /// Whether a block carries the mark of free blocks, for who does not know whether the program has it. A page that lies
    /// wholly in a block may be one that the program has protected from being read.
    #[cfg(not(loom))]
    #[inline(never)]
    pub fn shows_mark(&self, block: &Block) -> bool {
        // Relaxed: as in `is_marked_free`.
        let mark = || block.mark.load(Ordering::Relaxed);
        self.word_of(block, block.mark.as_ptr(), mark) == Some(block.mark_if_free())
    }

    /// What a block says that may be on a list of another thread: the one behind it, and whether it carries the mark. `None` when it cannot be
    /// read. Had it been popped before, the mark is gone; on machines that reorder loads and stores that is likely only.
    #[cfg(not(loom))]
    pub fn look_at(&self, block: &Block) -> Option<(*const Block, bool)> {
        // Acquire: the mark is read after it.
        let load = || block.next.load(Ordering::Acquire) as usize;
        let next = self.word_of(block, block.next.as_ptr().cast(), load)?;
        Some((next as *const Block, self.shows_mark(block)))
    }

    /// A word of a block. `None` where the program has protected it from being read.
    #[cfg(not(loom))]
    fn word_of(
        &self,
        block: &Block,
        word: *const usize,
        load: impl FnOnce() -> usize,
    ) -> Option<usize> {
        if !self.may_be_protected(block) {
            return Some(load());
        }
        os::is_readable(word).then(load)
    }

    /// Whether a page lies wholly in the block, which the program may have protected from being read.
    #[cfg(not(loom))]
    pub fn may_be_protected(&self, block: &Block) -> bool {
        let page = os::page_size();
        self.block_size() >= page && (ptr::from_ref(block) as usize).is_multiple_of(page)
    }

    /// The block that starts at `address`, which must lie in this pool.
    #[inline]
    pub fn block_at(&self, address: usize) -> Result<&Block, NotAllocated> {
        let (offset, class) = (address - self.start(), self.size_class());
        if !class.starts_block(offset, self.carved_blocks()) {
            return Err(
                match class.index_at(offset) as u32 >= self.carved_blocks() {
                    true => NotAllocated::Untouched,
                    false => NotAllocated::Interior,
                },
            );
        }
        if self.has_purged_pages() && self.is_on_purged_page(class.index_at(offset) as u32) {
            return Err(NotAllocated::Purged);
        }
        // SAFETY: a cut block of a live pool is mapped, aligned to 16 and at least 16 bytes long.
        Ok(unsafe { &*(address as *const Block) })
    }

    /// The index and the start of the block around `address`, which must lie in this pool. `None` behind the last.
    pub fn block_around(&self, address: usize) -> Option<(u32, usize)> {
        let offset = (address - self.start()) as u32;
        let index = offset / self.size_class().block_size;
        (index < self.size_class().blocks)
            .then(|| (index, self.start() + index as usize * self.block_size()))
    }

    /// vacant -> used, with no block cut yet and on no list. The run was just taken for `class`.
    pub fn become_used_first(&self, class: usize, owner: *const Owner) {
        debug_assert!(self.state() == State::Vacant && self.owner().is_null());
        debug_assert!(self.unscanned() == 0 && !self.has_purged_pages());
        let entry = &size_class::TABLE[class];
        // Relaxed, all of them: nobody else looks before a block is handed over.
        self.class.store(class as u8, Ordering::Relaxed);
        self.slots.store(entry.slots as u8, Ordering::Relaxed);
        self.set_carved_blocks(0);
        self.set_scanned(false);
        self.remote.start_owned();
        self.local.set_head(ptr::null());
        self.local.expect(0, 0);
        self.set_state(State::Used);
        self.own(owner);
    }

    /// full or abandoned, and just claimed -> used.
    pub fn become_used_by(&self, owner: *const Owner) {
        debug_assert!(matches!(self.state(), State::Full | State::Abandoned));
        debug_assert!(self.local.countdown() > 0);
        self.set_state(State::Used);
        self.own(owner);
    }

    /// used and nearly full -> full, if no remote free came meanwhile. Afterwards the pool is not the caller's, not even to look at. What
    /// is free in it waits for whoever claims it.
    pub fn try_become_full(&self) -> bool {
        debug_assert!(self.state() == State::Used && self.is_nearly_full());
        // An event would have told of more free blocks than there are.
        debug_assert!(self.local.countdown() > 0 && self.unscanned() == 0);
        let owner = self.owner();
        self.set_state(State::Full);
        self.own(ptr::null());
        if self.remote.give_up() {
            return true;
        }
        self.set_state(State::Used);
        self.own(owner);
        false
    }

    /// used by a heap -> used by the caller alone, which has taken it off all lists, under the heap's lock.
    pub fn leave_usedpools(&self) {
        debug_assert!(self.state() == State::Used);
        self.own(ptr::null());
    }

    /// used by the caller alone -> used by a heap again, under the heap's lock.
    pub fn return_to_heap(&self, heap: *const Owner) {
        debug_assert!(self.state() == State::Used && self.owner().is_null());
        self.own(heap);
    }

    /// used -> abandoned; it is still the caller's until `try_disown`.
    pub fn become_abandoned(&self) {
        debug_assert!(self.state() == State::Used);
        self.set_state(State::Abandoned);
        self.own(ptr::null());
    }

    /// Gives an abandoned pool up, so that whoever needs it can claim it. False, and it is still the caller's, when remote frees
    /// are waiting.
    pub fn try_disown(&self) -> bool {
        debug_assert!(self.state() == State::Abandoned && self.in_use() > 0);
        self.remote.give_up()
    }

    /// used or abandoned, and empty -> vacant. The caller then releases the slots.
    pub fn become_vacant(&self) {
        debug_assert!(matches!(self.state(), State::Used | State::Abandoned));
        debug_assert!(self.in_use() == 0);
        self.forget_pages();
        self.set_state(State::Vacant);
        self.own(ptr::null());
    }

    fn own(&self, owner: *const Owner) {
        // Relaxed: see `is_owned_by`. The remote word orders everything else.
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
    }

    /// Takes a block back into the caller's own pool. True when that is the pool's next event.
    #[inline(always)]
    pub fn push(&self, block: &Block) -> bool {
        debug_assert!(self.state() == State::Used);
        block.become_free(self.local.head());
        self.local.set_head(block);
        // SAFETY: the countdown of the pool, which only its owner, who is calling, writes.
        unsafe {
            cpu::count_down::<{ offset_of!(Pool, local) + offset_of!(FreeList, countdown) }>(
                ptr::from_ref(self).cast(),
            )
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

    /// Whether so little of an owned pool is free, remote frees aside, that it is not worth looking for: no page of it is.
    pub fn is_nearly_full(&self) -> bool {
        if self.has_untouched() || self.has_purged_pages() {
            return false;
        }
        let free = self.carved_blocks() - self.in_use();
        free <= match self.has_short_blocks() {
            true => self.carved_blocks() / NEARLY_FULL_PART,
            false => 0,
        }
    }

    /// Whether the pages of a pool that is cut to the end surely have a block each that starts there, and more blocks than are free in a
    /// pool that is nearly full.
    fn has_short_blocks(&self) -> bool {
        // The model has long ones only.
        self.block_size() <= SHORT_BLOCK || cfg!(loom)
    }

    /// Whether a full pool has free blocks all the same, as far as can be told.
    pub fn is_full_but_for_some(&self) -> bool {
        self.state() == State::Full && self.in_use() < self.carved_blocks()
    }

    /// Whether every page of a pool that has just become vacant is known to have been written: on each starts a block, and all were cut.
    pub fn is_written(&self) -> bool {
        debug_assert!(self.state() == State::Vacant);
        self.has_short_blocks() && !self.has_untouched()
    }

    /// Whether blocks are left that were never cut.
    pub fn has_untouched(&self) -> bool {
        self.carved_blocks() < self.size_class().blocks
    }

    /// Whether an owned pool could serve an allocation at once without touching new memory.
    pub fn has_free_blocks(&self) -> bool {
        !self.local.is_empty() || self.remote.count() > 0
    }

    /// Takes all free blocks out of an owned pool, those on purged pages included. Returns how many they are, and the first.
    pub fn take_all(&self) -> (*const Block, u32) {
        debug_assert!(self.state() == State::Used);
        self.relist_purged_blocks();
        let count = self.carved_blocks() - self.in_use();
        debug_assert_eq!(count, self.local.len());
        let first = self.local.head();
        if count > 0 {
            self.local.set_head(ptr::null());
            self.start_anew();
        }
        (first, count)
    }

    /// After all cut blocks were handed out.
    fn start_anew(&self) {
        self.forget_unscanned();
        if self.has_untouched() {
            // It serves the class now: one such pool may well come free unseen.
            return self
                .local
                .expect(self.carved_blocks(), self.carved_blocks());
        }
        self.set_scanned(false);
        self.expect_event(self.carved_blocks());
    }

    /// Cuts the next page's worth of blocks of an owned pool that has no free ones, and hands them out, lowest first. One page
    /// at a time, so that no memory is touched long before it is used.
    pub fn carve_more(&self) -> (*const Block, u32) {
        debug_assert!(self.state() == State::Used && self.has_untouched());
        debug_assert!(self.in_use() == self.carved_blocks());
        let size = self.block_size();
        let cut = self.carved_blocks() as usize;
        let page = os::page_size();
        // As many as end within the page in which the next block ends; the last page of a pool may be cut short.
        let fitting = (((cut + 1) * size).next_multiple_of(page) - cut * size) / size;
        let end = (cut + fitting).min(self.size_class().blocks as usize);
        let first = self.carve_to(end);
        self.start_anew();
        (first, (end - cut) as u32)
    }

    /// Cuts all blocks of a pool that was just taken and is resident, so that nothing is gained by waiting.
    pub fn carve_all(&self) {
        debug_assert!(self.state() == State::Used && self.carved_blocks() == 0);
        let first = self.carve_to(self.size_class().blocks as usize);
        self.local.set_head(first);
    }

    /// Cuts the untouched blocks before block `end`, of which there are some, and links them. Returns the first.
    #[inline(never)]
    fn carve_to(&self, end: usize) -> *const Block {
        let size = self.block_size();
        let first = self.start() + self.carved_blocks() as usize * size;
        let last = self.start() + (end - 1) * size;
        let mut address = first;
        loop {
            // SAFETY: an untouched block inside the pool, which nobody else can have.
            let block = unsafe { &*(address as *const Block) };
            if address == last {
                block.become_free(ptr::null());
                break;
            }
            address += size;
            block.become_free(address as *const Block);
        }
        self.set_carved_blocks(end as u32);
        first as *const Block
    }

    /// A block by its number, which the caller may write as a free one.
    fn block(&self, index: usize) -> &Block {
        debug_assert!(index < self.size_class().blocks as usize);
        // SAFETY: inside the pool, which is mapped, and aligned.
        unsafe { &*((self.start() + index * self.block_size()) as *const Block) }
    }

    /// Moves the remote frees of an owned pool to its own list. Returns the bytes noted: more than 0 when an
    /// event has passed, which is handled so.
    #[inline]
    pub fn collect_into_local(&self) -> usize {
        debug_assert!(matches!(self.state(), State::Used | State::Abandoned));
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
                self.expect_event(in_use);
                freed as usize * self.block_size()
            }
        }
    }

    /// Blocks in use, those in bins and remote frees included. Exact for its owner, and for who holds its heap's lock while
    /// no block is in use that its owner could free.
    pub fn in_use(&self) -> u32 {
        self.local.in_use()
    }

    /// Counts the blocks in use anew: a thread that a fork left behind may have been between the two halves of a free.
    pub fn recount(&self) {
        debug_assert!(self.state() == State::Used);
        self.expect_event(self.carved_blocks() - self.local.len() - self.purged_blocks());
    }

    /// Sets the next event of a pool with so many blocks in use.
    fn expect_event(&self, in_use: u32) {
        self.local.expect(in_use, self.next_span(in_use));
    }

    /// Whether a block that carries the mark really is on one of the pool's lists. The caller holds the lock of the heap that owns
    /// the pool, or owns a pool of no heap. In the first case the owner may push meanwhile: a block is not missed unless it is freed this
    /// very moment.
    pub fn is_on_a_list(&self, block: &Block) -> bool {
        self.leads_to(self.local.head(), block)
            || self.leads_to(self.remote.newest(self.start()), block)
    }

    fn leads_to(&self, head: *const Block, wanted: &Block) -> bool {
        let mut next = head;
        for _ in 0..self.size_class().blocks {
            if ptr::eq(next, wanted) {
                return true;
            }
            let address = next as usize;
            let inside = address >= self.start()
                && address < self.start() + self.size_class().slots as usize * SLOT_SIZE;
            match inside.then(|| self.block_at(address)) {
                Some(Ok(block)) => next = block.next(),
                _ => return false,
            }
        }
        false
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

/// A doubly linked list of pools, guarded by the lock of whoever has it.
pub struct PoolList {
    first: Cell<*const Pool>,
    last: Cell<*const Pool>,
}

// SAFETY: the list and the links of its pools are guarded by the lock that the list is behind.
unsafe impl Send for PoolList {}

impl PoolList {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        PoolList {
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
        }
    }

    /// The first pool. It stays live as long as it is on the list or its caller's.
    pub fn first<'a>(&self) -> Option<&'a Pool> {
        // SAFETY: pools on a list are live.
        unsafe { self.first.get().as_ref() }
    }

    /// The second pool.
    pub fn second<'a>(&self) -> Option<&'a Pool> {
        self.iter().nth(1)
    }

    /// The pools, from the first on. The one that was given out may be removed meanwhile.
    pub fn iter<'a>(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        Self::walk(self.first.get(), |pool| pool.next.get())
    }

    /// The pools, from the last on.
    pub fn iter_backwards<'a>(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        Self::walk(self.last.get(), |pool| pool.previous.get())
    }

    fn walk<'a, F: Fn(&Pool) -> *const Pool>(
        mut next: *const Pool,
        step: F,
    ) -> impl Iterator<Item = &'a Pool> + use<'a, F> {
        core::iter::from_fn(move || {
            // SAFETY: as above.
            let pool = unsafe { next.as_ref() }?;
            next = step(pool);
            Some(pool)
        })
    }

    /// Whether a pool of this list is the last.
    pub fn is_last(&self, pool: &Pool) -> bool {
        pool.next.get().is_null()
    }

    pub fn push_front(&self, pool: &Pool) {
        pool.previous.set(ptr::null());
        pool.next.set(self.first.get());
        match self.first() {
            Some(first) => first.previous.set(pool),
            None => self.last.set(pool),
        }
        self.first.set(pool);
    }

    pub fn push_back(&self, pool: &Pool) {
        pool.next.set(ptr::null());
        pool.previous.set(self.last.get());
        // SAFETY: pools on a list are live.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(pool),
            None => self.first.set(pool),
        }
        self.last.set(pool);
    }

    /// Takes a pool of this list out of it.
    pub fn remove(&self, pool: &Pool) {
        let (next, previous) = (pool.next.get(), pool.previous.get());
        // SAFETY: pools on a list are live.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first.set(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last.set(previous),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pages_have_more_blocks_than_are_free_in_a_pool_that_is_nearly_full() {
        let page = os::SMALLEST_PAGE;
        let short = size_class::TABLE[1..]
            .iter()
            .filter(|class| class.block_size as usize <= SHORT_BLOCK);
        for class in short {
            let (size, blocks) = (class.block_size as usize, class.blocks as usize);
            for start in (0..class.slots as usize * SLOT_SIZE).step_by(page) {
                let starting =
                    (0..blocks).filter(|index| (start..start + page).contains(&(index * size)));
                let on_page = (0..blocks)
                    .filter(|index| index * size < start + page && (index + 1) * size > start);
                assert!(starting.count() > 0, "{size} bytes, page at {start}");
                assert!(on_page.count() > blocks / NEARLY_FULL_PART as usize);
            }
        }
    }
}
