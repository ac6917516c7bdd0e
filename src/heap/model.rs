//! Loom checks of what several threads do with one pool: `pool::remote`, the changes of state in `pool`, and `abandoned`.
//!
//! Loom runs every order of the threads' steps, and for every load every value that the memory model allows it. The
//! calls are the real ones. What a heap does between them is repeated here as methods of `Thread`, named
//! as in `usedpools`, since heaps and arenas are statics, which loom does not have.
//!
//! What must hold, and how it is seen:
//! - A pool has one owner at a time, who finds its private fields as the last one left them: `owner` is written at every
//!   change. Loom fails the run when two such writes are not ordered.
//! - Whoever gets a block finds what the one who freed it wrote: `contents`, likewise.
//! - Nobody looks at a pool after it was released: `mapped` is read at every look and written at the release.
//! - Every block is in exactly one place in the end (`Thread::finish`).
//!
//! A check also names the outcomes that must have been met, so that none holds merely because nothing happened.

use super::abandoned::AbandonedPools;
use super::bin::Bin;
use crate::geometry::{ARENA_SIZE, HEADER_SHIFT};
use crate::pool::remote::Pushed;
use crate::pool::{Block, Owner, Pool, PoolList, State};
use crate::size_class::{CLASSES, TABLE};
use crate::sync::{Guard, Lock};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread::{self, JoinHandle};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// The class of the fewest blocks, so that a pool is soon full and soon empty.
const CLASS: usize = CLASSES - 1;
const BLOCKS: usize = 4;

/// The slot at which the pool starts. Far enough from the first that a header, which is longer in
/// the model, has room between the first slot's and its own.
const SLOT: usize = 8;

const NOBODY: usize = 0;

/// Threads with a heap, in most checks.
const ACTIVE_HEAPS: usize = 2;

/// Memory laid out as an arena.
struct Place(usize);

impl Place {
    const LAYOUT: Layout = match Layout::from_size_align(ARENA_SIZE, ARENA_SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };

    fn new() -> Self {
        // SAFETY: the size is not 0.
        let base = unsafe { alloc_zeroed(Self::LAYOUT) };
        assert!(!base.is_null());
        Place(base as usize)
    }

    /// The header of a new pool, vacant.
    fn pool(&self) -> &'static Pool {
        const { assert!(size_of::<Pool>() <= SLOT << HEADER_SHIFT) };
        let header = (self.0 + (SLOT << HEADER_SHIFT)) as *mut Pool;
        // SAFETY: inside the memory, aligned to the header size or more, and used by the run at hand alone, which ends
        // before the memory does.
        unsafe {
            header.write(Pool::vacant());
            &*header
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and no run is left.
        unsafe { dealloc(self.0 as *mut u8, Self::LAYOUT) };
    }
}

