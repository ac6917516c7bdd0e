//! The list of heaps: every heap there is.
//!
//! What it owns: which thread has which heap. A heap belongs to one thread at a time; the heap of a thread that ended is
//! *spare* until a new thread takes it, so that there are never more than there were threads at one time.
//!
//! ```text
//!   take              a thread gets a heap: a spare one, that of a thread that ended without giving it back, or a new one
//!   give_back         a thread ends
//!   hold_for_fork, release_after_fork
//!   rescue_orphans    in a forked child
//! ```
//!
//! What must hold: heaps enter the list under the lock of the spare ones, and none ever goes. They are never unmapped, so that a stale
//! pointer to one can still be locked and compared. A walk over them takes no lock, and holds nobody up.
//!
//! After a `fork` the child has only the thread that called it. The heaps of the others are *orphaned*: the
//! first thread of the child that would need new memory abandons their pools.
//!
//! The other threads may have something in hand without a lock at the moment of the fork, and the child does not find it: for each thread
//! the block that it is just allocating or freeing, and at most one pool that is new, claimed, vacant or adopted but on no list yet. A
//! pool whose free pages go back is longer in hand: its heap names it (`UsedPools::in_hand`), and the child abandons it too.

pub mod outside;

use super::abandoned::ABANDONED;
use super::active;
use super::heap::{self, Heap, HeapAndTable};
use super::release;
use crate::arena::ARENAS;
use crate::mapping::MAPPINGS;
use crate::os;
use crate::pool::retained::RETAINED;
use crate::sync::Lock;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Heaps of threads that ended that are looked for before a new one is mapped. With two, all have been looked at before they are half as many again.
const LOOKS: usize = 2;

/// The heap of the first thread, so that a process that never starts another maps none.
static FIRST: HeapAndTable = HeapAndTable::new();

/// The heap that entered last; the others follow by `next_heap`.
pub static LAST: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());

/// Heaps whose threads a fork has left behind.
static ORPHANS: AtomicUsize = AtomicUsize::new(0);

static SPARE: Lock<Spare> = Lock::new(Spare(ptr::null()));

/// See `layout`.
pub const LAYOUT: u64 = heap::LAYOUT;

/// The heaps that no thread has, linked by `next_spare`.
struct Spare(*const Heap);

// SAFETY: heaps are shared by design; the rest is guarded by the lock around the list.
unsafe impl Send for Spare {}

impl Spare {
    /// Takes one for the calling thread.
    fn take(&mut self) -> Option<&'static Heap> {
        // SAFETY: heaps are never unmapped.
        let heap = unsafe { self.0.as_ref() }?;
        // Relaxed, here and below: the lock is held.
        self.0 = heap.next_spare.load(Ordering::Relaxed);
        heap.resume_map();
        Self::mark_taken(heap);
        Some(heap)
    }

    /// Enters a new heap, which is the calling thread's.
    fn enter(&mut self, heap: &'static Heap) {
        Self::mark_taken(heap);
        heap.next_heap
            .store(LAST.load(Ordering::Relaxed), Ordering::Relaxed);
        // Release: whoever finds it finds what it leads to.
        LAST.store(ptr::from_ref(heap).cast_mut(), Ordering::Release);
    }

    fn mark_taken(heap: &Heap) {
        debug_assert!(!heap.taken.load(Ordering::Relaxed));
        heap.taken.store(true, Ordering::Relaxed);
        active::add_one();
    }

    /// Puts a heap in that owns no pool.
    fn add(&mut self, heap: &'static Heap) {
        debug_assert!(heap.taken.load(Ordering::Relaxed));
        heap.taken.store(false, Ordering::Relaxed);
        active::remove_one();
        heap.next_spare.store(self.0.cast_mut(), Ordering::Relaxed);
        self.0 = heap;
    }
}

/// Visits every heap that entered before.
pub fn each(mut visit: impl FnMut(&'static Heap)) {
    // Acquire: see `Spare::enter`.
    let mut next = LAST.load(Ordering::Acquire).cast_const();
    // SAFETY: heaps are never unmapped.
    while let Some(heap) = unsafe { next.as_ref() } {
        // Relaxed: written before the heap was entered.
        next = heap.next_heap.load(Ordering::Relaxed);
        visit(heap);
    }
}

// Threads that begin and end.

/// Takes a heap for the calling thread. `None` when the system has no memory.
pub fn take() -> Option<&'static Heap> {
    let mut spare = SPARE.lock();
    if let Some(heap) = spare.take() {
        return Some(heap);
    }
    // Relaxed: the lock is held.
    if LAST.load(Ordering::Relaxed).is_null() {
        let first = FIRST.begin();
        spare.enter(first);
        return Some(first);
    }
    drop(spare);
    if let Some(heap) = take_of_ended() {
        return Some(heap);
    }
    // Nobody waits for the system. A child that is forked before the heap is entered does not find it, and loses addresses.
    let heap = map_heap()?;
    SPARE.lock().enter(heap);
    Some(heap)
}

