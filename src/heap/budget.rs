//! The slack of pools: how many bytes may stay resident in used pools without a live block.
//!
//! What it owns: their share of the slack. The bytes themselves are counted by `pool::events`.
//!
//! Together with what the arenas keep of free slots (`arena::DIRTY_SHARE`) and the cache of mappings this stays within
//! an eighth of the pages in use and 8 MiB, and what is retained. `docs/memory.md` says for which patterns it does not.

use super::active;
use crate::arena;
use crate::mapping;
use crate::pool::{retained, unscanned_bytes};
use crate::retain::{self, Moment};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// This part (1/4) of `conf::RESIDENT_BUDGET` may be loose, as much as the arenas may keep...
const UNSCANNED_SHARE: (usize, usize) = (1, 4);
/// ... and this part (1/4) of what `conf::BUDGET_PART` allows. What is left of both is for what the library needs itself, headers and
/// slot maps, and for the bins of threads that sleep. With twice as much, a program of drifting sizes saves a
/// twentieth of its time and takes a twentieth more memory.
const UNSCANNED_PART: usize = 4;

/// What is retained is observed no more often than this, but where it is used.
const PAUSE: Moment = 50_000_000;

/// Slow paths of a thread from one look at the clock to the next: it would take a tenth of each. Measure `mstress` of `make bench`.
const TURNS: u32 = 8;

/// A count of slow paths of one thread, which alone changes it.
pub struct Turns(AtomicU32);

impl Turns {
    pub const fn none() -> Self {
        Turns(AtomicU32::new(0))
    }

    /// Counts one more. True for one in `TURNS`.
    fn take(&self) -> bool {
        // Relaxed, and no read-modify-write: nobody else changes it.
        let turn = self.0.load(Ordering::Relaxed).wrapping_add(1);
        self.0.store(turn, Ordering::Relaxed);
        turn.is_multiple_of(TURNS)
    }
}

/// How much may be loose, what is retained aside.
fn allowance() -> usize {
    arena::allowance(UNSCANNED_SHARE, UNSCANNED_PART)
}

fn allowed() -> usize {
    allowance().saturating_add(retained::retained_bytes())
}

/// Whether pools with notes must be looked at.
pub fn is_used_up() -> bool {
    unscanned_bytes() > allowed()
}

/// However many threads share, a heap notes this much before it looks: a look is worth sixteen pages.
pub const LEAST_WORTH_SCANNING: usize = 64 << 10;

/// Bytes that a heap must have noted since it last looked at its pools, so that it does not walk over all of them in vain: a quarter
/// of what may be loose, which all heaps share, since what a thread that sleeps has noted stays.
pub fn worth_scanning() -> usize {
    (allowance() / 4 / active::count()).max(LEAST_WORTH_SCANNING)
}

/// Whether a thread that ends must look at those that it leaves.
pub fn is_half_used() -> bool {
    unscanned_bytes() > allowed() / 2
}

/// Gives back what is retained and has not been used for long, now and then. For the slow paths of pools, so that it happens in a
/// process that works at all.
#[inline]
pub fn decay_in_turn(turns: &Turns) {
    if retain::is_any_wanted() && turns.take() || arena::is_giving_back() {
        decay_now();
    }
}

/// The same for the paths that take long anyway: runs, mappings, some of the frees of blocks of others.
#[inline]
pub fn decay() {
    if retain::is_any_wanted() || arena::is_giving_back() {
        decay_now();
    }
}

#[inline(never)]
fn decay_now() {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unfinished = arena::is_giving_back();
    // Relaxed: should two threads come at once, both do it.
    let next = NEXT.load(Ordering::Relaxed);
    let now = retain::now();
    // The clock may step back.
    if !unfinished && now < next && next - now <= PAUSE {
        return;
    }
    NEXT.store(now + PAUSE, Ordering::Relaxed);
    arena::decay();
    mapping::decay();
    retained::decay(unused_bytes());
}

/// Bytes of what pools retain that are unused.
fn unused_bytes() -> usize {
    unscanned_bytes().saturating_sub(allowance())
}

/// What pools retain goes before the system is asked for so many bytes more.
pub fn give_up(bytes: usize) {
    retained::give_up(bytes, unused_bytes());
}
