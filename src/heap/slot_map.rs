//! The slot map: how a thread's `free` tells whether a pointer is a block of one of the thread's own pools.
//!
//! What it owns: which table a heap has, and when it gets a larger one. For every slot of the pools that a heap owns, its table (`table`) has an
//! entry, at the place that the slot's address selects: where the pool starts, how its blocks are told, and which bin takes them. For any address at
//! all, one multiplication and one comparison then decide whether it is the start of a block that was handed out, in a pool of this very heap:
//! ownership, validity and position together. Null, pointers to elsewhere and blocks of others all fail the same comparison.
//!
//! It is a cache of what the pools' headers say. Two pools whose slots select the same place are both served, one of them on
//! the slow path, where it *evicts* the other from its place. A void entry is always right.
//!
//! The table starts small, since each thread costs that much, and grows when evictions have cost more than a larger one does. The
//! larger one starts void: each pool enters it when its thread next frees into it. A heap whose thread has ended has its first table again, or one
//! not much larger.
//!
//! What must hold:
//! - An entry that is not void describes a pool that the heap owns, as its header does.
//! - Entries are changed under the heap's lock. The heap's thread reads them without it, and only that thread enters pools.
//! - Others make the entries of a pool void into which they have freed, with the heap's lock or with `posting`. The thread then comes by the heap's
//!   lock at its next free. If it reads the entry at that very moment, its free behaves as if it had come first, which is safe. A pool that others
//!   give back has no block left that the thread could free.
//! - Nobody reaches a table that is unmapped. Others reach it by the heap, under the heap's lock or under `posting`, and it is replaced under both.
//!   The heap's thread reaches it by a word of its own, which is set before the heap's lock is given back.

mod table;

use table::{FIRST_PLACES, Head};
pub use table::{FirstTable, MapPlace, SlotTable, VoidTable};

use super::active;
use super::bin::Bin;
use crate::arena;
use crate::geometry::SLOT_SIZE;
use crate::pool::Pool;
use crate::sync::{Lock, compiler_fence, fence};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// A table grows to this many times its size, or at once to one with a place for each slot that a thread has on average.
const GROWTH: usize = 4;

/// The largest: 2^22 slots of 16 KiB are 64 GiB, for 128 MiB of addresses, of which pages are touched where pools are.
const MOST_PLACES: usize = 1 << 22;

/// A larger table is worth as many evictions as a thread has slots on average: each of its pools enters it by a free that costs as much as one. It is
/// worth at least this many, and at most one for two places of the table. Measure `spread` of `c_tests/slot_map.c`.
const LEAST_EVICTIONS: usize = FIRST_PLACES / 2;

/// The tables of all threads, were they as large as the new one, may take this part (1/8) of what is resident in pools. Beyond that it must be worth
/// more evictions, in proportion: two pools of a small heap that collide by chance are to cost few addresses, but not to slow their thread down for
/// ever.
const TABLES_PART: usize = 8;

/// A heap without a thread keeps a table of at most this size for the next thread, which may be much like the last...
const KEPT_PLACES: usize = FIRST_PLACES * GROWTH;
/// ... as long as no more do: 2 MiB. Without it `thread-lifetimes` of `make bench`, on four threads, takes a sixth more page faults.
const MOST_KEPT: usize = 16;

