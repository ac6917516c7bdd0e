//! Active heaps: how many heaps threads have now.
//!
//! What it owns: that count. It is a leaf, so that whatever is shared out among threads (bins, budgets, tables) can ask it without the list of heaps.
//!
//! What must hold: a heap counts from when a thread takes it until it is spare.

use crate::sync::SharedWord;
use core::sync::atomic::Ordering;

static ACTIVE: SharedWord = SharedWord::named("active heaps");

/// How many there are. At least one: a thread may ask before it has a heap.
pub fn count() -> usize {
    // Relaxed, here and below: a number that shares are divided by; nothing is ordered by it.
    ACTIVE.load(Ordering::Relaxed).max(1)
}

/// A thread has taken a heap.
pub fn add_one() {
    ACTIVE.fetch_add(1, Ordering::Relaxed);
}

/// A heap is spare.
pub fn remove_one() {
    let before = ACTIVE.fetch_sub(1, Ordering::Relaxed);
    debug_assert!(before > 0, "only what was counted");
}