/// What was met, over all runs of a check.
#[derive(Clone)]
struct Outcomes(Arc<Mutex<BTreeSet<&'static str>>>);

impl Outcomes {
    fn note(&self, outcome: &'static str) {
        self.0.lock().unwrap().insert(outcome);
    }
}

/// Explores all runs of `run` in which threads are preempted at most so many times (two show each failure that was put in to
/// try the checks; `LOOM_MAX_PREEMPTIONS` overrides it). `run` gets the owner of a used pool whose blocks are all in
/// use, and whose bin takes none. Each of `expected` must be met in one of the runs, and nothing else.
fn check(
    preemptions: usize,
    expected: &[&'static str],
    run: impl Fn(Thread) + Send + Sync + 'static,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let outcomes = Outcomes(Arc::default());
    let place = Place::new();
    let noted = outcomes.clone();
    builder.check(move || run(Thread::first(&place, noted.clone())));
    let met = outcomes.0.lock().unwrap();
    assert_eq!(*met, expected.iter().copied().collect());
}

/// As much of a heap as matters here.
struct Heap {
    bin: Bin,
    used: Lock<PoolList>,
    /// Whether the slot map shows the pool.
    shows: AtomicBool,
}

impl Heap {
    fn new() -> Self {
        Heap {
            bin: Bin::new(),
            used: Lock::new(PoolList::new()),
            shows: AtomicBool::new(false),
        }
    }
}

/// What the threads of a run share.
struct World {
    pool: &'static Pool,
    abandoned: AbandonedPools,
    /// The heap of each thread, by its number.
    heaps: [Heap; 4],
    /// The number of the thread that owns the pool. Stands for all private fields.
    owner: UnsafeCell<usize>,
    /// What each block holds.
    contents: [UnsafeCell<Contents>; BLOCKS],
    /// Whether the pool's slots are taken.
    mapped: UnsafeCell<bool>,
    /// Blocks that owners freed. Stands for `countdown`, which the model does not see: the release of
    /// every count, for `free_last`.
    counted: AtomicUsize,
    /// See `Thread::begin`.
    begun: AtomicUsize,
    /// Whether an owner that enters a pool waits until others see that, before it looks whether a block was posted meanwhile. The real one does
    /// not (`SlotMap::settle`).
    waits: Cell<bool>,
    outcomes: Outcomes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contents {
    /// What the program stored.
    Data(usize),
    /// What it stored last, before it freed the block.
    Last(usize),
}

/// A thread's view of the world, and what it can do there.
#[derive(Clone)]
struct Thread {
    world: Rc<World>,
    /// From 1.
    number: usize,
    /// Whether it has a heap (or none any more).
    has_heap: bool,
}

impl Thread {
    fn first(place: &Place, outcomes: Outcomes) -> Self {
        assert_eq!(TABLE[CLASS].blocks as usize, BLOCKS);
        let world = World {
            pool: place.pool(),
            abandoned: AbandonedPools::empty(),
            heaps: std::array::from_fn(|_| Heap::new()),
            owner: UnsafeCell::new(1),
            contents: std::array::from_fn(|block| UnsafeCell::new(Contents::Data(block))),
            mapped: UnsafeCell::new(true),
            counted: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            waits: Cell::new(false),
            outcomes,
        };
        let first = Thread {
            world: Rc::new(world),
            number: 1,
            has_heap: true,
        };
        let pool = first.pool();
        pool.become_used_first(CLASS, first.as_owner());
        first.own_heap().used.lock().push_front(pool);
        while pool.has_untouched() {
            pool.carve_more();
        }
        first.own_heap().shows.store(true, Ordering::Relaxed);
        first
    }

    /// Starts another thread.
    fn start(&self, number: usize, has_heap: bool, run: impl FnOnce(Thread) + 'static) -> Running {
        let other = Thread {
            world: self.world.clone(),
            number,
            has_heap,
        };
        Running(thread::spawn(move || run(other)))
    }

    fn pool(&self) -> &'static Pool {
        self.world.pool
    }

    fn heap(&self) -> Option<&Heap> {
        self.has_heap.then(|| &self.world.heaps[self.number])
    }

    fn bin(&self) -> &Bin {
        &self.world.heaps[self.number].bin
    }

    fn as_owner(&self) -> *const Owner {
        self.heap()
            .map_or(ptr::null(), |heap| ptr::from_ref(heap).cast())
    }

    fn note(&self, outcome: &'static str) {
        self.world.outcomes.note(outcome);
    }

    /// To be called where a step begins. Of the accesses to a word loom remembers the last: when that is the load that
    /// goes before a compare-and-swap, it does not see that the latter changes what another thread has loaded, and does
    /// not try the other order. It does try all orders of these calls.
    fn begin(&self) {
        // Relaxed: orders nothing.
        self.world.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn lock<'a>(&self, heap: &'a Heap) -> Guard<'a, PoolList> {
        self.begin();
        heap.used.lock()
    }

    // What must hold.

    fn change_owner(&self, from: usize, to: usize) {
        self.world.owner.with_mut(|owner| {
            // SAFETY: loom lets nobody else in meanwhile.
            let owner = unsafe { &mut *owner };
            assert_eq!(*owner, from);
            *owner = to;
        });
    }

    fn becomes_owner(&self) {
        self.change_owner(NOBODY, self.number);
    }

    fn is_owner(&self) {
        self.change_owner(self.number, self.number);
    }

    fn gives_up(&self) {
        self.change_owner(self.number, NOBODY);
    }

    fn change_contents(&self, block: usize, from: Contents, to: Contents) {
        self.world.contents[block].with_mut(|contents| {
            // SAFETY: loom lets nobody else in meanwhile.
            let contents = unsafe { &mut *contents };
            assert_eq!(*contents, from);
            *contents = to;
        });
    }

    /// To be called before a look at the pool by a thread that holds a block of it.
    fn looks(&self) {
        let mapped = self.world.mapped.with(|mapped| {
            // SAFETY: loom lets nobody write meanwhile.
            unsafe { *mapped }
        });
        assert!(mapped);
    }

    // What a heap does.

    fn block(&self, index: usize) -> &'static Block {
        let address = self.pool().start() + index * self.pool().block_size();
        self.pool().block_at(address).unwrap()
    }

    fn index_of(&self, block: *const Block) -> usize {
        self.pool().block_around(block as usize).unwrap().0 as usize
    }

    /// Allocates from the bin. The index of the block.
    fn allocate(&self) -> Option<usize> {
        let block = self.bin().pop() as usize;
        if block == 0 {
            return None;
        }
        let index = self.index_of(block as *const Block);
        self.change_contents(index, Contents::Last(index), Contents::Data(index));
        Some(index)
    }

    fn free(&self, index: usize) {
        self.change_contents(index, Contents::Data(index), Contents::Last(index));
        self.begin();
        self.looks();
        if let Some(heap) = self.heap() {
            if heap.shows.load(Ordering::Relaxed) {
                self.is_owner();
                if heap.bin.has_room() {
                    heap.bin.push(self.block(index));
                    return self.note("kept in a bin");
                }
                if self.push(index) {
                    let used = self.lock(heap);
                    self.handle_event(heap, &used);
                }
                return;
            }
            if self.pool().is_owned_by(self.as_owner()) {
                return self.free_own(heap, index);
            }
        }
        self.free_foreign(index);
    }

    fn push(&self, index: usize) -> bool {
        self.world.counted.fetch_add(1, Ordering::Release);
        self.pool().push(self.block(index))
    }

    /// The class has so few blocks that every free of a full pool is an event.
    fn handle_event(&self, heap: &Heap, used: &PoolList) {
        let pool = self.pool();
        self.looks();
        assert!(pool.is_at_event());
        if pool.in_use() == 0 {
            return self.take_out_empty(heap, used);
        }
        if pool.remote.count() == pool.in_use() {
            pool.collect_into_local();
            self.note("emptied at an event");
            return self.take_out_empty(heap, used);
        }
        pool.after_event();
    }

    fn take_out_empty(&self, heap: &Heap, used: &PoolList) {
        assert!(used.iter().any(|pool| ptr::eq(pool, self.pool())));
        used.remove(self.pool());
        heap.shows.store(false, Ordering::Relaxed);
        self.release_vacant();
    }

    fn free_own(&self, heap: &Heap, index: usize) {
        let used = self.lock(heap);
        self.is_owner();
        self.pool().collect_into_local();
        self.push(index);
        self.enter_used(heap);
        if self.pool().is_at_event() {
            self.handle_event(heap, &used);
        }
    }

    fn free_foreign(&self, index: usize) {
        while self.concerns_owner() {
            if self.free_under_lock(index) {
                return;
            }
        }
        self.push_or_claim(index);
    }

    fn concerns_owner(&self) -> bool {
        self.begin();
        let waiting = self.pool().remote.count();
        self.pool().state() == State::Used && (waiting == 0 || waiting + 1 >= self.pool().in_use())
    }

    fn push_or_claim(&self, index: usize) {
        let start = self.pool().start();
        match self.pool().remote.push_or_claim(self.block(index), start) {
            Pushed::Posted => self.note("posted"),
            Pushed::Claimed => self.free_claimed(index),
        }
    }

    /// False, and nothing is freed, when the pool has another owner or state by then.
    fn free_under_lock(&self, index: usize) -> bool {
        let pool = self.pool();
        let owner = pool.owner();
        let is_owner = |heap: &Heap| ptr::eq(ptr::from_ref(heap).cast(), owner);
        let Some(number) = self.world.heaps.iter().position(is_owner) else {
            // Between owners. Whoever claims it here does so as if it had no heap.
            let mut without_heap = self.clone();
            without_heap.has_heap = false;
            without_heap.push_or_claim(index);
            return true;
        };
        let heap = &self.world.heaps[number];
        self.begin();
        let first = pool.remote.count() == 0 && pool.in_use() as usize > ACTIVE_HEAPS;
        let used = match heap.used.try_lock() {
            Some(used) => used,
            None if first => {
                match pool.remote.push_or_claim(self.block(index), pool.start()) {
                    Pushed::Posted => {
                        self.note("posted to a busy owner");
                        fence(Ordering::SeqCst);
                        heap.shows.store(false, Ordering::Relaxed);
                    }
                    Pushed::Claimed => self.free_claimed(index),
                }
                return true;
            }
            None => self.lock(heap),
        };
        if !pool.is_owned_by(owner) || pool.state() != State::Used {
            return false;
        }
        let pushed = pool.remote.push_or_claim(self.block(index), pool.start());
        assert_eq!(pushed, Pushed::Posted);
        self.note("posted");
        if pool.remote.count() == pool.in_use() && !pool.awaits_owner() {
            self.world.counted.fetch_add(0, Ordering::Acquire);
            self.change_owner(number, self.number);
            self.note("emptied for its owner");
            pool.collect_into_local();
            self.take_out_empty(heap, &used);
        } else {
            heap.shows.store(false, Ordering::Relaxed);
        }
        true
    }

    fn free_claimed(&self, index: usize) {
        self.becomes_owner();
        self.note("claimed");
        if self.pool().state() == State::Abandoned {
            self.world.abandoned.remove(self.pool());
        }
        let Some(heap) = self.heap() else {
            self.pool().become_used_by(ptr::null());
            let event = self.push(index);
            if self.pool().in_use() == 0 {
                return self.release_vacant();
            }
            if event {
                self.pool().after_event();
            }
            return self.abandon();
        };
        let used = self.lock(heap);
        self.pool().become_used_by(self.as_owner());
        self.push(index);
        self.enter_used(heap);
        used.push_front(self.pool());
        if self.pool().is_at_event() {
            self.handle_event(heap, &used);
        }
    }

    /// A used pool is shown as long as no remote free waits.
    fn enter_used(&self, heap: &Heap) {
        let shows = self.pool().remote.count() == 0;
        heap.shows.store(shows, Ordering::Relaxed);
        if self.world.waits.get() {
            fence(Ordering::SeqCst);
        }
        if shows && self.pool().remote.count() > 0 {
            heap.shows.store(false, Ordering::Relaxed);
        }
    }

    fn own_heap(&self) -> &Heap {
        self.heap().expect("only for threads that have one")
    }

    fn try_retire_full(&self) {
        let heap = self.own_heap();
        let used = self.lock(heap);
        heap.shows.store(false, Ordering::Relaxed);
        used.remove(self.pool());
        self.gives_up();
        if self.pool().try_become_full() {
            return self.note("given up");
        }
        self.becomes_owner();
        self.note("kept");
        used.push_front(self.pool());
        assert_eq!(self.pool().state(), State::Used);
        assert!(self.pool().is_owned_by(self.as_owner()));
        assert!(self.fill(heap));
    }

    /// Fills the empty bin from the pool. The caller holds the heap's lock. False when the pool has no block.
    fn fill(&self, heap: &Heap) -> bool {
        self.is_owner();
        heap.bin.start(BLOCKS as u16);
        self.pool().collect_into_local();
        let (blocks, count) = self.pool().take_all();
        self.enter_used(heap);
        heap.bin.append(blocks, count);
        count > 0
    }

    fn refill(&self) {
        let heap = self.own_heap();
        let _used = self.lock(heap);
        self.fill(heap);
    }

    /// Gives the blocks of the bin back to the pool, which the thread owns or not.
    fn empty_bin(&self) {
        let heap = self.own_heap();
        let mut foreign = Vec::new();
        let used = self.lock(heap);
        let mut blocks = heap.bin.take_all();
        // SAFETY: blocks that were in the bin.
        while let Some(block) = unsafe { blocks.as_ref() } {
            blocks = block.next();
            self.looks();
            let index = self.index_of(block);
            if !self.pool().is_owned_by(self.as_owner()) {
                foreign.push(index);
                continue;
            }
            self.push(index);
            if self.pool().is_at_event() {
                self.handle_event(heap, &used);
            }
        }
        drop(used);
        foreign
            .into_iter()
            .for_each(|index| self.free_foreign(index));
    }

    fn trim(&self) {
        let heap = self.own_heap();
        let used = self.lock(heap);
        for pool in used.iter() {
            self.is_owner();
            if pool.remote.count() == pool.in_use() {
                pool.collect_into_local();
                self.take_out_empty(heap, &used);
            }
        }
    }

    fn abandon_all(&self) {
        let heap = self.own_heap();
        let used = self.lock(heap);
        if used.first().is_none() {
            return;
        }
        self.pool().collect_into_local();
        if self.pool().in_use() == 0 {
            return self.take_out_empty(heap, &used);
        }
        used.remove(self.pool());
        heap.shows.store(false, Ordering::Relaxed);
        self.pool().take_from_heap();
        drop(used);
        self.begin();
        // As a look for free pages does.
        self.pool().collect_into_local();
        self.abandon();
    }

    fn abandon(&self) {
        self.gives_up();
        if self.pool().is_nearly_full() && self.pool().try_become_full() {
            return self.note("left as full");
        }
        self.becomes_owner();
        self.pool().become_abandoned();
        while self.pool().in_use() > 0 {
            self.world.abandoned.add(self.pool());
            self.gives_up();
            if self.pool().try_disown() {
                return self.note("left");
            }
            self.becomes_owner();
            self.world.abandoned.remove(self.pool());
            self.pool().collect_into_local();
        }
        self.release_vacant();
    }

    fn adopt(&self) -> bool {
        self.begin();
        if self.world.abandoned.adopt(CLASS).is_none() {
            return false;
        }
        self.becomes_owner();
        self.note("adopted");
        self.looks();
        let heap = self.own_heap();
        let used = self.lock(heap);
        self.pool().become_used_by(self.as_owner());
        used.push_front(self.pool());
        self.fill(heap);
        true
    }

    /// Claims a full pool only to look at it, as `is_on_a_list_of` does.
    fn look_at_lists(&self) {
        self.begin();
        self.looks();
        if !self.pool().remote.try_claim() {
            return;
        }
        self.becomes_owner();
        let abandoned = self.pool().state() == State::Abandoned;
        if abandoned {
            self.world.abandoned.remove(self.pool());
        }
        self.pool().become_used_by(ptr::null());
        if abandoned {
            return self.abandon();
        }
        self.gives_up();
        if self.pool().try_become_full() {
            return self.note("full again");
        }
        self.becomes_owner();
        self.abandon();
    }

    fn release_vacant(&self) {
        self.pool().become_vacant();
        self.gives_up();
        self.world.mapped.with_mut(|mapped| {
            // SAFETY: loom lets nobody else in meanwhile.
            unsafe { *mapped = false };
        });
        self.note("released");
    }

    /// After all others have ended: finds the pool where its state says that it is, and every block in use or free. All
    /// but `in_use` must be free.
    fn finish(self, in_use: &[usize]) {
        let pool = self.pool();
        // SAFETY: all others have ended.
        let owner = self.world.owner.with(|owner| unsafe { *owner });
        let adopted = self.world.abandoned.adopt(CLASS).is_some();
        assert_eq!(adopted, pool.state() == State::Abandoned);
        let mut places = BTreeSet::from_iter(in_use.iter().copied());
        for heap in &self.world.heaps {
            while let block @ 1.. = heap.bin.pop() as usize {
                let index = self.index_of(block as *const Block);
                assert!(places.insert(index), "block {index} is in two places");
            }
        }
        match pool.state() {
            State::Vacant => {
                assert_eq!((owner, places.len()), (NOBODY, 0));
                assert_eq!((pool.in_use(), pool.remote.count()), (0, 0));
                return self.check_unlisted();
            }
            // An empty one must not be left to wait for a heap in need.
            State::Abandoned => assert!(owner == NOBODY && !places.is_empty()),
            State::Full => {
                // One of four counts as nearly.
                assert!(owner == NOBODY && places.len() + 1 >= BLOCKS);
                assert!(pool.remote.try_claim());
            }
            State::Used => {
                let heap = ptr::from_ref(&self.world.heaps[owner]);
                assert!(owner != NOBODY && pool.is_owned_by(heap.cast()));
                if places.is_empty() {
                    // The owner's last free without the lock and the first remote free met: each left it to the other.
                    self.note("empty until its owner looks");
                }
            }
        }
        if pool.state() != State::Used {
            pool.become_used_by(self.as_owner());
        }
        pool.collect_into_local();
        assert_eq!(pool.in_use() as usize, places.len());
        let (mut next, count) = pool.take_all();
        for _ in 0..count {
            assert!(
                places.insert(self.index_of(next)),
                "a block is in two places"
            );
            // SAFETY: a block of the list.
            next = unsafe { &*next }.next();
        }
        assert_eq!(places.len(), BLOCKS, "a block is lost");
        self.check_unlisted();
    }

    /// Checks that the abandoned pools do not have the pool, which is owned, or was.
    fn check_unlisted(&self) {
        assert!(self.pool().remote.give_up());
        assert!(self.world.abandoned.adopt(CLASS).is_none());
    }
}

