//! Loom checks of what several threads do with one pool: the code that ships, from the slow paths of `malloc` and `free` down to the remote word.
//!
//! Loom runs every order of the threads' steps. Locks, and the atomics that `crate::sync` exports, are loom's (`sync::modelled`): for each load of
//! these it tries every value that the memory model allows. Words of `core::sync::atomic` are memory as it is: the state of a pool, its
//! counts of blocks, the links of blocks, bins. Loom neither stops at these nor gives stale values of them.
//!
//! What stands for something else:
//! - `supply`: one pool. Arenas are mapped, and would outlive a run.
//! - `Thread::allocate` and `Thread::free`: the fast paths, which find their heap by a word of the thread. Loom's threads share that of one.
//! - The list of heaps: a thread has the heap that its check gives it. Heaps are mapped too.
//! - `cpu`: the portable versions of the single instructions. The clock: nothing decays. `sync::waiters` has checks of its own.
//! - Constants under `cfg!(loom)`: few blocks in a pool, a small slot map, few looks and tries, so that a run is short.
//!
//! What must hold, and how it is seen:
//! - A pool has one owner at a time, who finds its private fields as the last one left them (`owner_reads`, `owner_writes`).
//! - Whoever gets a block finds what the one who freed it wrote: likewise.
//! - Nobody looks at a pool after it was released (`modelled::release`).
//! - Every block is in exactly one place in the end (`Thread::finish`).
//!
//! A check also names the states that the pool must have ended in, in one run or another, so that none holds merely because nothing happened.

mod checks;

use super::abandoned::ABANDONED;
use super::heap::{Heap, HeapAndTable};
use super::{active, release, remote, scan, slow_paths, supply, verify};
use crate::geometry::{ARENA_SIZE, HEADER_SHIFT, HEADER_SIZE, SLOT_SIZE};
use crate::pool::{Block, Pool, State};
use crate::size_class::{self, TABLE};
use crate::sync::{modelled, owner_writes};
use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeSet;
use std::ptr;
use std::sync::{Arc, Mutex};

/// The pool has few blocks, so that it is soon full and soon empty, and is one slot, so that the slot map has one entry for it.
const BLOCKS: usize = 4;
const BLOCK_SIZE: usize = SLOT_SIZE / BLOCKS;

fn class() -> usize {
    size_class::of(BLOCK_SIZE)
}

/// The slot at which the pool starts.
const SLOT: usize = 8;

/// Threads with a heap, at most.
const HEAPS: usize = 3;

/// Memory laid out as an arena, and the heaps behind it.
struct Place(*mut u8);

// SAFETY: what is there is shared by atomics and locks.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    const LAYOUT: Layout =
        match Layout::from_size_align(ARENA_SIZE + HEAPS * size_of::<HeapAndTable>(), ARENA_SIZE) {
            Ok(layout) => layout,
            Err(_) => panic!(),
        };

    fn new() -> Self {
        // SAFETY: the size is not 0.
        let base = unsafe { alloc_zeroed(Self::LAYOUT) };
        assert!(!base.is_null());
        Place(base)
    }

    /// A run begins: everything is as it was mapped.
    fn begin_run(&self) -> (&'static Pool, &'static [HeapAndTable; HEAPS]) {
        let header = self.0.wrapping_add(SLOT << HEADER_SHIFT);
        let heaps = self.0.wrapping_add(ARENA_SIZE);
        modelled::begin_run(header as usize, HEADER_SIZE);
        // SAFETY: inside the memory, aligned, and used by the run at hand alone, which ends before the memory does. Zeroes are a vacant pool, and heaps that
        // nobody has used.
        unsafe {
            header.write_bytes(0, HEADER_SIZE);
            heaps.write_bytes(0, HEAPS * size_of::<HeapAndTable>());
            (Pool::at(header), &*heaps.cast())
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and no run is left.
        unsafe { dealloc(self.0, Self::LAYOUT) };
    }
}

/// What the pool was in the end, over all runs of a check.
type Ends = Arc<Mutex<BTreeSet<String>>>;

/// Explores all runs of `run` in which threads are preempted at most `preemptions` times (two show each failure that was put in to
/// try the checks; `LOOM_MAX_PREEMPTIONS` overrides it). `run` gets the owner of a used pool whose blocks are all in
/// use, and whose bin takes none. Each of `expected` must be met in one of the runs, and nothing else.
fn check(preemptions: usize, expected: &[&str], run: impl Fn(Thread) + Send + Sync + 'static) {
    check_carved(BLOCKS, preemptions, expected, run);
}

