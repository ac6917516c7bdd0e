//! Pages inside a pool: which of them hold no live block, and how those go back to the system.
//!
//! What it owns: the set of purged pages of each pool, the account of bytes that looking for free pages may yield (`UNSCANNED`),
//! and the choice of a pool's next event.
//!
//! A pool in which one block of two hundred is alive is worth a page, not four. Nothing is counted by page, since every
//! free would pay for it. Instead the pool's countdown stops at *events*: each time that one more page could have come free,
//! were the freed blocks neighbours, the blocks freed are *noted*. Only when all notes of the process together exceed
//! what may stay (`heap::budget`) does an owner look at the pools that it has notes about:
//!
//! - The marks of free blocks tell at a glance that a page is not free, mostly by the first or second block.
//! - A page whose blocks all carry the mark is checked against the free list itself, as a mark can lie.
//! - The blocks of free pages leave the list and are *hidden*; the pages are purged. When a bin
//!   takes over what the pool has, which so is about to be filled, they return to the list.
//!
//! A pool that was looked at in vain has its next event when a quarter of its live blocks has been freed: nothing
//! is looked at again until enough has changed. Pages that come free by fewer frees are what the bound on resident memory can miss.
//!
//! What must hold: no block in use overlaps a purged page. A pool with purged pages is not in its owner's slot map,
//! so that a second free of a hidden block is seen.

use super::{Block, Pool, State};
use crate::arena;
use crate::geometry::SLOT_SIZE;
use crate::os;
use crate::retain::{self, Retained};
use crate::size_class::LONGEST_POOL;
#[cfg(not(loom))]
use crate::sync::Lock;
use crate::sync::{AtomicU32, Ordering};
use core::ptr;
use core::sync::atomic::AtomicUsize;

/// The most pages of a pool.
const MOST_PAGES: usize = LONGEST_POOL / os::SMALLEST_PAGE;
const _: () = assert!(MOST_PAGES <= u32::BITS as usize);

/// Of the blocks in use in a pool that was looked at, one in so many must be freed before it is looked at again. With 8 the frees of
/// a large heap in random order take a third more instructions; with 2 half the live blocks can hide free pages.
const RESCAN_PART: u32 = 4;

/// With no more blocks than this in use, a pool is looked at again when half of them have been freed: frees in random order
/// would lead to a look each.
const FEW: u32 = 8;

/// With fewer blocks a page than this in use, frees in random order begin to free pages: of 16 blocks on four pages one page is free in
/// one pool of 25, of eight in one of three.
const FEW_A_PAGE: u32 = 4;

/// Pools that fill while less than this is taken in arenas have no event before they are empty: all their free pages together would
/// not be worth a look. Events take eight instructions a pair in `make bench-instructions`, 1-512 B random.
const WORTH_SCANNING: usize = 2 << 20;

/// Bytes of the blocks noted in all pools: what can be found on free pages, but for pages that came free between two events.
pub static UNSCANNED: AtomicUsize = AtomicUsize::new(0);

/// What was purged inside pools too early, and stays the next time. Not lazily: the free blocks on these pages are on lists, whose
/// links the system would take with them.
#[cfg(not(loom))]
static RETAINED: Lock<Retained> = Lock::new(Retained::nothing_resident());
/// The bytes of it, to be read without the lock.
static RETAINED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of free pages inside pools that stay because they were purged too early before.
pub fn retained_bytes() -> usize {
    // Relaxed, here and below: a limit, which may change any time.
    RETAINED_BYTES.load(Ordering::Relaxed)
}

/// Changes what is retained.
#[cfg(not(loom))]
fn retain(change: impl FnOnce(&mut Retained)) {
    let mut retained = RETAINED.lock();
    change(&mut retained);
    // Written only when it changes: all threads read it.
    if retained.resident() != retained_bytes() {
        RETAINED_BYTES.store(retained.resident(), Ordering::Relaxed);
    }
}

/// Nothing is purged in the model.
#[cfg(loom)]
fn retain(_: impl FnOnce(&mut Retained)) {}

/// Forgets what was retained and has not been used for long. `unused` is how much of it is loose.
#[cfg(not(loom))]
pub fn decay(unused: usize) {
    if retained_bytes() > 0 {
        let now = retain::now();
        retain(|retained| {
            retained.observe(unused, arena::in_use_bytes(), now);
        });
    }
}

