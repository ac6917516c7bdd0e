//! Abandoned pools: what threads that ended, or may be about to sleep, leave behind, by size class, for whoever needs it.
//!
//! Pools with notes (`pool::pages`) are in front, so that those who look for free pages find them without a search. Heaps that are
//! about to grow take others, from the back.
//!
//! A pool here has live blocks and room for more. It has no owner, so that two can want
//! it at once: a heap that is about to grow (`adopt`), and a thread that frees one of its blocks.
//! Both must first claim it by its remote word; who loses leaves it alone. The one that freed takes it off the
//! list afterwards (`remove`). So a pool on a list may already have an owner, and `adopt` skips it.

use crate::pool::{Pool, PoolList};
use crate::size_class::CLASSES;
use crate::sync::{AtomicU32, Lock, Ordering};

pub struct AbandonedPools {
    lists: Lock<[PoolList; CLASSES]>,
    /// Pools on each list, so that a heap need not take the lock to learn that there are none.
    counts: [AtomicU32; CLASSES],
}

impl AbandonedPools {
    #[cfg(not(loom))]
    pub const fn empty() -> Self {
        AbandonedPools {
            lists: Lock::new([const { PoolList::new() }; CLASSES]),
            counts: [const { AtomicU32::new(0) }; CLASSES],
        }
    }

    #[cfg(loom)]
    pub fn empty() -> Self {
        AbandonedPools {
            lists: Lock::new([const { PoolList::new() }; CLASSES]),
            counts: core::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Puts a pool that just became abandoned on its list. It is still the caller's until `Pool::try_leave`.
    pub fn add(&self, pool: &Pool) {
        let class = pool.class();
        let lists = self.lists.lock();
        match pool.noted() > 0 {
            true => lists[class].push_front(pool),
            false => lists[class].push_back(pool),
        }
        // Relaxed, here and below: a hint; the lock orders the lists.
        self.counts[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a pool that the caller has claimed off its list.
    pub fn remove(&self, pool: &Pool) {
        let class = pool.class();
        let lists = self.lists.lock();
        lists[class].remove(pool);
        self.counts[class].fetch_sub(1, Ordering::Relaxed);
    }

    /// Claims a pool of a class and takes it off the list. The caller owns it and makes it used.
    pub fn adopt(&self, class: usize) -> Option<&Pool> {
        self.claim(class, |list| {
            list.iter_backwards().find(|pool| pool.remote.try_claim())
        })
    }

    /// As `adopt`, the first pool, as long as that is one that is wanted. `wanted` may look at what others change meanwhile.
    pub fn claim_first(&self, class: usize, wanted: impl Fn(&Pool) -> bool) -> Option<&Pool> {
        self.claim(class, |list| {
            let mut wanted = list.iter().take_while(|pool| wanted(pool));
            wanted.find(|pool| pool.remote.try_claim())
        })
    }

    /// Pools on the list of a class, as far as can be told.
    pub fn count(&self, class: usize) -> usize {
        self.counts[class].load(Ordering::Relaxed) as usize
    }

    fn claim<'a>(
        &self,
        class: usize,
        claimed: impl FnOnce(&PoolList) -> Option<&'a Pool>,
    ) -> Option<&'a Pool> {
        if self.count(class) == 0 {
            return None;
        }
        let lists = self.lists.lock();
        let pool = claimed(&lists[class])?;
        lists[class].remove(pool);
        self.counts[class].fetch_sub(1, Ordering::Relaxed);
        Some(pool)
    }

    /// Holds the lists still across `fork`.
    #[cfg(not(loom))]
    pub fn hold_for_fork(&self) {
        self.lists.hold_for_fork();
    }

    /// Ends `hold_for_fork`.
    ///
    /// # Safety
    /// Only in the thread that called it, in the parent and in the child.
    #[cfg(not(loom))]
    pub unsafe fn release_after_fork(&self) {
        // SAFETY: passed on from the caller.
        unsafe { self.lists.release_after_fork() }
    }
}