/// The same with a pool of which `carved` blocks are carved, and in use. If not all are, its next event is when it is empty.
fn check_carved(
    carved: usize,
    preemptions: usize,
    expected: &[&str],
    run: impl Fn(Thread) + Send + Sync + 'static,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    let ends = Ends::default();
    let place = Place::new();
    let met = ends.clone();
    builder.check(move || run(Thread::first(&place, carved, met.clone())));
    let expected = expected.iter().map(|end| end.to_string()).collect();
    assert_eq!(*ends.lock().unwrap(), expected);
}

/// A thread, and what it can do.
#[derive(Clone)]
struct Thread {
    pool: &'static Pool,
    heaps: [&'static Heap; HEAPS],
    /// Its own, if it has one.
    heap: Option<&'static Heap>,
    ends: Ends,
}

impl Thread {
    fn first(place: &Place, carved: usize, ends: Ends) -> Self {
        assert_eq!(
            (TABLE[class()].slots, TABLE[class()].blocks),
            (1, BLOCKS as u32)
        );
        let (pool, heaps) = place.begin_run();
        supply::begin_run(pool);
        let heaps = heaps.each_ref().map(HeapAndTable::begin);
        (0..2).for_each(|_| active::add_one());
        // To loom a word begins by an access of whichever thread comes first. That is this one.
        heaps.iter().for_each(|heap| heap.slot_table().clear());
        assert_eq!(ABANDONED.count(class()), 0);
        let heap = heaps[0];
        let first = Thread {
            pool,
            heaps,
            heap: Some(heap),
            ends,
        };
        (0..carved).for_each(|block| assert_eq!(first.allocate(), Some(block)));
        assert!(heap.front.bin(class()).take_all().is_null());
        first
    }

    /// Starts another thread, with a heap or without.
    fn start(&self, heap: Option<usize>, run: impl FnOnce(Thread) + 'static) -> Running {
        let other = self.with(heap);
        Running(thread::spawn(move || run(other)))
    }

    /// The same thread from now on, with another heap or without.
    fn with(&self, heap: Option<usize>) -> Thread {
        Thread {
            heap: heap.map(|heap| self.heaps[heap]),
            ..self.clone()
        }
    }

    fn own_heap(&self) -> &'static Heap {
        self.heap.expect("only for threads that have one")
    }

