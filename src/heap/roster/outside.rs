//! The heaps of another process, once its statics have been copied over these here (`outside::mirror`).

use super::*;

/// Bytes of a heap without its slot map, which is not looked at.
pub const HEAD: usize = usedpools::HEAD;

/// Forgets all heaps. Returns where in the other process the last one is, 0 for none.
pub fn forget() -> usize {
    let mut roster = ROSTER.lock();
    roster.spare = ptr::null();
    core::mem::replace(&mut roster.last, ptr::null()) as usize
}

/// Enters the copy of a heap. Returns where in the other process the next one is, 0 for none.
///
/// # Safety
/// There must be room for a heap at `heap`, its head initialised and the rest by zeroes at least, and it must stay.
pub unsafe fn enter(heap: *const u8) -> usize {
    // SAFETY: passed on from the caller.
    let heap: &'static Heap = unsafe { &*heap.cast() };
    let mut roster = ROSTER.lock();
    // Relaxed: the lock is held.
    let next = heap
        .next_in_roster
        .swap(roster.last.cast_mut(), Ordering::Relaxed);
    roster.last = heap;
    next as usize
}
