//! The account of the bytes in mappings, which every floor may read without a lock.

use crate::sync::SharedWord;
use core::sync::atomic::Ordering;

/// Bytes of blocks and of freed mappings that are kept. Written when the system maps or unmaps.
static HELD: SharedWord = SharedWord::named("bytes in mappings");

/// Bytes of blocks and of freed mappings that are kept.
pub fn held_bytes() -> usize {
    // Relaxed, here and below: an account.
    HELD.load(Ordering::Relaxed)
}

pub(super) fn count_held(bytes: usize) {
    HELD.fetch_add(bytes, Ordering::Relaxed);
}

pub(super) fn uncount_held(bytes: usize) {
    HELD.fetch_sub(bytes, Ordering::Relaxed);
}

/// Counts a mapping of another size than before.
pub(super) fn count_change(before: usize, after: usize) {
    match after > before {
        true => count_held(after - before),
        false => uncount_held(before - after),
    }
}
