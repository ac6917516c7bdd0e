//! The roster: every heap there is. A heap belongs to one thread at a time; the heap of a thread that ended is
//! spare until a new thread takes it. Heaps are never unmapped, so that a stale pointer to one can still be locked
//! and compared, and there are never more than threads at one time.
//!
//! After a `fork` the child has only the thread that called it. The heaps of the others are *orphaned*; the
//! first thread of the child that would need new memory leaves their pools to everyone.

#[cfg(feature = "watch")]
pub mod outside;

use super::usedpools::{self, ABANDONED, Heap, HeapAndTable, purge_abandoned};
use crate::arena;
use crate::layout::{layout, mix};
use crate::mapping;
use crate::os;
use crate::pool::pages;
use crate::size_class::CLASSES;
use crate::sync::Lock;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The heap of the first thread, so that a process that never starts another maps none.
static FIRST: HeapAndTable = HeapAndTable::new();

pub struct Roster {
    /// The heap that entered last; the others follow by `next_in_roster`.
    last: *const Heap,
    spare: *const Heap,
}

// SAFETY: heaps are shared by design; the rest is guarded by the lock around the roster.
unsafe impl Send for Roster {}

pub static ROSTER: Lock<Roster> = Lock::new(Roster {
    last: ptr::null(),
    spare: ptr::null(),
});

/// See `layout`.
pub const LAYOUT: u64 = mix(&[
    layout! { Roster { last } Lock<Roster> {} },
    super::bin::LAYOUT,
    usedpools::LAYOUT,
]);

/// Heaps that threads have.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// How many threads have heaps: at least the one that asks.
pub fn sharers() -> usize {
    // Relaxed: a hint.
    TAKEN.load(Ordering::Relaxed).max(1)
}

/// Heaps whose threads a fork has left behind.
static ORPHANS: AtomicUsize = AtomicUsize::new(0);