/// Takes the heap of a thread that ended without giving it back, if there is one among the next few, in turn.
fn take_of_ended() -> Option<&'static Heap> {
    static NEXT: AtomicPtr<Heap> = AtomicPtr::new(ptr::null_mut());
    for _ in 0..LOOKS {
        // Acquire and release, here and below: whoever finds a heap finds what it leads to. Where to go on is a hint.
        let next = NEXT.load(Ordering::Acquire);
        let next = match next.is_null() {
            true => LAST.load(Ordering::Acquire),
            false => next,
        };
        // SAFETY: heaps are never unmapped.
        let heap: &'static Heap = unsafe { next.as_ref() }?;
        NEXT.store(heap.next_heap.load(Ordering::Relaxed), Ordering::Release);
        if release::abandon_if_ended(heap) {
            heap.resume_map();
            return Some(heap);
        }
    }
    None
}

fn map_heap() -> Option<&'static Heap> {
    let size = os::round_to_pages(size_of::<HeapAndTable>())?;
    let start = os::map(ptr::null_mut(), size)?.as_ptr();
    // Of the table some pages are touched.
    os::no_huge_pages(start, size);
    let heap: *const HeapAndTable = start.cast();
    // SAFETY: fresh zeroed memory, aligned to pages, that is never unmapped; all zeroes is an unused heap.
    Some(unsafe { &*heap }.begin())
}

/// Takes the heap of a thread that ends: its pools are abandoned, and a new thread can take it.
pub fn give_back(heap: &'static Heap) {
    release::abandon_all(heap, false);
    SPARE.lock().add(heap);
}

/// The same for a thread that ended without giving its heap back, if this is the heap of one. True if it is.
pub fn take_back_if_ended(heap: &'static Heap) -> bool {
    let has_ended = release::abandon_if_ended(heap);
    if has_ended {
        SPARE.lock().add(heap);
    }
    has_ended
}

// Fork.

/// Holds every heap still across `fork`, in the order of locks. None enters meanwhile.
pub fn hold_for_fork() {
    SPARE.hold_for_fork();
    each(Heap::hold_for_fork);
    ABANDONED.hold_for_fork();
    MAPPINGS.hold_for_fork();
    ARENAS.hold_for_fork();
    RETAINED.hold_for_fork();
}

/// Ends `hold_for_fork`. In the child the heaps of all other threads are orphaned.
///
/// # Safety
/// Only in the thread that called it, whose heap is `own`, in the parent and in the child.
pub unsafe fn release_after_fork(own: Option<&Heap>, child: bool) {
    // SAFETY: passed on from the caller, for every lock.
    unsafe {
        RETAINED.release_after_fork();
        ARENAS.release_after_fork();
        MAPPINGS.release_after_fork();
        ABANDONED.release_after_fork();
        if child {
            orphan_all_but(own);
        }
        each(|heap| heap.release_after_fork());
        SPARE.release_after_fork();
    }
}

/// Marks the heaps of all threads but one as orphaned: there is no other in a child. Also that of a thread which was rescuing one itself.
fn orphan_all_but(own: Option<&Heap>) {
    let mut orphans = 0;
    each(|heap| {
        let is_own = own.is_some_and(|own| ptr::eq(own, heap));
        // Relaxed, here and below: the child has one thread.
        if !is_own && heap.taken.load(Ordering::Relaxed) {
            heap.orphaned.store(true, Ordering::Relaxed);
            heap.life.forget();
            orphans += 1;
        }
    });
    ORPHANS.store(orphans, Ordering::Relaxed);
}

/// Abandons the pools of all orphaned heaps, if there are any. The caller holds no lock.
#[inline]
pub fn rescue_orphans() {
    // Relaxed: set only while the process had one thread.
    if ORPHANS.load(Ordering::Relaxed) != 0 {
        rescue();
    }
}

#[cold]
#[inline(never)]
fn rescue() {
    each(|heap| {
        // Relaxed: which thread of the child does it is told by the swap, and what the lost thread left was there before any of them.
        if heap.orphaned.load(Ordering::Relaxed) && heap.orphaned.swap(false, Ordering::Relaxed) {
            ORPHANS.fetch_sub(1, Ordering::Relaxed);
            release::abandon_all(heap, true);
            SPARE.lock().add(heap);
        }
    });
}
