//! How full a pool is: what its owner or another thread may conclude from the counts.

use super::header::{Pool, State};
use crate::os;

/// A pool of which no more than this part is free is given up as a full one. With the whole of it in use only, short threads that leave
/// blocks to others (`thread-lifetimes` of `make bench`) take a quarter more time: each adopts a hundred pools for a few blocks each, and
/// abandons them again. (mimalloc 3 tells pools that are mostly used by the same part.)
const NEARLY_FULL_PART: u32 = if cfg!(loom) { 4 } else { 8 };

/// See `Pool::has_short_blocks`. The tests below show it of the classes.
const SHORT_BLOCK: usize = os::SMALLEST_PAGE / 4;

impl Pool {
    /// Blocks in use, those in bins and remote frees included. Exact for its owner, and for whoever holds its heap's lock while
    /// no block is in use that its owner could free.
    pub fn in_use(&self) -> u32 {
        self.local.in_use()
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

    /// Whether the pages of a pool that is carved to the end surely have a block each that starts there, and more blocks than are free in a
    /// pool that is nearly full.
    fn has_short_blocks(&self) -> bool {
        // The model has long ones only.
        self.block_size() <= SHORT_BLOCK || cfg!(loom)
    }

    /// Whether a full pool has free blocks all the same, as far as can be told.
    pub fn is_full_but_for_some(&self) -> bool {
        self.state() == State::Full && self.in_use() < self.carved_blocks()
    }

    /// Whether every page of a pool that has just become vacant is known to have been written: on each starts a block, and all were carved.
    pub fn is_written(&self) -> bool {
        debug_assert!(self.state() == State::Vacant);
        self.has_short_blocks() && !self.has_untouched()
    }

    /// Whether an owned pool could serve an allocation at once without touching new memory.
    pub fn has_free_blocks(&self) -> bool {
        !self.local.is_empty() || self.remote.count() > 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::geometry::SLOT_SIZE;
    use crate::size_class;

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