impl Roster {
    fn enter(&mut self, heap: &'static Heap) {
        // Relaxed: the lock is held.
        heap.next_in_roster
            .store(self.last.cast_mut(), Ordering::Relaxed);
        self.last = heap;
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

    fn make_spare(&mut self, heap: &'static Heap) {
        // Relaxed: the lock is held.
        heap.taken.store(false, Ordering::Relaxed);
        TAKEN.fetch_sub(1, Ordering::Relaxed);
        heap.next_spare
            .store(self.spare.cast_mut(), Ordering::Relaxed);
        self.spare = heap;
    }

    fn each(&self, mut visit: impl FnMut(&'static Heap)) {
        let mut next = self.last;
        // SAFETY: heaps are never unmapped.
        while let Some(heap) = unsafe { next.as_ref() } {
            // Relaxed: the lock is held.
            next = heap.next_in_roster.load(Ordering::Relaxed);
            visit(heap);
        }
    }
}

/// Takes a heap for the calling thread. `None` when the system has no memory.
pub fn take() -> Option<&'static Heap> {
    let mut roster = ROSTER.lock();
    // SAFETY: heaps are never unmapped.
    let heap = if let Some(spare) = unsafe { roster.spare.as_ref() } {
        // Relaxed, here and below: the lock is held.
        roster.spare = spare.next_spare.load(Ordering::Relaxed);
        spare.resume_map();
        spare
    } else if roster.last.is_null() {
        let first = FIRST.begin();
        roster.enter(first);
        first
    } else {
        let heap = Roster::map_heap()?;
        roster.enter(heap);
        heap
    };
    heap.taken.store(true, Ordering::Relaxed);
    TAKEN.fetch_add(1, Ordering::Relaxed);
    Some(heap)
}

/// Takes the heap of a thread that ends: its pools are left to others, and a new thread can take it.
pub fn give_back(heap: &'static Heap) {
    heap.leave_all(false);
    heap.rest_map();
    let mut roster = ROSTER.lock();
    roster.make_spare(heap);
}

/// Leaves the pools of all orphaned heaps to everyone. False when there are none. The caller holds no lock.
#[inline(never)]
pub fn rescue_orphans() -> bool {
    // Relaxed: set only while the process had one thread.
    if ORPHANS.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let mut roster = ROSTER.lock();
    let mut next = roster.last;
    // SAFETY: heaps are never unmapped.
    while let Some(heap) = unsafe { next.as_ref() } {
        next = heap.next_in_roster.load(Ordering::Relaxed);
        if heap.orphaned.swap(false, Ordering::Relaxed) {
            heap.leave_all(true);
            heap.rest_map();
            roster.make_spare(heap);
        }
    }
    ORPHANS.store(0, Ordering::Relaxed);
    true
}

/// Gives empty pools of all heaps back to their arenas; `own` is the calling thread's. True when there were any.
pub fn trim(own: Option<&Heap>) -> bool {
    rescue_orphans();
    let roster = ROSTER.lock();
    let mut returned = false;
    roster.each(|heap| {
        returned |= heap.trim(own.is_some_and(|own| ptr::eq(own, heap)));
    });
    drop(roster);
    for class in 1..CLASSES {
        returned |= purge_abandoned(class, &mut { usize::MAX }, |_| true);
    }
    pages::forget_retained();
    returned
}

/// Whether something is so of any heap.
pub fn is_any(mut is_so: impl FnMut(&Heap) -> bool) -> bool {
    let mut found = false;
    ROSTER.lock().each(|heap| found = found || is_so(heap));
    found
}

/// Figures about heaps.
pub struct Counts {
    /// Heaps that threads have.
    pub live: usize,
    /// Heaps that wait for a thread.
    pub spare: usize,
    /// Blocks freed by threads that did not own their pool.
    pub remote_frees: usize,
    /// Blocks in bins, by size class.
    pub in_bins: [usize; CLASSES],
}

/// Counts the heaps.
pub fn counts() -> Counts {
    let mut counts = Counts {
        live: 0,
        spare: 0,
        remote_frees: 0,
        in_bins: [0; CLASSES],
    };
    ROSTER.lock().each(|heap| {
        // Relaxed: the lock is held.
        let taken = heap.taken.load(Ordering::Relaxed);
        counts.live += usize::from(taken);
        counts.spare += usize::from(!taken);
        counts.remote_frees += heap.remote_frees();
        for (count, bin) in counts.in_bins.iter_mut().zip(heap.bins()) {
            *count += bin.len();
        }
    });
    counts
}

/// Holds every heap still across `fork`, in the order of locks.
pub fn hold_for_fork() {
    ROSTER.hold_for_fork();
    with_held(|roster| roster.each(Heap::hold_for_fork));
    ABANDONED.hold_for_fork();
    mapping::hold_for_fork();
    arena::hold_for_fork();
    pages::hold_for_fork();
}

fn with_held(act: impl FnOnce(&Roster)) {
    // SAFETY: called only by the thread that holds the roster across `fork`.
    act(unsafe { ROSTER.held() })
}

/// Ends `hold_for_fork`. In the child the heaps of all other threads are orphaned.
///
/// # Safety
/// Only in the thread that called it, whose heap is `own`, in the parent and in the child.
pub unsafe fn release_after_fork(own: Option<&Heap>, child: bool) {
    // SAFETY: passed on from the caller, for every lock.
    unsafe {
        pages::release_after_fork();
        arena::release_after_fork();
        mapping::release_after_fork();
        ABANDONED.release_after_fork();
        with_held(|roster| {
            roster.each(|heap| {
                heap.release_after_fork();
                let is_own = own.is_some_and(|own| ptr::eq(own, heap));
                // Relaxed: the child has one thread.
                if child && !is_own && heap.taken.load(Ordering::Relaxed) {
                    heap.orphaned.store(true, Ordering::Relaxed);
                    ORPHANS.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        ROSTER.release_after_fork();
    }
}
