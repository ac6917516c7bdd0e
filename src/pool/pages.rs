//! Pages inside a pool: which of them hold no live block, and how those go back to the system.
//!
//! What it owns: the set of purged pages of each pool.
//!
//! A scan of a pool finds its wholly free pages:
//! - The marks of free blocks tell at a glance that a page is not free, mostly by the first or second block.
//! - A page whose blocks all carry the mark is checked against the free list itself, as a mark can lie.
//! - The blocks of free pages go off the list, and the pages are purged. These *purged blocks* are on no list, and not in use. They return to
//!   the list when a bin takes over what the pool has, which so is about to be filled.
//!
//! What must hold: no block in use overlaps a purged page. Only used and abandoned pools have purged pages. A pool that has some is not in its
//! owner's slot map, so that a second free of a purged block is seen.

use super::block::Block;
use super::header::{Pool, State};
use super::page_set::{MOST_PAGES, bits, bits_between, bytes_of};
use super::retained;
use crate::arena;
use crate::os;
use crate::retain;
use core::ptr;

impl Pool {
    /// The pages that a block overlaps.
    fn pages_of(&self, index: usize) -> u32 {
        let (size, shift) = (self.block_size(), os::page_size().trailing_zeros());
        bits_between((index * size) >> shift, ((index + 1) * size - 1) >> shift)
    }

    /// The carved blocks that overlap a page.
    fn blocks_on(&self, page: usize) -> core::ops::Range<usize> {
        let (size, page_size) = (self.block_size(), os::page_size());
        let end = ((page + 1) * page_size).div_ceil(size);
        page * page_size / size..end.min(self.carved_blocks() as usize)
    }

    /// Whether a block is purged.
    #[inline]
    pub(super) fn is_on_purged_page(&self, index: u32) -> bool {
        let purged = self.purged.bits();
        purged != 0 && purged & self.pages_of(index as usize) != 0
    }

    /// How many blocks are purged.
    pub fn purged_blocks(&self) -> u32 {
        if !self.has_purged_pages() {
            return 0;
        }
        (0..self.carved_blocks())
            .filter(|index| self.is_on_purged_page(*index))
            .count() as u32
    }

    /// Purges the wholly free pages of a used pool. Returns how many there were. Only for the owner, while no heap has it, and the
    /// pool must not enter a slot map if it has purged pages afterwards.
    pub fn purge_free_pages(&self) -> usize {
        let pages = self.unlist_free_pages();
        self.purge_pages(pages);
        pages.count_ones() as usize
    }

    /// The scan: takes the blocks on the wholly free pages of a pool off its list, and counts these pages as purged. Returns them, for
    /// `purge_pages`. Only for the thread that has the pool in hand.
    pub fn unlist_free_pages(&self) -> u32 {
        debug_assert!(self.state() == State::InHand);
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
            self.local
                .remove(|block| self.pages_of(self.index_of(block)) & free != 0);
            self.purged.add(free);
        }
        self.set_next_event(self.in_use());
        free
    }

    /// Pages with carved blocks of which all carry the mark. Most often the first block or two of a page say no.
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
                    // SAFETY: a carved block of a live pool. The program may write it meanwhile; the mark is atomic.
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

    /// Gives the pages that `unlist_free_pages` told back to the system, which takes long. Where it refuses (locked memory), the blocks stay purged
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
        retained::change(|retained| retained.give_back(bytes_of(pages & !refused), now));
    }

    /// Puts the purged blocks back on the free list, behind those whose pages are resident.
    pub(super) fn relist_purged_blocks(&self) {
        if self.purged.is_empty() {
            return;
        }
        let pages = self.purged.take();
        retained::change(|retained| {
            retained.ask(bytes_of(pages), arena::in_use_bytes(), retain::now)
        });
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

    /// A block by its number, which the caller may write as a free one.
    fn block(&self, index: usize) -> &Block {
        debug_assert!(index < self.size_class().blocks as usize);
        // SAFETY: inside the pool, which is mapped, and aligned.
        unsafe { &*((self.start() + index * self.block_size()) as *const Block) }
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
