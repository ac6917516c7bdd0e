//! The calling thread's heap, as its thread-local pointers say.

use super::sentinels::{SENTINELS, number_of_sentinel, sentinel};
use super::{derived, slot};
use crate::heap::{Heap, SlotTable};
use core::ptr;

/// The calling thread's heap, or a sentinel.
#[inline(always)]
pub fn current() -> &'static Heap {
    // SAFETY: the slot holds a sentinel or a heap, and neither is ever unmapped.
    unsafe { &*slot::heap() }
}

/// The table of its slot map, for the fast paths that need nothing else of the heap.
#[inline(always)]
pub fn slot_table() -> SlotTable {
    slot::table()
}

/// The heap for the functions that stand for others: a sentinel, too, until `link_derived` is called in this thread.
#[inline(always)]
pub fn current_for_derived() -> &'static Heap {
    // SAFETY: as above.
    unsafe { &*derived::heap() }
}

/// The table of the slot map of that.
#[inline(always)]
pub fn slot_table_for_derived() -> SlotTable {
    derived::table()
}

/// From now on the functions that stand for others use the calling thread's heap, if it has one.
#[inline]
pub fn link_derived() {
    #[cold]
    #[inline(never)]
    fn link() {
        if let Some(heap) = own() {
            derived::set(heap, slot::table());
        }
    }
    if !is_derived_linked() {
        link();
    }
}

#[inline]
fn is_derived_linked() -> bool {
    number_of_sentinel(derived::heap()).is_none()
}

/// Sets the pointers to a thread's heap and to the table of its slot map, and the second pair too where that is linked.
#[inline(never)]
pub(super) fn set_heap(heap: *const Heap, table: SlotTable) {
    slot::set(heap, table);
    if is_derived_linked() || number_of_sentinel(heap).is_some() {
        derived::set(heap, table);
    }
}

/// From now on the calling thread has no heap, but sentinel number `count`.
pub(super) fn become_sentinel(count: usize) {
    set_heap(sentinel(count), SlotTable::void(&SENTINELS.void));
}

/// Gives the slot map of the calling thread's heap a larger table if that is worth it. To be called at frees that the map does not serve.
#[inline]
pub fn widen_map_if_contested(heap: &Heap) {
    debug_assert!(ptr::eq(heap, current()));
    heap.widen_map_if_contested(|table| set_heap(heap, table));
}

/// The calling thread's heap, if it has one.
pub fn own() -> Option<&'static Heap> {
    let heap = current();
    number_of_sentinel(heap).is_none().then_some(heap)
}
