//! How freed mappings are kept, and how they decay.
//!
//! What must hold: a system call about a mapping is made while the mapping is in no table, with the lock free.

use super::back::return_to_system;
use super::cache::Kept;
use super::mappings::MAPPINGS;
use crate::budget::KEPT_FOR_OWN;
use crate::os;

/// Keeps a freed mapping that is in no table, lazily if it may not stay resident.
#[inline(never)]
pub fn keep(mut kept: Kept) {
    let mut mappings = MAPPINGS.lock();
    loop {
        // Unmapping takes long, and others must not wait for it: one mapping at a time, with the lock free in between.
        let surplus = mappings
            .surplus(kept.whole.size)
            // Not counted as given back: to keep more bytes would not have made a place.
            .or_else(|| mappings.cache.take_if_full(&kept));
        if let Some(entry) = surplus {
            drop(mappings);
            return_to_system(entry);
            mappings = MAPPINGS.lock();
            continue;
        }
        let resident = mappings.cache.resident_bytes() + kept.whole.size - kept.lazy;
        let over = resident.saturating_sub(mappings.resident_capacity());
        if over == 0 {
            mappings.cache.keep(kept);
            return mappings.observe(true);
        }
        // The oldest becomes lazy: the newest is the first to serve again.
        let oldest = mappings.cache.take_oldest_resident();
        drop(mappings);
        match oldest.map(|oldest| made_lazy(oldest, over)) {
            Some(oldest) => oldest.into_iter().for_each(keep_lazy),
            None => match made_lazy(kept, over) {
                Some(lazy) => kept = lazy,
                None => return,
            },
        }
        mappings = MAPPINGS.lock();
    }
}

/// Puts a lazy mapping back into the cache, as the oldest.
#[inline(never)]
fn keep_lazy(lazy: Kept) {
    let mut mappings = MAPPINGS.lock();
    // Others may have taken its place meanwhile.
    let full = mappings.cache.take_if_full(&lazy);
    mappings.cache.keep_oldest(lazy);
    drop(mappings);
    if let Some(entry) = full {
        return_to_system(entry);
    }
}

/// Makes `bytes` more of a freed mapping lazy, which is in no table. If the system refuses, the mapping goes back: `None`.
#[inline(never)]
fn made_lazy(kept: Kept, bytes: usize) -> Option<Kept> {
    let (range, lazier) = kept.more_lazy(os::round_to_pages(bytes).unwrap_or(usize::MAX));
    // SAFETY: a part of a freed mapping that is in no table.
    if unsafe { os::free_lazily(range.address as *mut u8, range.size) } {
        return Some(lazier);
    }
    return_to_system(kept.whole);
    None
}

/// Gives back mappings that may not stay, one by one, with the lock free.
#[inline(never)]
fn give_back_surplus() {
    loop {
        let Some(entry) = MAPPINGS.lock().surplus(0) else {
            return;
        };
        return_to_system(entry);
    }
}

/// Forgets wanted memory that has not been used for long, and gives it back.
pub fn decay() {
    MAPPINGS.lock().observe(false);
    give_back_surplus();
}

/// Retains `bytes` less here, and gives them back: somebody else is about to map as many. They would have stayed: so they do not
/// count as given back.
#[inline(never)]
pub fn give_up(bytes: usize) {
    let mut left = MAPPINGS.lock().give_up(bytes);
    while left > 0 {
        let Some(entry) = MAPPINGS.lock().give_back(left, false, false) else {
            return;
        };
        left = left.saturating_sub(entry.size);
        return_to_system(entry);
    }
}

/// As `give_up`, for a block that is a mapping itself: some of the freed ones may serve it soon.
pub fn give_up_for_own(bytes: usize) {
    let cached = MAPPINGS.lock().cache.bytes;
    give_up(bytes.min(cached.saturating_sub(KEPT_FOR_OWN)));
}

/// Unmaps every freed mapping. True when there was one.
pub fn trim() -> bool {
    let mut returned = false;
    loop {
        let mut mappings = MAPPINGS.lock();
        let Some(oldest) = mappings.cache.take_oldest() else {
            mappings.retained.forget();
            return returned;
        };
        drop(mappings);
        return_to_system(oldest);
        returned = true;
    }
}