struct Running(JoinHandle<()>);

impl Running {
    fn join(self) {
        self.0.join().unwrap();
    }
}

#[test]
fn loom_remote_frees_into_a_pool_that_fills_a_bin() {
    check(
        3,
        &["posted", "posted to a busy owner", "allocated anew"],
        |owner| {
            let freers = [
                owner.start(2, true, |thread| {
                    thread.free(0);
                    thread.free(1);
                }),
                owner.start(3, false, |thread| thread.free(2)),
            ];
            let mut in_use = vec![3];
            for _ in 0..2 {
                if owner.bin().is_empty() {
                    owner.refill();
                }
                if let Some(block) = owner.allocate() {
                    owner.note("allocated anew");
                    in_use.push(block);
                }
            }
            freers.into_iter().for_each(Running::join);
            owner.finish(&in_use);
        },
    );
}

#[test]
fn loom_remote_frees_into_a_used_pool() {
    check(
        3,
        &[
            "posted",
            "posted to a busy owner",
            "emptied at an event",
            "emptied for its owner",
            "released",
            "empty until its owner looks",
        ],
        |owner| {
            let freers = [
                owner.start(2, true, |thread| {
                    thread.free(0);
                    thread.free(1);
                }),
                owner.start(3, false, |thread| thread.free(2)),
            ];
            owner.trim();
            owner.free(3);
            freers.into_iter().for_each(Running::join);
            owner.finish(&[]);
        },
    );
}

