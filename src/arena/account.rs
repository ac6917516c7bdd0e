//! The accounts of slots: those of the arenas, and those that every floor may read without a lock; and the shares of what may stay resident that hang
//! on them.
//!
//! What must hold: whenever the lock of the arenas is free, what is read without it is what the arenas count (`Arenas::publish_slots`).

#[cfg(not(loom))]
use super::is_giving_back;
use super::{Arena, Arenas, USABLE_SLOTS};
use crate::conf;
use crate::geometry::SLOT_SHIFT;
#[cfg(not(loom))]
use crate::{mapping, retain};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Slots that are taken, of all arenas. Written under the lock.
pub static TAKEN_SLOTS: AtomicUsize = AtomicUsize::new(0);
/// Those of them that large runs take. The floor above counts them.
pub static LARGE_SLOTS: AtomicUsize = AtomicUsize::new(0);
/// Bytes of purged pages in slots that are taken. The floors above count them.
pub static PURGED_INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the pools that may be resident. Large runs do not count: nobody knows how much of them the program has touched.
pub fn resident_bytes() -> usize {
    // Relaxed, here and below: an account that others change meanwhile.
    let taken = TAKEN_SLOTS.load(Ordering::Relaxed);
    let pools = taken.saturating_sub(LARGE_SLOTS.load(Ordering::Relaxed));
    (pools << SLOT_SHIFT).saturating_sub(purged_inside())
}

/// Slots that are taken, or free and may hold pages, of all arenas. Written under the lock.
pub(super) static HELD_SLOTS: AtomicUsize = AtomicUsize::new(0);

impl Arenas {
    fn taken_slots(&self) -> usize {
        self.counts.live * USABLE_SLOTS - self.free_slots
    }

    /// Counts the free slots of an arena.
    pub(super) fn count(&mut self, arena: &Arena) {
        self.empty += usize::from(arena.is_empty());
        self.free_slots += arena.count();
        self.dirty_slots += arena.dirty_free().count_ones() as usize;
        self.lazy_slots += arena.lazy_free().count_ones() as usize;
    }

    /// The opposite of `count`.
    pub(super) fn uncount(&mut self, arena: &Arena) {
        self.empty -= usize::from(arena.is_empty());
        self.free_slots -= arena.count();
        self.dirty_slots -= arena.dirty_free().count_ones() as usize;
        self.lazy_slots -= arena.lazy_free().count_ones() as usize;
    }

    /// Tells those who look without the lock how many slots are taken, and how many of the free ones may hold pages. To be called by whatever
    /// has changed what is counted.
    pub(super) fn publish_slots(&self) {
        let taken = self.taken_slots();
        // Relaxed: an account.
        TAKEN_SLOTS.store(taken, Ordering::Relaxed);
        HELD_SLOTS.store(
            taken + self.dirty_slots + self.lazy_slots,
            Ordering::Relaxed,
        );
    }
}

/// All bytes that may be resident.
#[cfg(not(loom))]
fn held_bytes() -> usize {
    let slots = HELD_SLOTS.load(Ordering::Relaxed) << SLOT_SHIFT;
    slots.saturating_sub(purged_inside()) + mapping::held_bytes()
}

/// Has `give_up` give up what is retained if the process is about to hold more than ever before: `coming` bytes, beside what is counted
/// already. True if so.
#[cfg(not(loom))]
#[inline(never)]
pub fn before_new_memory(coming: usize, give_up: &mut dyn FnMut()) -> bool {
    let raises = retain::raises_the_peak(held_bytes() + coming, is_giving_back());
    if raises {
        give_up();
        retain::note_held(held_bytes() + coming);
    }
    raises
}

/// Bytes of all slots that are taken, but for purged pages: what is in use, and what is free in pools.
pub fn in_use_bytes() -> usize {
    (TAKEN_SLOTS.load(Ordering::Relaxed) << SLOT_SHIFT).saturating_sub(purged_inside())
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

/// Free slots may hold pages for this part (1/4) of `conf::RESIDENT_BUDGET`, as much as the loose pages in used pools (`heap::budget`)...
pub(super) const DIRTY_SHARE: (usize, usize) = (1, 4);
/// ... and for this part (1/2) of the share of what is in use that `conf::BUDGET_PART` allows.
pub(super) const DIRTY_PART: usize = 2;

/// Bytes that may stay without a live block: a share of `conf::RESIDENT_BUDGET`, and one `part` of what `conf::BUDGET_PART` allows of
/// the memory in use.
#[inline(never)]
pub fn allowance((share, of): (usize, usize), part: usize) -> usize {
    let fraction = match conf::BUDGET_PART.get() {
        0 => 0,
        budget_part => resident_bytes() / (budget_part * part),
    };
    (conf::RESIDENT_BUDGET.get() / of * share).saturating_add(fraction)
}