/// Tables that heaps without threads keep.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Counts one more, if it may be kept.
fn keep_one() -> bool {
    // Relaxed: a number that nothing hangs on.
    let kept = KEPT.fetch_add(1, Ordering::Relaxed);
    if kept >= MOST_KEPT {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
    kept < MOST_KEPT
}

/// How many slots a thread has in pools, on average.
fn slots_of_a_thread() -> usize {
    arena::resident_bytes() / SLOT_SIZE / active::count()
}

/// The slot map of a heap. All zeroes: one that `start` must be called for.
pub struct SlotMap {
    /// The head of the table. Written by the heap's thread, or for a heap without one.
    table: AtomicPtr<Head>,
    /// The one that lies behind the heap. Written once.
    first: AtomicPtr<Head>,
    /// Held by whoever makes entries void without the heap's lock, and while the table is replaced.
    posting: Lock<()>,
    /// Evictions from now until a larger table is weighed. Changed by the heap's thread alone, as is what follows.
    patience: AtomicUsize,
    /// How often one was weighed against this table.
    weighings: AtomicUsize,
}

impl SlotMap {
    pub const fn none() -> Self {
        SlotMap {
            table: AtomicPtr::new(ptr::null_mut()),
            first: AtomicPtr::new(ptr::null_mut()),
            posting: Lock::new(()),
            patience: AtomicUsize::new(0),
            weighings: AtomicUsize::new(0),
        }
    }

    /// The heap gets its first table, before any thread has it.
    pub fn start(&self, first: SlotTable) {
        debug_assert!(self.first.load(Ordering::Relaxed).is_null());
        // Relaxed: the lock of the spare heaps passes the heap on.
        self.first
            .store(first.as_ptr().cast_mut(), Ordering::Relaxed);
        self.use_table(first);
    }

    /// The table. For whoever holds the heap's lock or `posting`, and for the heap's thread.
    pub fn table(&self) -> SlotTable {
        // Relaxed: whoever asks is ordered with whoever wrote it, by one of these locks or by being the same thread.
        // SAFETY: the table of the heap, which stays while the caller keeps it from being replaced.
        unsafe { SlotTable::from_ptr(self.table.load(Ordering::Relaxed)) }
    }

    /// From now on `table` is the table of the heap.
    fn use_table(&self, table: SlotTable) {
        // Relaxed: see `table`.
        self.table
            .store(table.as_ptr().cast_mut(), Ordering::Relaxed);
        self.weighings.store(0, Ordering::Relaxed);
        self.be_patient();
    }

    fn is_first(&self, table: SlotTable) -> bool {
        ptr::eq(table.as_ptr(), self.first.load(Ordering::Relaxed))
    }

    /// Replaces the table by one that is void. The caller holds the heap's lock, and is the heap's thread, or the heap has none. What it returns
    /// is to be let go (`let_go`) once that thread's own word is the new one.
    #[inline(never)]
    pub fn replace(&self, table: SlotTable) -> SlotTable {
        let _posting = self.posting.lock();
        let old = self.table();
        self.use_table(table);
        old
    }

    /// Unmaps a table that was replaced.
    ///
    /// # Safety
    /// The heap's thread must not read it any more.
    #[inline(never)]
    pub unsafe fn let_go(&self, old: SlotTable) {
        if !self.is_first(old) {
            // SAFETY: it was mapped, since it is not the first. Those who reach it by the heap do so under a lock that `replace` was called with.
            unsafe { old.unmap() };
        }
    }

    /// The heap's thread has ended, and the heap owns no pool any more: it has its first table again, or keeps one that is not much larger. The
    /// caller holds the heap's lock. A table that it returns is to be let go.
    pub fn rest(&self) -> Option<SlotTable> {
        let table = self.table();
        debug_assert!(table.is_void(), "the heap owns no pool");
        if self.is_first(table) || table.places() <= KEPT_PLACES && keep_one() {
            return None;
        }
        // SAFETY: the first table lies behind the heap, which is never unmapped.
        let first = unsafe { SlotTable::from_ptr(self.first.load(Ordering::Relaxed)) };
        // Its entries are those that it had when it was outgrown.
        first.clear();
        Some(self.replace(first))
    }

    /// The heap has a thread again. To be called by whoever takes it.
    pub fn resume(&self) {
        let table = self.table();
        debug_assert!(table.is_void(), "it rested");
        if !self.is_first(table) {
            // Relaxed: a number that nothing hangs on.
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether it is time to weigh a larger table. Only for the heap's thread.
    pub fn is_contested(&self) -> bool {
        // Relaxed, here and below: the thread's own.
        self.patience.load(Ordering::Relaxed) == 0
    }

    fn be_patient(&self) {
        let most = self.table().places() / 2;
        let patience = slots_of_a_thread().max(LEAST_EVICTIONS).min(most);
        self.patience.store(patience, Ordering::Relaxed);
    }

    fn count_eviction(&self) {
        let patience = self.patience.load(Ordering::Relaxed);
        self.patience
            .store(patience.saturating_sub(1), Ordering::Relaxed);
    }

    /// Weighs a larger table, and maps it if that is worth it: what it costs against the evictions so far. Only for the heap's thread, which holds no lock.
    #[cold]
    #[inline(never)]
    pub fn weigh_larger(&self, bins: *const Bin) -> Option<SlotTable> {
        debug_assert!(self.is_contested());
        self.be_patient();
        let weighings = self.weighings.load(Ordering::Relaxed) + 1;
        self.weighings.store(weighings, Ordering::Relaxed);
        let places = self.table().places();
        let larger = (places * GROWTH).max(slots_of_a_thread().next_power_of_two());
        let larger = larger.min(MOST_PLACES);
        let all = SlotTable::mapped_bytes(larger)?.saturating_mul(active::count());
        let allowed = (arena::resident_bytes() / TABLES_PART).saturating_mul(weighings);
        match larger > places && all <= allowed {
            // Without memory it stays as it is until it has been as patient again.
            true => SlotTable::map(larger, bins),
            false => None,
        }
    }

    /// Enters a pool of the heap, or what has changed of it. Only for the heap's thread, under the heap's lock.
    pub fn enter(&self, pool: &Pool, bin: &Bin) {
        if self.table().enter(pool, bin) {
            self.count_eviction();
        }
    }

    /// More blocks of a pool are carved than the `before` until now. A void entry stays void. Only for the heap's thread, under the heap's lock.
    #[inline(never)]
    pub fn extend(&self, pool: &Pool, before: u32) {
        self.table().extend(pool, before);
    }

    /// Makes the entries of a pool void into which a block was just posted. From any thread, without the heap's lock. The heap's thread, should it be
    /// entering the pool right now, most probably sees the block (`settle`). The pool may be gone by now, and another pool of the
    /// heap be in its place: that one enters again when the thread next comes by the lock for it.
    #[inline(never)]
    pub fn void_posted(&self, start: usize, slots: usize) {
        let _posting = self.posting.lock();
        // SeqCst. There is none in `settle`, where it would cost a tenth of the time of threads that claim many pools. So the void is lost if the owner
        // enters the pool in these very nanoseconds. Then the block waits as one does that `remote::concerns_owner` misses.
        fence(Ordering::SeqCst);
        self.table().void_entries(start, slots);
    }

    /// To be called after a pool was entered: its entries become void again if a block was posted meanwhile.
    pub fn settle(&self, pool: &Pool) {
        compiler_fence(Ordering::SeqCst);
        if pool.remote.count() > 0 {
            self.void(pool);
        }
    }

    /// Makes the entries of a pool void that the heap is about to give up, or in which remote frees wait. Under the heap's lock.
    #[inline(never)]
    pub fn void(&self, pool: &Pool) {
        self.table().void_entries(pool.start(), pool.slots());
    }

    pub fn hold_for_fork(&self) {
        self.posting.hold_for_fork();
    }

    /// # Safety
    /// Only in the thread that called `hold_for_fork`, in the parent and in the child.
    pub unsafe fn release_after_fork(&self) {
        // SAFETY: passed on from the caller.
        unsafe { self.posting.release_after_fork() }
    }
}
