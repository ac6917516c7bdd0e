//! A thread's heap: birth, exit, fork.
//!
//! What it owns: the thread-local pointers to the heap and to the table of its slot map (`slot`), the pthread key whose destructor tells that a thread
//! ends, and the fork handlers (`fork`).
//!
//! The pointers of a thread that has no heap yet lead to a *sentinel*, a heap with empty bins, and to a table that shows
//! no pool. So the fast paths need no test for first use. A thread that has ended (its key's destructor has run) gets
//! another sentinel: it frees without a heap from then on, and when it still allocates, a
//! heap is borrowed for the one call.

mod derived;
mod fork;
mod slot;

pub use fork::handle_forks;

use crate::heap::{Heap, SlotTable, VoidTable, heaps};
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Frees that a thread may make before it gets a heap. More than the C library makes for a thread that never allocates and whose
/// destructors have all run: that thread would never give its heap back.
const FREES_WITHOUT_HEAP: usize = 8;

/// How far sentinels are apart, in bytes.
const STEP: usize = align_of::<Heap>();

/// The sentinels, in the memory of little more than one: they are all zeroes and never written, and only their addresses differ. The
/// first ones count the frees of a thread that has no heap yet; the last is for threads that have none any more.
#[repr(C, align(64))]
struct Sentinels {
    not_yet: Heap,
    rest: [u8; FREES_WITHOUT_HEAP * STEP],
    /// The table of all of them.
    void: VoidTable,
}

static SENTINELS: Sentinels = Sentinels {
    not_yet: Heap::new(),
    rest: [0; FREES_WITHOUT_HEAP * STEP],
    void: VoidTable::new(),
};

/// Sentinel number `count`.
fn sentinel(count: usize) -> *const Heap {
    (&raw const SENTINELS.not_yet).wrapping_byte_add(count * STEP)
}

/// Which sentinel a thread has for a heap, if it is one.
fn number_of_sentinel(heap: *const Heap) -> Option<usize> {
    let distance = (heap as usize).wrapping_sub(sentinel(0) as usize);
    (distance <= FREES_WITHOUT_HEAP * STEP).then_some(distance / STEP)
}

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
fn set_heap(heap: *const Heap, table: SlotTable) {
    slot::set(heap, table);
    if is_derived_linked() || number_of_sentinel(heap).is_some() {
        derived::set(heap, table);
    }
}

/// From now on the calling thread has no heap, but sentinel number `count`.
fn become_sentinel(count: usize) {
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

/// The calling thread's heap, which is made if this is its first use. `None` when the system has no memory,
/// and for a thread that has ended.
fn own_or_birth() -> Option<&'static Heap> {
    match number_of_sentinel(current()) {
        None => Some(current()),
        Some(FREES_WITHOUT_HEAP) => None,
        Some(_) => birth(),
    }
}

/// The same for a thread that frees a block: its first few frees do not make it a heap.
pub fn own_for_free() -> Option<&'static Heap> {
    match number_of_sentinel(current()) {
        None => Some(current()),
        Some(FREES_WITHOUT_HEAP) => None,
        Some(count) if count + 1 < FREES_WITHOUT_HEAP => {
            become_sentinel(count + 1);
            None
        }
        Some(_) => birth(),
    }
}

/// Runs `work` with a heap: the thread's own, or a borrowed one. `None` when the system has no memory for one.
#[cold]
pub fn with_heap<R>(work: impl FnOnce(&Heap) -> R) -> Option<R> {
    if let Some(heap) = own_or_birth() {
        return Some(work(heap));
    }
    if number_of_sentinel(current()) != Some(FREES_WITHOUT_HEAP) {
        return None;
    }
    let heap = heaps::take()?;
    let result = work(heap);
    heaps::give_back(heap);
    Some(result)
}

/// The calling thread gets a heap.
fn birth() -> Option<&'static Heap> {
    let heap = heaps::take()?;
    set_heap(heap, heap.slot_table());
    // From here on the thread can allocate, which the C library does to register the handlers, and to set the key when that is
    // not one of the first 32.
    handle_forks();
    if let Some(key) = exit_key() {
        // SAFETY: the key exists; the value is only ever given to `exit`.
        unsafe { libc::pthread_setspecific(key, ptr::from_ref(heap).cast()) };
    }
    // In the last round of destructors the key's does not run any more.
    heap.life.begin();
    Some(heap)
}

/// The key whose destructor is `exit`. Made on first use, which can come before the library's own initialisation. `None`
/// when the process has used up its keys: threads then end without giving their heap back, and others take it from them (`heap::life`).
fn exit_key() -> Option<libc::pthread_key_t> {
    /// The key plus one; 0 until it is made.
    static KEY: AtomicU32 = AtomicU32::new(0);
    // Acquire and release: a key is used by other threads once it is seen here.
    let known = KEY.load(Ordering::Acquire);
    if known != 0 {
        return Some(known - 1);
    }
    let mut key = 0;
    // SAFETY: `key` is a valid place.
    if unsafe { libc::pthread_key_create(&mut key, Some(exit)) } != 0 {
        return None;
    }
    match KEY.compare_exchange(0, key + 1, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(key),
        Err(other) => {
            // SAFETY: just made, and never set.
            unsafe { libc::pthread_key_delete(key) };
            Some(other - 1)
        }
    }
}

/// The thread ends: its heap goes back to the list of heaps. Other keys' destructors, and the C library, may free and
/// allocate after this.
unsafe extern "C" fn exit(heap: *mut c_void) {
    become_sentinel(FREES_WITHOUT_HEAP);
    // SAFETY: the value was set by `birth`, and heaps are never unmapped.
    let heap = unsafe { &*heap.cast::<Heap>() };
    heap.life.end();
    heaps::give_back(heap);
}