/// Retains so many bytes less: somebody else maps as many. They go back with the next scans. `unused` as for `decay`.
#[cfg(not(loom))]
pub fn give_up(bytes: usize, unused: usize) {
    if retained_bytes() > 0 && unused > 0 {
        retain(|retained| {
            retained.give_up(bytes, unused);
        });
    }
}

/// Retains nothing.
#[cfg(not(loom))]
pub fn forget_retained() {
    retain(Retained::forget);
}

/// Holds what is retained still across `fork`.
#[cfg(not(loom))]
pub fn hold_for_fork() {
    RETAINED.hold_for_fork();
}

/// Ends `hold_for_fork`.
///
/// # Safety
/// Only in the thread that called it, in the parent and in the child.
#[cfg(not(loom))]
pub unsafe fn release_after_fork() {
    // SAFETY: passed on from the caller.
    unsafe { RETAINED.release_after_fork() }
}

/// Bytes that looking at all noted pools would yield at most.
pub fn unscanned_bytes() -> usize {
    // Relaxed: an account that others change meanwhile.
    UNSCANNED.load(Ordering::Relaxed)
}

/// Pages of one pool, a bit each.
pub struct PageSet(AtomicU32);

impl PageSet {
    #[cfg(all(test, loom))]
    pub fn empty() -> Self {
        PageSet(AtomicU32::new(0))
    }

    fn bits(&self) -> u32 {
        // Relaxed: only the owner writes. Others ask about blocks that they hold, whose pages were in use when they got them.
        self.0.load(Ordering::Relaxed)
    }

    fn set_bits(&self, bits: u32) {
        // Relaxed: see above.
        self.0.store(bits, Ordering::Relaxed);
    }

    pub fn is_empty(&self) -> bool {
        self.bits() == 0
    }

    /// Forgets all pages. Returns what they were.
    fn take(&self) -> u32 {
        let bits = self.bits();
        if bits == 0 {
            return 0;
        }
        arena::subtract_purged_inside(bytes_of(bits));
        self.set_bits(0);
        bits
    }

    /// Forgets what cannot be pages of the pool.
    pub fn keep_pages_of(&self, pool: &Pool) {
        let pages = u32::MAX.checked_shl(pool.pages() as u32).unwrap_or(0);
        self.set_bits(self.bits() & !pages);
    }

    fn add(&self, pages: u32) {
        debug_assert!(self.bits() & pages == 0, "pages are purged once");
        arena::add_purged_inside(bytes_of(pages));
        self.set_bits(self.bits() | pages);
    }
}

fn bytes_of(pages: u32) -> usize {
    pages.count_ones() as usize * os::page_size()
}

/// Bits `first` to `last`.
fn bits_between(first: usize, last: usize) -> u32 {
    (u32::MAX >> (u32::BITS as usize - 1 - (last - first))) << first
}

impl Pool {
    /// Pages of the pool that could be purged while it has live blocks: none of a pool of a single one, or of one that
    /// starts in the middle of a page.
    fn pages(&self) -> usize {
        let page = os::page_size();
        match self.slots() * SLOT_SIZE / page {
            0 | 1 => 0,
            _ if page > SLOT_SIZE => 0,
            pages => pages,
        }
    }

    /// The pages that a block overlaps.
    fn pages_of(&self, index: usize) -> u32 {
        let (size, shift) = (self.block_size(), os::page_size().trailing_zeros());
        bits_between((index * size) >> shift, ((index + 1) * size - 1) >> shift)
    }

    /// The cut blocks that overlap a page.
    fn blocks_on(&self, page: usize) -> core::ops::Range<usize> {
        let (size, page_size) = (self.block_size(), os::page_size());
        let end = ((page + 1) * page_size).div_ceil(size);
        page * page_size / size..end.min(self.carved_blocks() as usize)
    }

    /// Whether a block is hidden.
    #[inline]
    pub(super) fn is_on_purged_page(&self, index: u32) -> bool {
        let purged = self.purged.bits();
        purged != 0 && purged & self.pages_of(index as usize) != 0
    }