#[test]
fn loom_full_pool_is_given_up_while_two_free_into_it() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "claimed",
        "given up",
        "kept",
    ];
    check(2, &expected, |owner| {
        let freers = [
            owner.start(2, true, |thread| {
                thread.free(0);
                thread.free(1);
            }),
            owner.start(3, true, |thread| thread.free(2)),
        ];
        owner.try_retire_full();
        freers.into_iter().for_each(Running::join);
        owner.finish(&[3]);
    });
}

#[test]
fn loom_former_owner_frees_into_a_full_pool_like_others() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "kept in a bin",
        "claimed",
        "given up",
        "kept",
        "emptied at an event",
        "emptied for its owner",
        "released",
        "empty until its owner looks",
    ];
    check(3, &expected, |owner| {
        let freer = owner.start(2, true, |thread| thread.free(0));
        owner.try_retire_full();
        for block in 1..BLOCKS {
            owner.free(block);
        }
        freer.join();
        owner.finish(&[]);
    });
}

#[test]
fn loom_pool_is_kept_when_a_remote_free_comes_first() {
    check(
        3,
        &[
            "posted",
            "posted to a busy owner",
            "claimed",
            "given up",
            "kept",
        ],
        |owner| {
            let freer = owner.start(2, true, |thread| thread.free(0));
            owner.try_retire_full();
            let mut in_use = vec![1, 2, 3];
            if owner.pool().is_owned_by(owner.as_owner()) {
                in_use.extend(owner.allocate());
                assert_eq!(in_use.len(), BLOCKS);
                // Now it must be possible: no block is left that could come.
                owner.try_retire_full();
            }
            freer.join();
            owner.finish(&in_use);
        },
    );
}

