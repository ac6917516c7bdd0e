//! How freed mappings go back to the system, and how what it refuses to unmap serves again.
//!
//! What must hold: a mapping on its way to the system is in no table. A stuck one has no pages.

use super::held::{count_held, uncount_held};
use super::mappings::{MAPPINGS, Mappings};
use super::part::split_start;
use crate::os;
use crate::registry::{Entry, Registry, lock_with_room};
use crate::sync::Guard;
use core::ptr::NonNull;

/// Locks the mappings, with room for one more block. `None` when the system has no memory for that.
pub(super) fn lock_with_room_for_block() -> Option<Guard<'static, Mappings>> {
    lock_with_room(&MAPPINGS, |mappings| &mut mappings.live, stuck_memory)
}

/// Locks the mappings, with room for one more stuck one. `None` when the system has no memory for that.
#[inline(never)]
fn lock_with_room_for_stuck() -> Option<Guard<'static, Mappings>> {
    loop {
        let mappings = lock_with_room(
            &MAPPINGS,
            |mappings| &mut mappings.stuck.by_start,
            stuck_memory,
        )?;
        if mappings.stuck.has_room() {
            return Some(mappings);
        }
        drop(mappings);
        lock_with_room(
            &MAPPINGS,
            |mappings| &mut mappings.stuck.by_end,
            stuck_memory,
        )?;
    }
}

/// Makes room for a stuck mapping in that mapping itself: there is no other memory. False when it is too small.
#[inline(never)]
fn make_room_in(stuck: &mut Entry) -> bool {
    let mut mappings = MAPPINGS.lock();
    let mut grow = |registry: &mut Registry| {
        if registry.has_room() {
            return Some(None);
        }
        let size = os::round_to_pages(registry.larger_size())?;
        if size >= stuck.size {
            return None;
        }
        let start = NonNull::new(split_start(stuck, size).address as *mut u8)?;
        // SAFETY: the start of a purged mapping that is in no table, and the caller's no more.
        Some(unsafe { registry.grow_into(start) })
    };
    let old = (
        grow(&mut mappings.stuck.by_start),
        grow(&mut mappings.stuck.by_end),
    );
    // The old tables go with the lock free.
    drop(mappings);
    matches!(old, (Some(_), Some(_)))
}

/// `bytes` that read as zeroes, out of a stuck mapping.
pub fn stuck_memory(bytes: usize) -> Option<NonNull<u8>> {
    take_stuck(os::round_to_pages(bytes)?, os::page_size())
}

/// Gives a freed mapping that is in no table back to the system. If it refuses to unmap it, the mapping is purged and serves again.
#[inline(never)]
pub fn return_to_system(entry: Entry) {
    uncount_held(entry.size);
    let_go(entry);
}

/// As `return_to_system`, for pages that are not counted as held. Nobody uses them any more, and the caller holds no lock.
#[inline(never)]
pub fn let_go(entry: Entry) {
    let mut whole = entry;
    let mut purged = false;
    loop {
        // SAFETY: mapped, in nobody's use, and in no table.
        if unsafe { os::try_unmap(whole.address as *mut u8, whole.size) } {
            return;
        }
        // SAFETY: as above.
        purged = purged || unsafe { os::purge(entry.address as *mut u8, entry.size) };
        // A mapping that can be neither unmapped nor purged nor entered stays mapped and unused.
        let room = purged.then(lock_with_room_for_stuck).flatten();
        let Some(mut mappings) = room else {
            if purged && make_room_in(&mut whole) {
                continue;
            }
            return;
        };
        let both = mappings.stuck.join(whole);
        if both == whole {
            return mappings.stuck.insert(whole);
        }
        // Together with its neighbours it may be all that the system sees as one mapping.
        whole = both;
    }
}

/// A block of at least `size` bytes out of a stuck mapping, for when the system maps no more.
pub fn allocate_stuck(size: usize) -> Option<NonNull<u8>> {
    let size = os::round_to_pages(size)?;
    let mut mappings = lock_with_room_for_block()?;
    let entry = mappings.stuck.take(size, os::page_size())?;
    mappings.enter(entry);
    drop(mappings);
    count_held(size);
    NonNull::new(entry.address as *mut u8)
}

/// `size` bytes out of a stuck mapping, at a multiple of `align`, for an arena. They read as zeroes, and are the caller's.
#[inline(never)]
pub fn take_stuck(size: usize, align: usize) -> Option<NonNull<u8>> {
    let entry = MAPPINGS.lock().stuck.take(size, align)?;
    NonNull::new(entry.address as *mut u8)
}
