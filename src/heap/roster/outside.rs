//! The heaps of another process, once its statics have been copied over these here (`outside::mirror`).

use super::*;

/// Forgets all heaps. Returns where in the other process the last one is, 0 for none.
pub fn forget() -> usize {
    let mut roster = ROSTER.lock();
    roster.spare = ptr::null();
    core::mem::replace(&mut roster.last, ptr::null()) as usize
}

/// Enters the copy of a heap. Returns where in the other process the next one is, 0 for none.
///
/// # Safety
/// There must be a heap at `heap`, or what another process said is one, and it must stay. Nobody asks for its slot map.
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
