//! A word that several threads write, with a name, so that a build that counts can tell how often (`counts`). Otherwise it is nothing but the atomic.
//!
//! What must hold: every process-wide number that is written on a path that many threads take is one of these. `docs/scaling.md` has a row for each.

use super::counts::WordCounts;
#[cfg(loom)]
use super::modelled::Figure as AtomicUsize;
#[cfg(not(loom))]
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering;

/// The number comes first: `pymalloc-watch` reads it there.
#[repr(C)]
pub struct SharedWord {
    number: AtomicUsize,
    counts: WordCounts,
}

impl SharedWord {
    /// One that is zero.
    pub const fn named(name: &'static str) -> Self {
        SharedWord {
            number: AtomicUsize::new(0),
            counts: WordCounts::of(name),
        }
    }

    // The functions of the atomic. Why an ordering is enough is said where they are called.

    #[inline(always)]
    pub fn load(&self, ordering: Ordering) -> usize {
        self.number.load(ordering)
    }

    #[inline(always)]
    pub fn store(&self, number: usize, ordering: Ordering) {
        self.counts.written();
        self.number.store(number, ordering);
    }

    #[inline(always)]
    pub fn fetch_add(&self, more: usize, ordering: Ordering) -> usize {
        self.counts.written();
        self.number.fetch_add(more, ordering)
    }

    #[inline(always)]
    pub fn fetch_sub(&self, less: usize, ordering: Ordering) -> usize {
        self.counts.written();
        self.number.fetch_sub(less, ordering)
    }

    #[inline(always)]
    pub fn fetch_max(&self, number: usize, ordering: Ordering) -> usize {
        self.counts.written();
        self.number.fetch_max(number, ordering)
    }
}
