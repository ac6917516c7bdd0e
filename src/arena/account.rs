//! The accounts of slots that every floor may read without a lock.
//!
//! What must hold: whenever the lock of the arenas is free, they say what the arenas count (`Arenas::publish_slots`).

use crate::budget::Share;
use crate::geometry::SLOT_SHIFT;
use crate::sync::SharedWord;
use crate::{mapping, retain};
use core::sync::atomic::{AtomicBool, Ordering};

/// Slots that are taken, of all arenas. Written under the lock.
pub static TAKEN_SLOTS: SharedWord = SharedWord::named("taken slots");
/// Those of them that large runs take. The floor above counts them.
pub static LARGE_SLOTS: SharedWord = SharedWord::named("slots of large runs");
/// Bytes of purged pages in slots that are taken. The floors above count them.
pub static PURGED_INSIDE: SharedWord = SharedWord::named("bytes purged in pools");

/// Bytes of the pools that may be resident. Large runs do not count: nobody knows how much of them the program has touched.
pub fn resident_bytes() -> usize {
    // Relaxed, here and below: an account that others change meanwhile.
    let taken = TAKEN_SLOTS.load(Ordering::Relaxed);
    let pools = taken.saturating_sub(LARGE_SLOTS.load(Ordering::Relaxed));
    (pools << SLOT_SHIFT).saturating_sub(purged_inside())
}

/// Slots that are taken, or free and may hold pages, of all arenas. Written under the lock.
pub(super) static HELD_SLOTS: SharedWord = SharedWord::named("slots that may hold pages");

/// Tells how many slots are taken, and how many of the free ones may hold pages. With the lock of the arenas held.
pub(super) fn publish(taken: usize, free_with_pages: usize) {
    // Relaxed: an account.
    TAKEN_SLOTS.store(taken, Ordering::Relaxed);
    HELD_SLOTS.store(taken + free_with_pages, Ordering::Relaxed);
}

/// Whether there is more to go back than may stay. Changed under the lock.
static GIVING_BACK: AtomicBool = AtomicBool::new(false);

/// Whether there is more to go back than may stay.
pub fn is_giving_back() -> bool {
    // Relaxed: a hint to come by.
    GIVING_BACK.load(Ordering::Relaxed)
}

pub(super) fn set_giving_back(giving_back: bool) {
    // Relaxed: the lock is held. Not written when nothing changes, since every slow path reads it.
    if is_giving_back() != giving_back {
        GIVING_BACK.store(giving_back, Ordering::Relaxed);
    }
}

/// All bytes that may be resident.
fn held_bytes() -> usize {
    let slots = HELD_SLOTS.load(Ordering::Relaxed) << SLOT_SHIFT;
    slots.saturating_sub(purged_inside()) + mapping::held_bytes()
}

/// Calls `give_up` if the process is about to hold more than ever before: `coming` bytes, beside those that are counted
/// already. True if so.
#[inline(never)]
pub fn before_new_memory(coming: usize, give_up: &mut dyn FnMut()) -> bool {
    let raises = retain::raises_the_peak(held_bytes() + coming, is_giving_back());
    if raises {
        give_up();
        retain::note_held(held_bytes() + coming);
    }
    raises
}

/// Bytes of all slots that are taken, but for purged pages: those in use, and those free in pools.
pub fn in_use_bytes() -> usize {
    (TAKEN_SLOTS.load(Ordering::Relaxed) << SLOT_SHIFT).saturating_sub(purged_inside())
}

/// The bytes of a share of the resident budget.
#[inline(never)]
pub fn allowance(share: Share) -> usize {
    share.bytes(resident_bytes())
}

/// Counts the slots of a large run that was taken, or grew.
pub fn add_large(slots: usize) {
    LARGE_SLOTS.fetch_add(slots, Ordering::Relaxed);
}

/// Counts the slots of a large run that is given back, or shrank.
pub fn subtract_large(slots: usize) {
    LARGE_SLOTS.fetch_sub(slots, Ordering::Relaxed);
}

/// Bytes of purged pages in slots that are taken.
pub fn purged_inside() -> usize {
    PURGED_INSIDE.load(Ordering::Relaxed)
}

/// Counts bytes in taken slots that were purged.
pub fn add_purged_inside(bytes: usize) {
    PURGED_INSIDE.fetch_add(bytes, Ordering::Relaxed);
}

/// Counts bytes that are about to be used again, or whose slots go back.
pub fn subtract_purged_inside(bytes: usize) {
    PURGED_INSIDE.fetch_sub(bytes, Ordering::Relaxed);
}