    /// How many blocks are hidden.
    pub fn purged_blocks(&self) -> u32 {
        if !self.has_purged_pages() {
            return 0;
        }
        (0..self.carved_blocks())
            .filter(|index| self.is_on_purged_page(*index))
            .count() as u32
    }

    pub fn has_purged_pages(&self) -> bool {
        !self.purged.is_empty()
    }

    /// Blocks freed since the pool was last looked at, as far as its events have told.
    pub fn unscanned(&self) -> u32 {
        // Relaxed: only the owner writes and asks.
        self.unscanned.load(Ordering::Relaxed) as u32
    }

    fn set_unscanned(&self, unscanned: u32) {
        self.unscanned.store(unscanned as u16, Ordering::Relaxed);
    }

    /// Notes that so many blocks were freed.
    pub(super) fn count_freed(&self, freed: u32) {
        if freed > 0 {
            self.set_unscanned(self.unscanned() + freed);
            UNSCANNED.fetch_add(freed as usize * self.block_size(), Ordering::Relaxed);
        }
    }

    /// Notes all blocks of a pool that is empty and kept.
    pub fn count_all_freed(&self) {
        debug_assert!(self.state() == State::Used && self.in_use() == 0);
        self.forget_unscanned();
        self.count_freed(self.carved_blocks());
    }

    pub(super) fn forget_unscanned(&self) {
        if self.unscanned() > 0 {
            UNSCANNED.fetch_sub(
                self.unscanned() as usize * self.block_size(),
                Ordering::Relaxed,
            );
            self.set_unscanned(0);
        }
    }

    /// Frees from now to the next event, with so many blocks in use.
    #[inline]
    pub(super) fn next_span(&self, in_use: u32) -> u32 {
        match self.was_scanned() {
            true if in_use <= FEW => in_use.div_ceil(2),
            true => in_use / RESCAN_PART,
            _ if os::page_size() > os::SMALLEST_PAGE && self.pages() == 0 => in_use,
            // The model is of pools with events.
            false if !cfg!(loom) && arena::resident_bytes() < WORTH_SCANNING => in_use,
            false => (self.size_class().event_step as u32).min(in_use),
        }
    }

    /// Handles an event of a used pool that is not empty. Returns the bytes noted. Only for the owner, under its heap's lock.
    #[inline]
    pub fn after_event(&self) -> usize {
        debug_assert!(self.state() == State::Used && self.in_use() > 0);
        let (freed, in_use) = (self.local.span(), self.in_use());
        let few = self.was_scanned() && in_use < FEW_A_PAGE * self.pages() as u32;
        let unscanned = match few {
            // The last block of a page frees all of it.
            true => freed.max((os::page_size() / self.block_size()) as u32),
            false => freed,
        };
        self.count_freed(unscanned);
        self.expect_event(in_use);
        unscanned as usize * self.block_size()
    }

    /// Purges the wholly free pages of a used pool. Returns how many there were. Only for the owner, while no heap has it, and the
    /// pool must not enter a slot map if it has purged pages afterwards.
    pub fn purge_free_pages(&self) -> usize {
        let pages = self.unlist_free_pages();
        self.purge_pages(pages);
        pages.count_ones() as usize
    }

    /// Hides the blocks on the wholly free pages of a used pool, and counts these as purged. Returns them, for `purge_pages`. Only for the owner,
    /// under its heap's lock if a heap has it.
    pub fn unlist_free_pages(&self) -> u32 {
        debug_assert!(self.state() == State::Used);
        self.collect_into_local();
        self.forget_unscanned();
        if self.in_use() == 0 || self.pages() == 0 {
            return 0;
        }
        self.set_scanned(true);
        let free = match self.pages_free_by_marks() {
            0 => 0,
            candidates => self.pages_free_by_list(candidates),
        };
        if free != 0 {
            self.unlist_blocks_on(free);
            self.purged.add(free);
        }
        self.expect_event(self.in_use());
        free
    }

