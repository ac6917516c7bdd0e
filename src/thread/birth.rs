//! A thread gets its heap, and gives it back when it ends.
//!
//! What it owns: the pthread key whose destructor tells that a thread ends.

use super::current::{become_sentinel, current, set_heap};
use super::fork::handle_forks;
use super::sentinels::{FREES_WITHOUT_HEAP, number_of_sentinel};
use crate::heap::{Heap, heaps};
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

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