    fn block(&self, index: usize) -> &'static Block {
        let address = self.pool.start() + index * BLOCK_SIZE;
        // SAFETY: a block of the pool, in the memory of the check.
        unsafe { &*(address as *const Block) }
    }

    fn index_of(&self, block: *const Block) -> usize {
        (block as usize - self.pool.start()) / BLOCK_SIZE
    }

    /// As `fast::allocate`. The index of the block.
    fn allocate(&self) -> Option<usize> {
        modelled::step();
        let heap = self.own_heap();
        let block = match heap.pop(class()) {
            block if block.is_null() => slow_paths::refill(heap, class()),
            block => block,
        };
        // SAFETY: a block of the pool.
        let block: &Block = unsafe { block.cast::<Block>().as_ref() }?;
        owner_writes(block);
        Some(self.index_of(block))
    }

    /// As `fast::free` and, for what that leaves, `alloc::free_elsewhere`.
    fn free(&self, index: usize) {
        modelled::step();
        let block = self.block(index);
        owner_writes(block);
        let Some(heap) = self.heap else {
            return slow_paths::free_foreign(None, self.pool, block);
        };
        if let Some((bin, place)) = heap.slot_table().bin_of(ptr::from_ref(block) as usize) {
            if bin.has_room() {
                bin.push(block);
            } else if heap.slot_table().pool_at(place).push(block) {
                slow_paths::free_at_event(heap, self.pool);
            }
        } else if self.pool.is_owned_by(heap.as_owner()) {
            slow_paths::free_own(heap, self.pool, block);
        } else {
            slow_paths::free_foreign(self.heap, self.pool, block);
        }
    }

    /// Whether the thread frees into the pool without its heap's lock.
    fn is_in_map(&self) -> bool {
        let start = ptr::from_ref(self.block(0)) as usize;
        self.own_heap().slot_table().bin_of(start).is_some()
    }

    /// The bin takes one block more than it would.
    fn widen_bin(&self) {
        self.own_heap().front.bin(class()).start(2);
    }

    /// The pool, with all blocks in use, goes to nobody, unless a remote free comes first: then the index of the block.
    fn retire_full(&self) -> Option<usize> {
        let block = self.allocate();
        let bin = self.own_heap().front.bin(class());
        if bin.is_empty() {
            // It takes none again.
            bin.take_all();
        }
        block
    }

    fn trim(&self) {
        modelled::step();
        release::trim(self.own_heap(), true, true, false);
    }

    /// Scans as `free` does when much is unscanned.
    fn scan(&self) {
        modelled::step();
        let heap = self.own_heap();
        let used = scan::unscanned(heap, heap.lock(), &mut { 1 });
        remote::free_all(self.heap, heap.unlock(used));
    }

    fn scan_abandoned(&self) {
        modelled::step();
        scan::purge_abandoned(class(), &mut { 1 }, false);
    }

    /// Claims a full pool only to look at it.
    fn is_free(&self, index: usize) -> bool {
        modelled::step();
        verify::is_free(None, self.pool, self.block(index))
    }

    /// The thread's end.
    fn end(&self) {
        modelled::step();
        release::abandon_all(self.own_heap(), false);
    }

    /// After all others have ended: finds the pool where its state says that it is, and every block in use or free. All
    /// but `in_use` must be free.
    fn finish(self, in_use: &[usize]) {
        let pool = self.pool;
        let mut places = BTreeSet::from_iter(in_use.iter().copied());
        for heap in self.heaps {
            while let block @ 1.. = heap.front.bin(class()).pop() as usize {
                let index = self.index_of(block as *const Block);
                assert!(places.insert(index), "block {index} is in two places");
            }
        }
        let end = self.end_of(&places);
        self.ends.lock().unwrap().insert(end);
        let listed = ABANDONED.adopt(class()).is_some();
        assert_eq!(listed, pool.state() == State::Abandoned);
        // Nor one that is claimed, which `adopt` passes over.
        assert_eq!(ABANDONED.count(class()), 0);
        match pool.state() {
            State::Vacant => {
                assert!(places.is_empty(), "a block is lost");
                return self.check_unlisted();
            }
            // An empty one must not be left to wait for a heap in need.
            State::Abandoned => assert!(!places.is_empty()),
            // One of four counts as nearly.
            State::Full => {
                assert!(places.len() + 1 >= BLOCKS);
                assert!(pool.remote.try_claim());
            }
            State::Used => {}
            State::InHand => panic!("no thread is left to have it in hand"),
        }
        if pool.state() != State::Used {
            pool.take_in_hand();
        }
        pool.collect_into_local();
        assert_eq!(pool.in_use() as usize, places.len());
        let (mut next, count) = pool.take_all();
        for _ in 0..count {
            let index = self.index_of(next);
            assert!(places.insert(index), "block {index} is in two places");
            // SAFETY: a block of the list.
            next = unsafe { &*next }.next();
        }
        assert_eq!(
            places.len(),
            pool.carved_blocks() as usize,
            "a block is lost"
        );
        self.check_unlisted();
    }

    /// What the pool is in the end, when `places` are in use to it.
    fn end_of(&self, places: &BTreeSet<usize>) -> String {
        let pool = self.pool;
        let is_owner = |heap: &&Heap| pool.is_owned_by(heap.as_owner());
        match pool.state() {
            State::Vacant => "vacant".into(),
            State::Full => "full".into(),
            State::Abandoned => "abandoned".into(),
            State::InHand => "in hand".into(),
            State::Used => {
                let owner = self.heaps.iter().position(|heap| is_owner(&heap));
                let owner = owner.expect("a heap's, and the heap's own word says so");
                let seen = self.with(Some(owner)).is_in_map();
                let waits = match (pool.remote.count() > 0, seen) {
                    (false, _) => "",
                    (true, false) => ", a block waits",
                    (true, true) => ", a block waits unseen",
                };
                let empty = if places.is_empty() { ", empty" } else { "" };
                format!("used by {owner}{empty}{waits}")
            }
        }
    }

    /// Checks that no list has the pool but the one that says so.
    fn check_unlisted(&self) {
        assert!(ABANDONED.adopt(class()).is_none());
        for heap in self.heaps {
            let is_listed = heap.lock().of(class()).first().is_some();
            let is_owner =
                self.pool.state() == State::Used && self.pool.is_owned_by(heap.as_owner());
            assert_eq!(is_listed, is_owner);
        }
    }
}

struct Running(JoinHandle<()>);

impl Running {
    fn join(self) {
        self.0.join().unwrap();
    }
}
