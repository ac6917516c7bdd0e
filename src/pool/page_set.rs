//! A set of pages of one pool, a bit each, and the count of purged bytes in all pools.

use crate::arena;
use crate::os;
use crate::size_class::LONGEST_POOL;
use crate::sync::{AtomicU32, Ordering};

/// The most pages of a pool.
pub(super) const MOST_PAGES: usize = LONGEST_POOL / os::SMALLEST_PAGE;
const _: () = assert!(MOST_PAGES <= u32::BITS as usize);

/// The purged pages of a pool. Only its owner changes them.
pub struct PageSet(AtomicU32);

impl PageSet {
    pub(super) fn bits(&self) -> u32 {
        // Relaxed: only the owner writes. Others ask about blocks that they hold, whose pages were in use when they got them.
        self.0.load(Ordering::Relaxed)
    }

    fn set_bits(&self, bits: u32) {
        // Relaxed: see above.
        self.0.store(bits, Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits() == 0
    }

    /// Forgets all pages. Returns what they were.
    pub(super) fn take(&self) -> u32 {
        let bits = self.bits();
        if bits == 0 {
            return 0;
        }
        arena::subtract_purged_inside(bytes_of(bits));
        self.set_bits(0);
        bits
    }

    pub(super) fn add(&self, pages: u32) {
        debug_assert!(self.bits() & pages == 0, "pages are purged once");
        arena::add_purged_inside(bytes_of(pages));
        self.set_bits(self.bits() | pages);
    }

    /// Forgets all pages but the first ones.
    pub(super) fn keep_first(&self, pages: usize) {
        let others = u32::MAX.checked_shl(pages as u32).unwrap_or(0);
        self.set_bits(self.bits() & !others);
    }
}

/// The bytes of these pages.
pub(super) fn bytes_of(pages: u32) -> usize {
    pages.count_ones() as usize * os::page_size()
}

/// Bits `first` to `last`.
pub(super) fn bits_between(first: usize, last: usize) -> u32 {
    (u32::MAX >> (u32::BITS as usize - 1 - (last - first))) << first
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut word: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        (word != 0).then(|| {
            let lowest = word.trailing_zeros() as usize;
            word &= word - 1;
            lowest
        })
    })
}
