//! The heaps of another process, once its statics have been copied over these here (`outside::mirror`).

use super::*;

/// Forgets all heaps. Returns where in the other process the last one is, 0 for none.
pub fn forget() -> usize {
    // Relaxed, here and below: one thread looks.
    LAST.swap(ptr::null_mut(), Ordering::Relaxed) as usize
}

/// Enters the copy of a heap. Returns where in the other process the next one is, 0 for none.
///
/// # Safety
/// There must be a heap at `heap`, or what another process said is one, and it must stay. Nobody asks for its slot map.
pub unsafe fn enter(heap: *const u8) -> usize {
    // SAFETY: passed on from the caller.
    let heap: &'static Heap = unsafe { &*heap.cast() };
    let next = heap
        .next_heap
        .swap(LAST.load(Ordering::Relaxed), Ordering::Relaxed);
    LAST.store(ptr::from_ref(heap).cast_mut(), Ordering::Relaxed);
    next as usize
}