#[test]
fn loom_full_pool_is_scanned_while_two_free_into_it() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "claimed",
        "given up",
        "full again",
        "left",
        "left as full",
        "adopted",
    ];
    check(2, &expected, |owner| {
        owner.try_retire_full();
        let freers = [
            owner.start(2, true, |thread| thread.free(0)),
            owner.start(3, false, |thread| thread.free(1)),
        ];
        // It holds the others, so that the pool stays.
        owner.look_at_lists();
        owner.adopt();
        freers.into_iter().for_each(Running::join);
        owner.finish(&[2, 3]);
    });
}

/// An owner enters a pool into its slot map while another thread frees into it.
fn enter_while_one_frees(owner: Thread) {
    let heap = owner.own_heap();
    heap.shows.store(false, Ordering::Relaxed);
    let freer = owner.start(2, false, |thread| thread.free(0));
    owner.free(1);
    freer.join();
    if owner.pool().remote.count() > 0 {
        owner.note(match heap.shows.load(Ordering::Relaxed) {
            true => "waits unseen",
            false => "waits for its owner",
        });
    }
    owner.finish(&[2, 3]);
}

#[test]
fn loom_map_shows_no_pool_in_which_a_block_waits_if_its_owner_waits() {
    let expected = ["posted", "posted to a busy owner", "waits for its owner"];
    check(3, &expected, |owner| {
        owner.world.waits.set(true);
        enter_while_one_frees(owner);
    });
}

