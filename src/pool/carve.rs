//! Where a pool's blocks come from: the untouched part, which is carved a page at a time, and the free list, which is taken whole.

use super::block::Block;
use super::header::{Pool, State};
use crate::os;
use core::ptr;

impl Pool {
    /// Takes all free blocks out of an owned pool, those on purged pages included. Returns how many they are, and the first.
    pub fn take_all(&self) -> (*const Block, u32) {
        debug_assert!(self.is_used_or_in_hand());
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

    /// After all carved blocks were handed out.
    fn start_anew(&self) {
        self.forget_unscanned();
        if self.has_untouched() {
            // It serves the class now: one such pool may well come free unseen.
            return self
                .local
                .expect(self.carved_blocks(), self.carved_blocks());
        }
        self.set_scanned(false);
        self.set_next_event(self.carved_blocks());
    }

    /// Carves the next page's worth of blocks of an owned pool that has no free ones, or a few more, and hands them out, lowest first. One page
    /// at a time, so that no memory is touched long before it is used.
    pub fn carve_more(&self) -> (*const Block, u32) {
        debug_assert!(self.state() == State::Used && self.has_untouched());
        debug_assert!(self.in_use() == self.carved_blocks());
        let size = self.block_size();
        let carved = self.carved_blocks() as usize;
        let page = os::page_size();
        // As many as end within the page in which the next block ends. The last page of a pool may hold fewer.
        let fitting = (((carved + 1) * size).next_multiple_of(page) - carved * size) / size;
        // Of a pool of several slots, where a page is a block or two, as many again as are carved already: the class is in use by then.
        let more = if self.slots() > 1 { carved } else { 0 };
        let end = (carved + fitting.max(more)).min(self.size_class().blocks as usize);
        let first = self.carve_to(end);
        self.start_anew();
        (first, (end - carved) as u32)
    }

    /// Carves all blocks of a pool that was just taken and is resident, so that nothing is gained by waiting.
    pub fn carve_all(&self) {
        debug_assert!(self.state() == State::Used && self.carved_blocks() == 0);
        let first = self.carve_to(self.size_class().blocks as usize);
        self.local.set_head(first);
    }

    /// Carves the untouched blocks before block `end`, of which there are some, and links them. Returns the first.
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
}