    /// Pages with cut blocks of which all carry the mark. Most often the first block or two of a page say no.
    fn pages_free_by_marks(&self) -> u32 {
        let (size, shift) = (self.block_size(), os::page_size().trailing_zeros());
        let end = self.carved_blocks() as usize * size;
        let purged = self.purged.bits();
        let mut pages = 0;
        for page in 0..end.div_ceil(1 << shift).min(self.pages()) {
            if purged >> page & 1 == 1 {
                continue;
            }
            let page_start = page << shift;
            let page_end = (page_start + (1 << shift)).min(end);
            let first = self.size_class().index_at(page_start);
            let mut offsets = (first * size..page_end).step_by(size);
            // A block as large as a page may be one that the program has protected from being read: then only the list tells.
            let is_free = size >= 1 << shift
                || offsets.all(|offset| {
                    // SAFETY: a cut block of a live pool. The program may write it meanwhile; the mark is atomic.
                    let block = unsafe { &*((self.start() + offset) as *const Block) };
                    block.is_marked_free()
                        || purged != 0
                            && self.is_on_purged_page(self.size_class().index_at(offset) as u32)
                });
            pages |= u32::from(is_free) << page;
        }
        pages
    }

    /// Those of the pages whose blocks are all on the free list.
    fn pages_free_by_list(&self, candidates: u32) -> u32 {
        let mut found = [0; MOST_PAGES];
        for block in self.local.blocks() {
            for page in bits(self.pages_of(self.index_of(block)) & candidates) {
                found[page] += 1;
            }
        }
        bits(candidates)
            .filter(|page| {
                let listed = |index: &usize| !self.is_on_purged_page(*index as u32);
                self.blocks_on(*page).filter(listed).count() == found[*page]
            })
            .fold(0, |pages, page| pages | 1 << page)
    }

    fn index_of(&self, block: *const Block) -> usize {
        self.size_class().index_at(block as usize - self.start())
    }

    /// Takes the blocks on these pages off the free list.
    fn unlist_blocks_on(&self, pages: u32) {
        let mut last: Option<&Block> = None;
        for block in self.local.blocks() {
            if self.pages_of(self.index_of(block)) & pages != 0 {
                continue;
            }
            match last {
                Some(last) => last.next.store(block.cast_mut(), Ordering::Relaxed),
                None => self.local.set_head(block),
            }
            // SAFETY: a block on the list is free and the caller's.
            last = Some(unsafe { &*block });
        }
        match last {
            Some(last) => last.next.store(ptr::null_mut(), Ordering::Relaxed),
            None => self.local.set_head(ptr::null()),
        }
    }

    /// Gives the pages that `unlist_free_pages` told back to the system, which takes long. Where it refuses (locked memory), the blocks stay hidden
    /// and the pages resident. Only for the owner, while no heap has the pool, so that nobody else can release it.
    #[inline(never)]
    pub fn purge_pages(&self, pages: u32) {
        if pages == 0 {
            return;
        }
        let shift = os::page_size().trailing_zeros();
        let (mut left, mut refused) = (pages, 0);
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let count = (left >> first).trailing_ones() as usize;
            let start = (self.start() + (first << shift)) as *mut u8;
            let run = bits_between(first, first + count - 1);
            // SAFETY: whole pages of the caller's pool, on which nothing is in use.
            if !unsafe { os::purge(start, count << shift) } {
                refused |= run;
            }
            left &= !run;
        }
        let now = retain::now();
        retain(|retained| retained.give_back(bytes_of(pages & !refused), now));
    }

    /// Puts the hidden blocks back on the free list, behind those whose pages are resident.
    pub(super) fn relist_purged_blocks(&self) {
        if self.purged.is_empty() {
            return;
        }
        let pages = self.purged.take();
        retain(|retained| retained.ask(bytes_of(pages), arena::in_use_bytes(), retain::now));
        let mut chain = ptr::null();
        for index in (0..self.carved_blocks() as usize).rev() {
            if self.pages_of(index) & pages != 0 {
                let block = self.block(index);
                block.become_free(chain);
                chain = block;
            }
        }
        self.local.append(chain);
    }

    /// The pool's slots go back whole.
    pub(super) fn forget_pages(&self) {
        self.forget_unscanned();
        if self.purged.take() != 0 {
            // For `is_written`.
            self.set_carved_blocks(0);
        }
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        (word != 0).then(|| {
            let lowest = word.trailing_zeros() as usize;
            word &= word - 1;
            lowest
        })
    })
}