#[test]
fn loom_map_may_show_a_pool_in_which_a_block_waits() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "waits for its owner",
        "waits unseen",
    ];
    check(3, &expected, enter_while_one_frees);
}

/// Leaves the pool with `in_use` blocks in use, the others free.
fn abandon_with(owner: &Thread, in_use: usize) {
    for block in in_use..BLOCKS {
        owner.free(block);
    }
    owner.abandon_all();
}

#[test]
fn loom_pool_is_abandoned_while_one_frees_and_one_adopts() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "claimed",
        "left",
        "left as full",
        "adopted",
    ];
    check(3, &expected, |owner| {
        let others = [
            owner.start(2, true, |thread| thread.free(0)),
            owner.start(3, true, |thread| {
                thread.adopt();
            }),
        ];
        abandon_with(&owner, 3);
        others.into_iter().for_each(Running::join);
        owner.finish(&[1, 2]);
    });
}

#[test]
fn loom_pool_is_abandoned_while_its_last_blocks_are_freed() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "claimed",
        "left",
        "released",
        "emptied at an event",
        "emptied for its owner",
    ];
    check(3, &expected, |owner| {
        let freers = [
            owner.start(2, false, |thread| thread.free(0)),
            owner.start(3, false, |thread| thread.free(1)),
        ];
        abandon_with(&owner, 2);
        freers.into_iter().for_each(Running::join);
        owner.finish(&[]);
    });
}

