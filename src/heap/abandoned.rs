//! Abandoned pools: what threads that ended, or may be about to sleep, leave to whoever needs it, by size class.
//!
//! What it owns: the lists of abandoned pools, and how a pool that a thread has for itself gets there. It knows pools, not heaps.
//!
//! ```text
//!   abandon              a pool of the calling thread's alone
//!     Pool::try_become_full   little of it is free: nobody's, on no list
//!     abandon_to_all          add, Pool::try_disown; remove again if remote frees came first
//!   adopt, claim_first   claim a pool by its remote word, and take it off its list
//!   unlist_claimed       for a thread that claimed a pool by freeing into it
//! ```
//!
//! Pools with unscanned blocks are in front of their list, so that those who scan find them without a search. Heaps that are
//! about to grow take others, from the back.
//!
//! What must hold: a pool here has live blocks and room for more, and its state is abandoned. It has no owner, so that two can want
//! it at once: a heap that is about to grow, and a thread that frees one of its blocks. Both must first claim it by its remote word; whichever loses leaves it
//! alone. The one that freed takes it off the list afterwards. So a pool on a list may already be claimed, and `adopt` skips it.

use super::news;
use super::supply;
use crate::pool::{Pool, PoolList, State};
use crate::size_class::CLASSES;
use crate::sync::{AtomicU32, Lock, Ordering};

/// Abandoned pools, by size class. Their threads have ended, or have scanned them and may sleep.
pub static ABANDONED: AbandonedPools = AbandonedPools::empty();

/// Of one size class. A lock each: threads that end at once, or grow, would wait for each other by the thousands.
struct ClassList {
    pools: Lock<PoolList>,
    /// How many there are, so that a heap need not take the lock to find that there are none. Changed under the lock.
    count: AtomicU32,
}

impl ClassList {
    const fn empty() -> Self {
        ClassList {
            pools: Lock::new(PoolList::new()),
            count: AtomicU32::new(0),
        }
    }

    fn count(&self) -> u32 {
        // Relaxed, here and below: a hint; the lock orders the list.
        self.count.load(Ordering::Relaxed)
    }

    /// Puts a pool in. Those with unscanned blocks are in front.
    fn add(&self, pool: &Pool) {
        let pools = self.pools.lock();
        match pool.unscanned() > 0 {
            true => pools.push_front(pool),
            false => pools.push_back(pool),
        }
        self.count.store(self.count() + 1, Ordering::Relaxed);
    }

    /// Takes the pool out that `choose` claims, if any.
    fn take<'a>(&self, choose: impl FnOnce(&PoolList) -> Option<&'a Pool>) -> Option<&'a Pool> {
        let pools = self.pools.lock();
        let pool = choose(&pools)?;
        pools.remove(pool);
        self.count.store(self.count() - 1, Ordering::Relaxed);
        Some(pool)
    }
}

pub struct AbandonedPools([ClassList; CLASSES]);

impl AbandonedPools {
    const fn empty() -> Self {
        AbandonedPools([const { ClassList::empty() }; CLASSES])
    }

    fn of(&self, class: usize) -> &ClassList {
        &self.0[class]
    }

    /// Puts a pool that just became abandoned on its list. It is still the caller's until `Pool::try_disown`.
    pub fn add(&self, pool: &Pool) {
        self.of(pool.class()).add(pool);
    }

    /// Takes a pool that the caller owns off its list.
    pub fn remove(&self, pool: &Pool) {
        self.of(pool.class()).take(|_| Some(pool));
    }

    /// Claims a pool of a class and takes it off the list. The caller owns it and makes it used.
    #[inline(never)]
    pub fn adopt(&self, class: usize) -> Option<&Pool> {
        self.claim(class, |list| {
            list.iter_backwards().find(|pool| pool.remote.try_claim())
        })
    }

    /// As `adopt`, but the first pool; with `only_unscanned`, if it has unscanned blocks.
    pub fn claim_first(&self, class: usize, only_unscanned: bool) -> Option<&Pool> {
        self.claim(class, |list| {
            list.iter()
                .take_while(|pool| !only_unscanned || pool.unscanned() > 0)
                .find(|pool| pool.remote.try_claim())
        })
    }

    /// Pools on the list of a class, as far as can be told.
    pub fn count(&self, class: usize) -> usize {
        self.of(class).count() as usize
    }

    fn claim<'a>(
        &self,
        class: usize,
        claimed: impl FnOnce(&PoolList) -> Option<&'a Pool>,
    ) -> Option<&'a Pool> {
        match self.count(class) {
            0 => None,
            _ => self.of(class).take(claimed),
        }
    }

    /// Holds the lists still across `fork`.
    pub fn hold_for_fork(&self) {
        self.0.iter().for_each(|list| list.pools.hold_for_fork());
    }

    /// Ends `hold_for_fork`.
    ///
    /// # Safety
    /// Only in the thread that called it, in the parent and in the child.
    pub unsafe fn release_after_fork(&self) {
        for list in &self.0 {
            // SAFETY: passed on from the caller.
            unsafe { list.pools.release_after_fork() }
        }
    }
}

// What a thread does with a pool that it has in hand.

/// full or abandoned, and just claimed -> the same, and on no list.
pub fn unlist_claimed(pool: &Pool) {
    if pool.state() == State::Abandoned {
        ABANDONED.remove(pool);
    }
}

/// full or abandoned, and just claimed -> in the caller's hand.
pub fn take_claimed(pool: &Pool) {
    unlist_claimed(pool);
    pool.take_in_hand();
}

/// in the caller's hand -> full if little of it is free, else abandoned. If it is empty it becomes vacant instead; then it is the
/// caller's, to be released.
#[must_use]
pub fn abandon(pool: &Pool) -> Option<&Pool> {
    if pool.is_nearly_full() && pool.try_become_full() {
        news::tell();
        return None;
    }
    abandon_to_all(pool)
}

/// As `abandon`, but never full: however little of it is free, whoever needs it finds it.
#[must_use]
#[inline(never)]
pub fn abandon_to_all(pool: &Pool) -> Option<&Pool> {
    pool.become_abandoned();
    while pool.in_use() > 0 {
        ABANDONED.add(pool);
        if pool.try_disown() {
            return None;
        }
        // With the remote frees that came meanwhile it may be empty, or have unscanned blocks, and another place on the list.
        ABANDONED.remove(pool);
        pool.collect_into_local();
    }
    pool.become_vacant();
    Some(pool)
}

/// As `abandon`, for a thread that holds no lock: an empty pool is released.
pub fn abandon_at_once(pool: &Pool) {
    if let Some(vacant) = abandon(pool) {
        supply::release(vacant);
    }
}
