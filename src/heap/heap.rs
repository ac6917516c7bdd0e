//! A heap: its front, its usedpools behind a lock, and its place among the heaps.
//!
//! What it owns: the structure. What is done with it is in the files above: `refill`, `remote`, `scan`, `release`.
//!
//! What must hold: the thread that a heap belongs to uses the front without any lock or atomic read-modify-write. Every change to a list of
//! pools, and every other change to a pool of the heap, happens under the heap's lock. The heap's thread takes it when a bin is empty, or a
//! pool has an event. Others take it for the rare free that empties a pool of a thread that may be asleep, for `malloc_trim`, and for
//! `fork`. A heap is never unmapped.

use super::bin::Bin;
use super::budget::Turns;
use super::front::{self, Front};
use super::life::Life;
use super::slot_map::{FirstTable, SlotTable};
use super::supply;
use super::usedpools::UsedPools;
use crate::layout::{layout, mix};
use crate::pool::{Block, Owner};
use crate::size_class::CLASSES;
use crate::sync::{Guard, Lock};
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

#[repr(C, align(64))]
pub struct Heap {
    // All zeroes is a heap that nobody has used: a fresh mapping needs no initialisation, and a static one no place in
    // the file.
    pub(super) front: Front,
    used: Lock<UsedPools>,
    /// The heap that entered the list of heaps before this one. Written once.
    pub(super) next_heap: AtomicPtr<Heap>,
    /// The next spare heap, while this one is spare. Guarded by the lock of the spare ones.
    pub(super) next_spare: AtomicPtr<Heap>,
    /// Whether a thread has it.
    pub(super) taken: AtomicBool,
    /// In a forked child: its thread does not exist here.
    pub(super) orphaned: AtomicBool,
    /// Held by its thread as long as that lives.
    pub life: Life,
    /// Blocks that this thread freed into pools of others.
    remote_frees: AtomicUsize,
    /// The thread's slow paths, for `budget`.
    pub(super) turns: Turns,
    /// Whether its thread has stopped a scan that was due before it was done.
    owes_scans: AtomicBool,
}

// An owner is the address of a heap and of its front alike.
const _: () = assert!(offset_of!(Heap, front) == 0);

/// A heap, and behind it the first table of its slot map.
#[repr(C)]
pub struct HeapAndTable {
    heap: Heap,
    table: FirstTable,
}

impl HeapAndTable {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        HeapAndTable {
            heap: Heap::new(),
            table: FirstTable::zeroed(),
        }
    }

    /// The heap, which has its table from now on. To be called once, before anybody else can reach it.
    pub(super) fn begin(&'static self) -> &'static Heap {
        let front = &self.heap.front;
        front
            .map
            .start(SlotTable::first(&self.table, front.bins().as_ptr()));
        &self.heap
    }
}

/// See `layout`.
pub const LAYOUT: u64 = mix(&[
    front::LAYOUT,
    layout! {
        Heap { front, used, next_heap, taken, orphaned, remote_frees }
    },
]);