#[test]
fn loom_two_adopt_an_abandoned_pool_while_one_frees_into_it() {
    check(
        3,
        &[
            "posted",
            "posted to a busy owner",
            "claimed",
            "left",
            "adopted",
        ],
        |owner| {
            abandon_with(&owner, 2);
            let others = [2, 3].map(|number| {
                owner.start(number, true, |thread| {
                    thread.adopt();
                })
            });
            let freer = Thread {
                has_heap: false,
                ..owner
            };
            freer.free(0);
            others.into_iter().for_each(Running::join);
            freer.finish(&[1]);
        },
    );
}

#[test]
fn loom_last_block_of_an_adopted_pool_is_freed() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "claimed",
        "left",
        "adopted",
        "released",
    ];
    check(3, &expected, |owner| {
        abandon_with(&owner, 1);
        let others = [
            owner.start(2, true, |thread| {
                thread.adopt();
            }),
            owner.start(3, false, |thread| thread.free(0)),
        ];
        others.into_iter().for_each(Running::join);
        owner.finish(&[]);
    });
}

#[test]
fn loom_blocks_come_back_from_a_bin_while_others_free() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "kept in a bin",
        "emptied at an event",
        "emptied for its owner",
        "released",
        "empty until its owner looks",
    ];
    check(3, &expected, |owner| {
        owner.bin().start(1);
        let freers = [
            owner.start(2, true, |thread| {
                thread.free(0);
                thread.free(1);
            }),
            owner.start(3, false, |thread| thread.free(2)),
        ];
        owner.free(3);
        owner.empty_bin();
        freers.into_iter().for_each(Running::join);
        owner.finish(&[]);
    });
}

#[test]
fn loom_block_in_a_bin_of_another_thread() {
    let expected = [
        "posted",
        "posted to a busy owner",
        "kept in a bin",
        "claimed",
        "given up",
        "kept",
        "emptied at an event",
        "emptied for its owner",
        "released",
        "empty until its owner looks",
    ];
    check(3, &expected, |owner| {
        let freer = owner.start(2, true, |thread| {
            thread.bin().start(1);
            thread.free(0);
            thread.empty_bin();
        });
        owner.try_retire_full();
        for block in 1..BLOCKS {
            owner.free(block);
        }
        owner.empty_bin();
        freer.join();
        owner.finish(&[]);
    });
}
