//! Trim: what can go back when memory is wanted, over all heaps, and what there is of them.
//!
//! What it owns: the walks over all heaps and all pools.
//!
//! ```text
//!   trim               malloc_trim: all that can go
//!   relieve            the system has no memory: empty pools
//!   open_full_pools    the same: full pools that have free blocks go to whoever needs them
//!   counts             figures
//! ```
//!
//! What must hold: the caller holds no lock, and a walk holds that of one heap at a time.

use super::abandoned;
use super::heap::Heap;
use super::heaps;
use super::news::{self, Walk};
use super::release;
use super::scan;
use super::supply;
use crate::arena;
use crate::pool::{Pool, PoolList, State, retained};
use crate::size_class::CLASSES;
use core::ptr;
use core::sync::atomic::Ordering;

/// Gives empty pools of all heaps back to their arenas, and free pages to the system; `own` is the calling thread's. True when there were any.
pub fn trim(own: Option<&Heap>) -> bool {
    let mut returned = relieve(own, true);
    for class in 1..CLASSES {
        returned |= scan::purge_abandoned(class, &mut { usize::MAX }, false);
    }
    retained::forget_retained();
    returned
}

/// Gives back the empty pools of all heaps, and with `purges` also the free pages of the calling thread's own. True when there were any. Without
/// `purges` used pools are walked over only if there is news of them.
pub fn relieve(own: Option<&Heap>, purges: bool) -> bool {
    static WALK: Walk = Walk::new();
    heaps::rescue_orphans();
    WALK.begin(news(), |is_news| {
        let mut returned = false;
        heaps::each(|heap| {
            returned |= heaps::take_back_if_ended(heap);
            let is_own = own.is_some_and(|own| ptr::eq(own, heap));
            returned |= release::trim(heap, is_own, is_news || purges, purges);
        });
        returned
    })
}

/// A number that is another once a walk over all pools may find what the one before did not.
fn news() -> usize {
    let mut news = news::told();
    heaps::each(|heap| news = news.wrapping_add(heap.remote_frees()));
    news
}

/// Abandons full pools that have free blocks all the same. For when the system has no memory. True when there were any.
#[cold]
pub fn open_full_pools() -> bool {
    static WALK: Walk = Walk::new();
    WALK.begin(news(), |is_news| is_news && open_all_full())
}

fn open_all_full() -> bool {
    let found = PoolList::new();
    // The lock of the abandoned ones comes before that of the arenas, which is held here.
    let mut abandoned = None;
    arena::each(&mut |view| {
        for header in view.runs() {
            // SAFETY: the header of an allocated run, and the arenas are held still.
            let pool: &'static Pool = unsafe { Pool::at(header) };
            if abandoned.is_some() || !pool.is_full_but_for_some() || !pool.remote.try_claim() {
                continue;
            }
            if pool.state() == State::Abandoned {
                // It changed hands this very moment.
                abandoned = Some(pool);
                continue;
            }
            pool.take_in_hand();
            found.push_back(pool);
        }
    });
    let any = found.first().is_some();
    while let Some(pool) = found.first() {
        found.remove(pool);
        if let Some(vacant) = abandoned::abandon_to_all(pool) {
            supply::release(vacant);
        }
    }
    if let Some(pool) = abandoned {
        abandoned::take_claimed(pool);
        abandoned::abandon_at_once(pool);
        // What came behind it was not looked at.
        news::tell();
    }
    any
}

/// Figures about heaps.
pub struct Counts {
    /// Heaps that threads have.
    pub live: usize,
    /// Heaps that wait for a thread.
    pub spare: usize,
    /// Blocks freed by threads that did not own their pool.
    pub remote_frees: usize,
    /// Blocks in bins, by size class.
    pub in_bins: [usize; CLASSES],
}

/// Counts the heaps.
pub fn counts() -> Counts {
    let mut counts = Counts {
        live: 0,
        spare: 0,
        remote_frees: 0,
        in_bins: [0; CLASSES],
    };
    heaps::each(|heap| {
        // Relaxed: a figure.
        let taken = heap.taken.load(Ordering::Relaxed);
        counts.live += usize::from(taken);
        counts.spare += usize::from(!taken);
        counts.remote_frees += heap.remote_frees();
        for (count, bin) in counts.in_bins.iter_mut().zip(heap.bins()) {
            *count += bin.len();
        }
    });
    counts
}