impl Heap {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Heap {
            front: Front::new(),
            used: Lock::new(UsedPools::none()),
            next_heap: AtomicPtr::new(ptr::null_mut()),
            next_spare: AtomicPtr::new(ptr::null_mut()),
            taken: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            life: Life::none(),
            remote_frees: AtomicUsize::new(0),
            turns: Turns::none(),
            owes_scans: AtomicBool::new(false),
        }
    }

    /// The heap as the owner that pools compare with.
    #[inline(always)]
    pub fn as_owner(&self) -> *const Owner {
        self.front.as_owner()
    }

    /// The heap that owns a pool, by the pool's word. `None` for a pool that no heap owns.
    pub(super) fn of_owner<'a>(owner: *const Owner) -> Option<&'a Heap> {
        // SAFETY: owners are heaps, and heaps are never unmapped.
        unsafe { owner.cast::<Heap>().as_ref() }
    }

    /// Takes a block of a class from its bin. Null when the bin is empty. Only for the heap's thread.
    #[inline(always)]
    pub fn pop(&self, class: usize) -> *mut u8 {
        self.front.pop(class)
    }

    /// The bins, by size class.
    pub(super) fn bins(&self) -> &[Bin; CLASSES] {
        self.front.bins()
    }

    /// Whether its thread has stopped a scan that was due before it was done.
    pub(super) fn owes_scans(&self) -> bool {
        // Relaxed, here and below: only the heap's thread asks and writes.
        self.owes_scans.load(Ordering::Relaxed)
    }

    pub(super) fn set_owes_scans(&self, owes: bool) {
        self.owes_scans.store(owes, Ordering::Relaxed);
    }

    // The lock.

    pub(super) fn lock(&self) -> Guard<'_, UsedPools> {
        self.used.lock()
    }

    pub(super) fn try_lock(&self) -> Option<Guard<'_, UsedPools>> {
        self.used.try_lock()
    }

    /// Gives the lock back, and then the vacant pools to their arenas. Returns the blocks of others' pools that waited for that, linked, for whoever
    /// frees them.
    #[must_use]
    #[inline]
    pub(super) fn unlock(&self, used: Guard<'_, UsedPools>) -> *const Block {
        match used.is_anything_waiting() {
            true => self.unlock_and_release(used),
            false => ptr::null(),
        }
    }

    /// The pools one at a time, so that a child that is forked meanwhile loses one at most.
    #[inline(never)]
    fn unlock_and_release<'a>(&'a self, mut used: Guard<'a, UsedPools>) -> *const Block {
        let foreign = used.take_foreign();
        while let Some((vacant, more)) = used.take_vacant() {
            drop(used);
            supply::release(vacant);
            if !more {
                return foreign;
            }
            used = self.lock();
        }
        foreign
    }

    // The slot map.

    /// The table of the heap's slot map. For the heap's thread, or one that takes the heap.
    pub fn slot_table(&self) -> SlotTable {
        self.front.map.table()
    }

    /// Gives the slot map a larger table when it is worth it: many pools have evicted each other. `publish` makes it the one
    /// that the thread reads. Only for the heap's thread, which holds no lock: nobody waits while the system maps.
    #[inline]
    pub fn widen_map_if_contested(&self, publish: impl FnOnce(SlotTable)) {
        let map = &self.front.map;
        if map.is_contested()
            && let Some(larger) = map.weigh_larger(self.bins().as_ptr())
        {
            self.widen_map(larger, publish);
        }
    }

    #[cold]
    #[inline(never)]
    fn widen_map(&self, larger: SlotTable, publish: impl FnOnce(SlotTable)) {
        let used = self.lock();
        let old = self.front.map.replace(larger);
        // Before the lock is given back: others then make void what is in the larger one alone.
        publish(larger);
        drop(used);
        // SAFETY: the calling thread is the heap's, and reads the larger one.
        unsafe { self.front.map.let_go(old) };
    }

    /// The heap's thread has ended, and its pools are gone: a large table goes back.
    pub(super) fn rest_map(&self) {
        let used = self.lock();
        let old = self.front.map.rest();
        drop(used);
        if let Some(old) = old {
            // SAFETY: the heap has no thread, so that none reads it.
            unsafe { self.front.map.let_go(old) };
        }
    }

    /// The heap has a thread again.
    pub(super) fn resume_map(&self) {
        self.front.map.resume();
    }

    // Figures.

    /// Blocks that this heap's threads freed into pools of others.
    pub fn remote_frees(&self) -> usize {
        // Acquire: see `news`. For others a statistic.
        self.remote_frees.load(Ordering::Acquire)
    }

    /// Counts one more, which is in its pool's list. Returns how many there were. Only for the heap's thread.
    pub(super) fn count_remote_free(&self) -> usize {
        // Relaxed, and no read-modify-write: only this thread writes it. Release: see `news`.
        let frees = self.remote_frees.load(Ordering::Relaxed);
        self.remote_frees.store(frees + 1, Ordering::Release);
        frees
    }

    // Fork.

    pub(super) fn hold_for_fork(&self) {
        self.used.hold_for_fork();
        self.front.map.hold_for_fork();
    }

    /// # Safety
    /// Only in the thread that called `hold_for_fork`, in the parent and in the child.
    pub(super) unsafe fn release_after_fork(&self) {
        // SAFETY: passed on from the caller, for both locks.
        unsafe {
            self.front.map.release_after_fork();
            self.used.release_after_fork();
        }
    }
}
