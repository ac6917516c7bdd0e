//! The budget of pools: how many bytes may stay resident in used pools without a live block.
//!
//! What it owns: the pools' share of the resident budget, and when what is retained anywhere decays. The bytes themselves are counted by `pool::events`.
//!
//! What must hold: together with the free slots that the arenas keep (`budget::FREE_SLOTS`) and the cache of mappings, the unscanned bytes stay within
//! an eighth of the pages in use and 8 MiB, and what is retained. `docs/memory.md` says for which patterns they do not.

use super::active;
use crate::arena;
use crate::budget::UNSCANNED;
use crate::mapping;
use crate::pool::{retained, unscanned_bytes};
use crate::retain::{self, Moment};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Nanoseconds from one decay to the next, at least.
const PAUSE: Moment = 50_000_000;

/// Slow paths of a thread from one reading of the clock to the next: it would take a tenth of each. Measure `mstress` of `make bench`.
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

/// Bytes that may be unscanned, what is retained aside.
fn allowance() -> usize {
    arena::allowance(UNSCANNED)
}

fn allowed() -> usize {
    allowance().saturating_add(retained::retained_bytes())
}

/// Whether more is unscanned than may be, so that pools must be scanned.
pub fn is_used_up() -> bool {
    unscanned_bytes() > allowed()
}

/// However many threads share, a heap has this much unscanned before it scans: a scan is worth sixteen pages.
pub const LEAST_WORTH_SCANNING: usize = 64 << 10;

/// Bytes that must have become unscanned in a heap since its last scan, so that it does not walk over all its pools in vain: a quarter
/// of what may be unscanned, divided among all heaps, since what is unscanned in the pools of a thread that sleeps stays.
pub fn worth_scanning() -> usize {
    (allowance() / 4 / active::count()).max(LEAST_WORTH_SCANNING)
}

/// Whether a thread that ends must scan the pools that it abandons.
pub fn is_half_used() -> bool {
    unscanned_bytes() > allowed() / 2
}

/// Now and then gives back what is retained and has not been used for long. For the slow paths of pools, so that it happens in every
/// process that does anything.
#[inline]
pub fn decay_in_turn(turns: &Turns) {
    if retain::is_any_wanted() && turns.take() || arena::is_giving_back() {
        decay_now();
    }
}

/// The same for paths that take long anyway: runs, mappings, one of many remote frees.
#[inline]
pub fn decay() {
    if retain::is_any_wanted() || arena::is_giving_back() {
        decay_now();
    }
}

#[inline(never)]
fn decay_now() {
    if cfg!(loom) {
        // The model has no clock.
        return;
    }
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

/// Unscanned bytes that pools may have only because these are retained.
fn unused_bytes() -> usize {
    unscanned_bytes().saturating_sub(allowance())
}

/// Pools give up what they retain, before `bytes` more are asked of the system.
pub fn give_up(bytes: usize) {
    retained::give_up(bytes, unused_bytes());
}
