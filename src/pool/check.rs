//! What can be told of an address in a pool: which block it is, and whether the block is free.
//!
//! What must hold: a block that a program may have protected from being read (`mprotect`) is read only where the system says that it can be.

use super::block::Block;
use super::header::Pool;
use crate::geometry::SLOT_SIZE;
use crate::os;
use crate::sync::Ordering;
use core::ptr;

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
        // SAFETY: a carved block of a live pool is mapped, aligned to 16 and at least 16 bytes long.
        Ok(unsafe { &*(address as *const Block) })
    }

    /// The index and the start of the block around `address`, which must lie in this pool. `None` behind the last.
    pub fn block_around(&self, address: usize) -> Option<(u32, usize)> {
        let offset = (address - self.start()) as u32;
        let index = offset / self.size_class().block_size;
        (index < self.size_class().blocks)
            .then(|| (index, self.start() + index as usize * self.block_size()))
    }

    /// Whether a block carries the mark of free blocks, for whoever does not know whether the program has it.
    #[inline(never)]
    pub fn shows_mark(&self, block: &Block) -> bool {
        // Relaxed: as in `is_marked_free`.
        let mark = || block.mark.load(Ordering::Relaxed);
        self.word_of(block, block.mark.as_ptr(), mark) == Some(block.mark_if_free())
    }

    /// What a block says that may be on a list of another thread: the one behind it, and whether it carries the mark. `None` when it cannot be
    /// read. Had it been popped before, the mark is gone; on machines that reorder loads and stores that is likely only.
    pub fn look_at(&self, block: &Block) -> Option<(*const Block, bool)> {
        // Acquire: the mark is read after it.
        let load = || block.next.load(Ordering::Acquire) as usize;
        let next = self.word_of(block, block.next.as_ptr().cast(), load)?;
        Some((next as *const Block, self.shows_mark(block)))
    }

    /// A word of a block. `None` where the program has protected it from being read.
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
    pub fn may_be_protected(&self, block: &Block) -> bool {
        let page = os::page_size();
        self.block_size() >= page && (ptr::from_ref(block) as usize).is_multiple_of(page)
    }

    /// Whether a block that carries the mark really is on one of the pool's lists. The caller holds the lock of the heap that owns
    /// the pool, or has the pool in hand. In the first case the owner may push meanwhile: a block is not missed unless it is freed this
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
}
