//! Retained pages inside pools: those that were purged too early stay the next time (`retain`).
//!
//! What it owns: the account of that, which all pools share, and its lock.
//!
//! Nothing is purged lazily here: the free blocks on these pages are on lists, whose links the system would take with them.

use crate::arena;
use crate::retain;
use crate::retain::Retained;
use crate::sync::Lock;
use crate::sync::SharedWord;
use core::sync::atomic::Ordering;

pub static RETAINED: Lock<Retained> = Lock::new(Retained::nothing_resident());
/// The bytes of it, to be read without the lock.
static RETAINED_BYTES: SharedWord = SharedWord::named("bytes retained in pools");

/// Bytes of free pages inside pools that stay because they were purged too early before.
pub fn retained_bytes() -> usize {
    // Relaxed, here and below: a limit, which may change any time.
    RETAINED_BYTES.load(Ordering::Relaxed)
}

/// Changes what is retained.
pub(super) fn change(change: impl FnOnce(&mut Retained)) {
    let mut retained = RETAINED.lock();
    change(&mut retained);
    // Written only when it changes: all threads read it.
    if retained.resident() != retained_bytes() {
        RETAINED_BYTES.store(retained.resident(), Ordering::Relaxed);
    }
}

/// Forgets what was retained and has not been used for long. `unused` is how much of it is unscanned.
pub fn decay(unused: usize) {
    if retained_bytes() > 0 {
        let now = retain::now();
        change(|retained| {
            retained.observe(unused, arena::in_use_bytes(), now);
        });
    }
}

/// Retains `bytes` less: somebody else maps as many. They go back with the next scans. `unused` as for `decay`.
pub fn give_up(bytes: usize, unused: usize) {
    if retained_bytes() > 0 && unused > 0 {
        change(|retained| {
            retained.give_up(bytes, unused);
        });
    }
}

/// Retains nothing.
pub fn forget_retained() {
    change(Retained::forget);
}
