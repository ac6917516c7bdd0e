//! The heap of one thread.
//!
//! What it owns: for each size class a *bin* of free blocks, and the *usedpools*: the pools of that class which the heap owns.
//!
//! The thread that a heap belongs to pops from its bins, and pushes to them, or to its pools when a bin is full, without any lock or
//! atomic read-modify-write. Every change to a list of pools happens under the heap's lock, and so does every other change to a pool.
//! Its own thread takes that when a bin is empty or a pool has an event; others take it for the rare free that empties a pool of a
//! thread that may be asleep, for `malloc_trim`, and for `fork`.
//!
//! Where the next blocks come from when a bin is empty, in this order, so that memory that was touched is filled
//! before any other: all free blocks of a used pool, or of several if they have few; the untouched part of
//! a used pool; an abandoned pool; a new pool, which the arenas give from the fullest of them. Used pools are tried from the front; one
//! that has nothing left to give goes to nobody. A full pool into which a block is freed goes to the back, so that it has more of them
//! when its turn comes; one in which an event says that a page's worth of blocks is free goes to the back again, so that it drains.
//!
//! What a child does not find of the other threads, since they had it in hand when it was forked, without any lock: the block of each that it was just
//! allocating or freeing, and at most one pool of each, which was new, claimed, vacant or adopted but on no list yet. It is never more, as a thread has one pool at a time so.
//! A pool whose free pages go back stays in hand for long; it is named under the lock (`Lists::in_hand`), and the child leaves it to others.

use super::abandoned::AbandonedPools;
use super::active;
use super::bin::Bin;
use super::budget::{self, Turns};
use super::heaps;
use super::life::Life;
use super::news::{self, Walk};
use super::slot_map::{FirstTable, SlotMap, SlotTable};
use crate::arena::{self, Slot};
use crate::geometry::SLOT_SIZE;
use crate::layout::layout;
use crate::os;
use crate::pool::remote::Pushed;
use crate::pool::{Block, Owner, Pool, PoolList, State};
use crate::size_class::{CLASSES, TABLE};
use crate::sync::{Guard, Lock};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// The pools that threads which ended left behind.
pub static ABANDONED: AbandonedPools = AbandonedPools::empty();

#[repr(C, align(64))]
pub struct Heap {
    // All zeroes is a heap that nobody has used: a fresh mapping needs no initialisation, and a static one no place in
    // the file.
    /// First, so that a size rounded up to 16 is the offset of its bin.
    bins: [Bin; CLASSES],
    lists: Lock<Lists>,
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
    /// The thread's slow paths, for `resident_budget`.
    turns: Turns,
    /// The slots of the pools that the heap owns.
    map: SlotMap,
}

/// Empty pools that a heap keeps, of all classes together, so that a program at the edge of a pool does not give it
/// back, and take and cut another, again and again. Few: each of them can keep an arena mapped. With 0 a pair of
/// `make bench-instructions`, first in first out, takes six instructions more.
const KEPT_POOLS: usize = 4;

/// A bin is filled from several pools until it has so many blocks. With 1, `1-17 KiB random` of `make bench-instructions` takes a sixth
/// more instructions.
const ENOUGH: u32 = 8;

/// Pools that are looked at in one go, so that no single free takes longer than some milliseconds.
const SCANS_AT_ONCE: usize = 1024;

/// Pools that are passed over on the way to those, which takes a fiftieth of a look.
const PASSES_AT_ONCE: usize = 32 * SCANS_AT_ONCE;

struct Lists {
    used: [PoolList; CLASSES],
    /// The empty pools among the used ones, longest kept first; null behind the last.
    kept: [*const Pool; KEPT_POOLS],
    /// The classes of which a used pool may have notes (`pool::events`), a bit each.
    unscanned: u128,
    /// Bytes noted at events since these pools were last looked at.
    unscanned_bytes: usize,
    /// Blocks from the bins whose pools others own, linked: to be freed when the lock is given back.
    foreign: *const Block,
    /// Pools that became vacant, which go back to their arenas when the lock is given back: the system may be asked to take memory.
    vacant: PoolList,
    /// The pool that was taken out of the heap while its free pages go back, without the lock; null for none. It is whole at any time, so
    /// that a child can leave it to others.
    in_hand: *const Pool,
}

const _: () = assert!(CLASSES <= u128::BITS as usize);

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
        let bins = self.heap.bins.as_ptr();
        self.heap.map.start(SlotTable::first(&self.table, bins));
        &self.heap
    }
}

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Heap { bins, lists, next_heap, taken, orphaned, remote_frees, map }
};

// SAFETY: pools are live as long as they are listed, and the lists are reached under the heap's lock only.
unsafe impl Send for Lists {}

impl Heap {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Heap {
            bins: [const { Bin::new() }; CLASSES],
            lists: Lock::new(Lists {
                used: [const { PoolList::new() }; CLASSES],
                kept: [ptr::null(); KEPT_POOLS],
                unscanned: 0,
                unscanned_bytes: 0,
                foreign: ptr::null(),
                vacant: PoolList::new(),
                in_hand: ptr::null(),
            }),
            next_heap: AtomicPtr::new(ptr::null_mut()),
            next_spare: AtomicPtr::new(ptr::null_mut()),
            taken: AtomicBool::new(false),
            orphaned: AtomicBool::new(false),
            life: Life::none(),
            remote_frees: AtomicUsize::new(0),
            turns: Turns::none(),
            map: SlotMap::none(),
        }
    }

    /// The heap as the owner that pools compare with.
    #[inline(always)]
    pub fn as_owner(&self) -> *const Owner {
        ptr::from_ref(self).cast()
    }

    /// Takes a block of a class from its bin. Null when the bin is empty. Only for the heap's thread.
    #[inline(always)]
    pub fn pop(&self, class: usize) -> *mut u8 {
        debug_assert!(class < CLASSES);
        let bins = ptr::from_ref(&self.bins) as usize;
        // SAFETY: `size_class` makes no class past its table.
        unsafe { Bin::pop_at(bins, class * size_of::<Bin>()) }
    }

    /// The table of the heap's slot map. For the heap's thread, or one that takes the heap.
    pub fn slot_table(&self) -> SlotTable {
        self.map.table()
    }

    /// Gives the slot map a larger table when so many pools have evicted each other that it is worth it. `publish` makes it the one
    /// that the thread reads. Only for the heap's thread, which holds no lock: nobody waits while the system maps.
    #[inline]
    pub fn widen_map_if_contested(&self, publish: impl FnOnce(SlotTable)) {
        if self.map.is_contested()
            && let Some(larger) = self.map.weigh_larger(self.bins.as_ptr())
        {
            self.widen_map(larger, publish);
        }
    }

    #[cold]
    #[inline(never)]
    fn widen_map(&self, larger: SlotTable, publish: impl FnOnce(SlotTable)) {
        let lists = self.lists.lock();
        let old = self.map.replace(larger);
        // Before the lock is given back: others then take pools out of the larger one alone.
        publish(larger);
        drop(lists);
        // SAFETY: the calling thread is the heap's, and reads the larger one.
        unsafe { self.map.let_go(old) };
    }

    /// The heap's thread has ended, and its pools have left: a large table goes back.
    pub(super) fn rest_map(&self) {
        let lists = self.lists.lock();
        let old = self.map.rest();
        drop(lists);
        if let Some(old) = old {
            // SAFETY: the heap has no thread, so that none reads it.
            unsafe { self.map.let_go(old) };
        }
    }

    /// The heap has a thread again.
    pub(super) fn resume_map(&self) {
        self.map.resume();
    }

    /// Takes a block of a class whose bin is empty. Null when the system has no memory. Only for the heap's thread.
    pub fn refill(&self, class: usize) -> *mut u8 {
        let bin = &self.bins[class];
        if !bin.is_empty() {
            // The C library allocated while this thread's heap was made.
            return bin.pop();
        }
        budget::decay_in_turn(&self.turns);
        let mut lists = self.lists.lock();
        if !lists.fill(self, class) {
            drop(lists);
            let Some(pool) = self.new_pool(class) else {
                return ptr::null_mut();
            };
            lists = self.lists.lock();
            if pool.state() == State::Abandoned {
                pool.become_used_by(self.as_owner());
            }
            if pool.carved_blocks() > 0 {
                enter_used(self, pool);
            }
            lists.used[class].push_front(pool);
            let filled = lists.fill(self, class);
            debug_assert!(filled, "a pool that is not exhausted");
        }
        drop(lists);
        let block = bin.pop();
        debug_assert!(!block.is_null());
        block
    }

    /// The bins, by size class.
    pub(super) fn bins(&self) -> &[Bin; CLASSES] {
        &self.bins
    }

    /// Gets a pool with room that the heap did not have: a new one, which nobody else knows of, or an abandoned one, which the
    /// caller owns by its remote word only. It becomes the heap's under the heap's lock, which is not held here, since the system may be asked for
    /// memory. Were it the heap's before it is on a list, a remote free that empties it would take it off
    /// a list that it is not on.
    fn new_pool(&self, class: usize) -> Option<&Pool> {
        let adopted = ABANDONED.adopt(class).or_else(|| {
            // What a fork left behind, if anything, comes before new memory.
            heaps::rescue_orphans()
                .then(|| ABANDONED.adopt(class))
                .flatten()
        });
        if adopted.is_some() {
            return adopted;
        }
        let taken = arena::take(TABLE[class].slots as usize, |header| {
            // SAFETY: the header of a run that is being taken.
            unsafe { Pool::at(header) }.become_used_first(class, self.as_owner());
        })?;
        if taken.raised_the_peak {
            // What pools retain would add to the peak.
            budget::give_up(TABLE[class].slots as usize * SLOT_SIZE);
        }
        // SAFETY: `take` gave the header of a run, which stays mapped while it is taken.
        let pool = unsafe { Pool::at(taken.header) };
        // Among several threads, this one may sleep for ever from now on: all blocks would be in its bin.
        if taken.written && active::count() == 1 {
            pool.carve_all();
        }
        Some(pool)
    }

    /// Gives empty pools back to their arenas: those that are kept, and with `walks` all others. With `own`, only for the heap's thread, what is in its
    /// bins as well, and with `purges` the free pages of all others. True when there were any.
    pub fn trim(&self, own: bool, walks: bool, purges: bool) -> bool {
        let mut lists = self.lists.lock();
        let mut returned = false;
        for class in 1..CLASSES {
            if own {
                lists.empty_bin(self, class);
            }
            if walks {
                returned |= lists.give_back_empty_of(self, class, own);
            }
            if !(own && purges) {
                continue;
            }
            // Each pool once: who was looked at goes to the back.
            for _ in 0..lists.used[class].iter().count() {
                let Some(pool) = lists.used[class].first() else {
                    break;
                };
                let purged;
                (lists, purged) = self.purge_in_hand(lists, pool);
                returned |= purged | lists.put_back(self, pool);
            }
        }
        returned |= lists.give_back_kept(self);
        self.give_back(lists, own.then_some(self));
        returned
    }

    /// Leaves every pool of a heap whose thread has ended without giving it back, if it has, and takes the heap from it. The caller holds no lock.
    pub(super) fn abandon_if_ended(&self) -> bool {
        // Relaxed, both: an orphan's thread is none of this process.
        let is_had = self.taken.load(Ordering::Relaxed) && !self.orphaned.load(Ordering::Relaxed);
        if !is_had || !self.life.has_ended() {
            return false;
        }
        // A thread that was ended in the middle of an allocation, by a call of its own in a signal handler, may have left its lists locked or half
        // changed: they stay so. Should somebody else have them now, the next caller takes the heap.
        if self.lists.try_lock().is_none() || !self.life.claim() {
            return false;
        }
        self.abandon_all(true);
        self.rest_map();
        true
    }

    /// Leaves every pool: empty ones go to their arenas, full and nearly full ones to nobody, the others to `ABANDONED`. Only for the
    /// heap's thread as it ends, or with `recount` for a heap whose thread does not exist.
    pub(super) fn abandon_all(&self, recount: bool) {
        let mut lists = self.lists.lock();
        // SAFETY: a pool in hand is live.
        if let Some(pool) = unsafe { lists.in_hand.as_ref() } {
            debug_assert!(
                recount,
                "only a thread that does not exist has anything in hand"
            );
            lists.in_hand = ptr::null();
            lists.abandon(pool);
        }
        for class in 1..CLASSES {
            if recount {
                lists.used[class].iter().for_each(Pool::recount);
            }
            lists.empty_bin(self, class);
            while let Some(pool) = lists.used[class].first() {
                pool.collect_into_local();
                if pool.in_use() == 0 {
                    lists.give_back_empty(&self.map, pool);
                    continue;
                }
                if pool.unscanned() > 0 && budget::is_half_used() {
                    // Nobody else would before a block of it is freed.
                    (lists, _) = self.purge_in_hand(lists, pool);
                } else {
                    lists.take_out(self, pool);
                }
                lists.abandon(pool);
            }
        }
        self.give_back(lists, None);
    }

    /// Takes a used pool out of the heap and purges its free pages; true when there were any. The lock is not held while the system takes
    /// them, which takes long. The pool is then the caller's, and on no list.
    fn purge_in_hand<'a>(
        &'a self,
        mut lists: Guard<'a, Lists>,
        pool: &Pool,
    ) -> (Guard<'a, Lists>, bool) {
        lists.take_out(self, pool);
        let pages = pool.unlist_free_pages();
        if pages == 0 {
            return (lists, false);
        }
        debug_assert!(lists.in_hand.is_null());
        lists.in_hand = pool;
        drop(lists);
        pool.purge_pages(pages);
        let mut lists = self.lists.lock();
        debug_assert!(ptr::eq(lists.in_hand, pool));
        lists.in_hand = ptr::null();
        (lists, true)
    }

    /// Gives the lock back, and then vacant pools to their arenas, and frees the blocks that waited for that, for the thread of heap `own`.
    #[inline]
    fn give_back(&self, lists: Guard<'_, Lists>, own: Option<&Heap>) {
        if !lists.foreign.is_null() || lists.vacant.first().is_some() {
            self.give_back_what_waits(lists, own);
        }
    }

    /// Vacant pools one at a time, so that a child that is forked meanwhile loses one at most. Should this heap have claimed the pool of a block by then,
    /// the block is posted to it all the same.
    #[inline(never)]
    fn give_back_what_waits<'a>(&'a self, mut lists: Guard<'a, Lists>, own: Option<&Heap>) {
        let blocks = core::mem::replace(&mut lists.foreign, ptr::null());
        while let Some(pool) = lists.vacant.first() {
            lists.vacant.remove(pool);
            let more = lists.vacant.first().is_some();
            drop(lists);
            release_vacant(pool);
            if !more {
                return free_all_foreign(own, blocks);
            }
            lists = self.lists.lock();
        }
        drop(lists);
        free_all_foreign(own, blocks);
    }

    /// Blocks that this heap's threads freed into pools of others.
    pub fn remote_frees(&self) -> usize {
        // Acquire: see `news`. For others a statistic.
        self.remote_frees.load(Ordering::Acquire)
    }

    pub(super) fn hold_for_fork(&self) {
        self.lists.hold_for_fork();
        self.map.hold_for_fork();
    }

    /// # Safety
    /// Only in the thread that called `hold_for_fork`, in the parent and in the child.
    pub(super) unsafe fn release_after_fork(&self) {
        // SAFETY: passed on from the caller, for both locks.
        unsafe {
            self.map.release_after_fork();
            self.lists.release_after_fork();
        }
    }
}

impl Lists {
    /// Fills an empty bin from the pools that the heap has, of which those that are found exhausted are given up. False when none has
    /// a block.
    fn fill(&mut self, heap: &Heap, class: usize) -> bool {
        let bin = &heap.bins[class];
        debug_assert!(bin.is_empty());
        bin.start(room_of_bin(class));
        let (mut found, mut exhausted) = (0, 0);
        // Those that gave all they had stay in front: the next time they are given up, should nothing be freed into them by then.
        while let Some(pool) = self.used[class].iter().nth(exhausted) {
            let shown = may_be_in_slot_map(pool);
            // What is noted there is forgotten right away.
            pool.collect_into_local();
            let (blocks, count) = pool.take_all();
            if count > 0 {
                self.keep_no_more(pool);
                if !shown {
                    enter_used(heap, pool);
                }
                bin.append(blocks, count);
                found += count;
                if found >= ENOUGH || pool.has_untouched() {
                    return true;
                }
                exhausted += 1;
            } else if found > 0 {
                return true;
            } else if pool.has_untouched() {
                let second = self.used[class].second();
                if second.is_some_and(Pool::has_free_blocks) {
                    // At the back: it has nothing but untouched blocks to offer.
                    self.move_to_back(pool);
                    continue;
                }
                self.keep_no_more(pool);
                let before = pool.carved_blocks();
                let (blocks, count) = pool.carve_more();
                bin.append(blocks, count);
                match before {
                    0 => enter_used(heap, pool),
                    _ => heap.map.extend(pool, before),
                }
                return true;
            } else {
                self.try_retire_full(heap, pool);
            }
        }
        found > 0
    }

    /// Gives an exhausted pool up, unless remote frees came meanwhile.
    #[inline(never)]
    fn try_retire_full(&mut self, heap: &Heap, pool: &Pool) {
        heap.map.leave(pool);
        self.used[pool.class()].remove(pool);
        if !pool.try_become_full() {
            self.used[pool.class()].push_front(pool);
        }
    }

    /// Gives the blocks of a bin back to their pools, but for those of pools that the heap does not own: they wait in `foreign`.
    #[inline(never)]
    fn empty_bin(&mut self, heap: &Heap, class: usize) {
        let slots = TABLE[class].slots;
        let mut blocks = heap.bins[class].take_all();
        // SAFETY: blocks that were in the bin.
        while let Some(block) = unsafe { blocks.as_ref() } {
            blocks = block.next();
            let address = ptr::from_ref(block) as usize;
            let pool = match slots {
                // SAFETY: the header of a used slot, where the pool begins that the block is in use to.
                1 => Some(unsafe { Pool::at(arena::header_of(address)) }),
                _ => pool_around(address),
            };
            let Some(pool) = pool.filter(|pool| pool.is_owned_by(heap.as_owner())) else {
                block.link(self.foreign);
                self.foreign = block;
                continue;
            };
            if pool.push(block) || pool.remote.count() > 0 && pool.is_at_event() {
                self.handle_event(heap, pool);
            }
        }
    }

    /// Looks at the first used pools of a class: one whose blocks in use were all freed remotely goes back, the others move to
    /// the back. Called once for every pool that is claimed, and two are looked at, so that such pools are found faster than
    /// they are made, also by a thread that never allocates from the class.
    fn release_some_empty(&mut self, map: &SlotMap, class: usize) {
        for _ in 0..2 {
            let Some(pool) = self.used[class].first() else {
                return;
            };
            let remote = pool.remote.count();
            // If all blocks in use were freed remotely, nobody can change the count.
            if remote > 0 && remote == pool.in_use() {
                self.give_back_empty(map, pool);
            } else {
                self.move_to_back(pool);
            }
        }
    }

    fn move_to_back(&mut self, pool: &Pool) {
        let used = &self.used[pool.class()];
        if !used.is_last(pool) {
            used.remove(pool);
            used.push_back(pool);
        }
    }

    /// Handles an event of a used pool, which may go back to its arena.
    #[inline(never)]
    fn handle_event(&mut self, heap: &Heap, pool: &Pool) {
        debug_assert!(pool.state() == State::Used && pool.is_at_event());
        if pool.in_use() == 0 {
            if let Some(going) = self.keep_empty(pool) {
                self.give_back_empty(&heap.map, going);
            }
        } else if pool.remote.count() == pool.in_use() {
            self.give_back_empty(&heap.map, pool);
        } else {
            self.unscanned_bytes += pool.after_event();
            self.move_to_back(pool);
            self.unscanned |= 1 << pool.class();
        }
    }

    /// Whether all pools with notes of this heap must be looked at: the notes of the process are more than may stay. To be asked when
    /// pools were noted.
    #[inline]
    fn must_scan(&self) -> bool {
        // Others may have used the slack up for long: to look must be worth it each time. First what is cheap to tell.
        self.unscanned_bytes > budget::LEAST_WORTH_SCANNING
            && budget::is_used_up()
            && self.unscanned_bytes > budget::worth_scanning()
    }

    /// Pools with notes are left in these classes: the next event goes on.
    fn rescan(&mut self, classes: u128) {
        self.unscanned |= classes;
        self.unscanned_bytes = usize::MAX / 2;
    }

    /// Moves the pools of a class to the front that are `wanted` by `scan_pools`, at most so many.
    fn gather_unscanned(
        &mut self,
        class: usize,
        wanted: fn(&Pool) -> bool,
        most: usize,
        passes: &mut usize,
    ) {
        let used = &self.used[class];
        let found = PoolList::new();
        let mut room = most;
        // Those that were noted last are at the back.
        for pool in used.iter_backwards() {
            if room == 0 || *passes == 0 {
                break;
            }
            if wanted(pool) {
                room -= 1;
                used.remove(pool);
                found.push_back(pool);
            } else {
                *passes -= 1;
            }
        }
        while let Some(pool) = found.first() {
            found.remove(pool);
            used.push_front(pool);
        }
    }

    /// Takes a used pool out of the heap. It is the caller's still, and on no list.
    fn take_out(&mut self, heap: &Heap, pool: &Pool) {
        self.keep_no_more(pool);
        self.used[pool.class()].remove(pool);
        heap.map.leave(pool);
        pool.take_from_heap();
    }

    /// Puts a pool that was taken out back into the heap, behind the others, so that it drains. True when it goes to its arena instead, since it is empty.
    fn put_back(&mut self, heap: &Heap, pool: &Pool) -> bool {
        pool.return_to_heap(heap.as_owner());
        self.used[pool.class()].push_back(pool);
        // Meanwhile others may have posted the rest.
        let unscanned = pool.collect_into_local();
        if pool.in_use() == 0 {
            self.give_back_empty(&heap.map, pool);
            return true;
        }
        if unscanned > 0 {
            self.unscanned_bytes += unscanned;
            self.unscanned |= 1 << pool.class();
        }
        enter_used(heap, pool);
        false
    }

    /// Leaves a pool that was taken out to others, as `abandon`.
    fn abandon(&mut self, pool: &Pool) {
        if let Some(vacant) = abandon(pool) {
            self.vacant.push_back(vacant);
        }
    }

    /// Keeps a used pool that has just become empty. Returns the one that must go instead, if any: the longest kept one, or this
    /// one if others of its class have room or the slack is used up.
    fn keep_empty<'a>(&mut self, pool: &'a Pool) -> Option<&'a Pool> {
        // At the back, so that the others are filled first.
        self.move_to_back(pool);
        let first = self.used[pool.class()].first();
        // A single slot is kept whoever has used the slack up.
        let small = pool.slots() == 1;
        if !first.is_some_and(|first| ptr::eq(first, pool)) || !small && budget::is_used_up() {
            return Some(pool);
        }
        pool.count_all_freed();
        self.unscanned |= 1 << pool.class();
        if let Some(place) = self.kept.iter().position(|kept| kept.is_null()) {
            self.kept[place] = pool;
            return None;
        }
        let oldest = self.kept[0];
        self.kept.rotate_left(1);
        self.kept[KEPT_POOLS - 1] = pool;
        // SAFETY: kept pools are used ones, which are live.
        Some(unsafe { &*oldest })
    }

    /// Gives a used pool back to its arena that is empty, remote frees collected.
    #[inline(never)]
    fn give_back_empty(&mut self, map: &SlotMap, pool: &Pool) {
        pool.collect_into_local();
        self.take_out_empty(map, pool);
        self.vacant.push_back(pool);
    }

    /// Gives back the empty used pools of a class that are not kept. True when there were any.
    fn give_back_empty_of(&mut self, heap: &Heap, class: usize, own: bool) -> bool {
        let mut returned = false;
        for pool in self.used[class].iter() {
            // If all blocks in use were freed remotely, nobody can change the count. Other pools without any in use are for their thread to give
            // back, which is on its way here.
            let remote = pool.remote.count();
            let empty = remote == pool.in_use() && !pool.awaits_owner();
            if empty && (own || remote > 0) {
                self.give_back_empty(&heap.map, pool);
                returned = true;
            }
        }
        returned
    }

    /// Gives back the empty pools that are kept. True when there were any.
    fn give_back_kept(&mut self, heap: &Heap) -> bool {
        let mut returned = false;
        // SAFETY: kept pools are used ones, which are live.
        while let Some(pool) = unsafe { self.kept[0].as_ref() } {
            self.give_back_empty(&heap.map, pool);
            returned = true;
        }
        returned
    }

    /// Takes an empty used pool out of the heap.
    fn take_out_empty(&mut self, map: &SlotMap, pool: &Pool) {
        debug_assert!(pool.in_use() == 0);
        self.keep_no_more(pool);
        self.used[pool.class()].remove(pool);
        map.leave(pool);
        pool.become_vacant();
    }

    fn keep_no_more(&mut self, pool: &Pool) {
        if let Some(place) = self.kept.iter().position(|kept| ptr::eq(*kept, pool)) {
            self.kept.copy_within(place + 1.., place);
            self.kept[KEPT_POOLS - 1] = ptr::null();
        }
    }
}

/// How many blocks a bin of a class may hold now. All threads together hold no more than the bins of two would, or two blocks each: what is in
/// the bin of a thread that sleeps stays there, and keeps a pool from going back whatever others free.
fn room_of_bin(class: usize) -> u16 {
    let most = TABLE[class].bin_blocks as usize;
    (2 * most / active::count()).clamp(2, most) as u16
}

/// Whether the slot map may show a used pool: not when remote frees wait in it (see `free_under_lock`), or pages of it are purged.
fn may_be_in_slot_map(pool: &Pool) -> bool {
    pool.remote.count() == 0 && !pool.has_purged_pages()
}

/// Shows a used pool in its heap's slot map, if it may, as it is now.
fn enter_used(heap: &Heap, pool: &Pool) {
    match may_be_in_slot_map(pool) {
        true => {
            heap.map.enter(pool, &heap.bins[pool.class()]);
            heap.map.settle(pool);
        }
        false => heap.map.leave(pool),
    }
}

/// The pool in which a block lies.
fn pool_around(address: usize) -> Option<&'static Pool> {
    match arena::run_of(address) {
        // SAFETY: the header of an allocated run.
        Slot::Run(header) => Some(unsafe { Pool::at(header) }),
        _ => None,
    }
}

/// After the countdown of a pool of the heap has reached zero. Only for the heap's thread.
pub fn after_event(heap: &Heap, pool: &Pool) {
    heap.bins[pool.class()].recount_if_due();
    budget::decay_in_turn(&heap.turns);
    let mut lists = heap.lists.lock();
    lists.handle_event(heap, pool);
    scan_if_due(heap, lists);
}

/// Gives the lock back, and looks for free pages if that is due.
#[inline(never)]
fn scan_if_due<'a>(heap: &'a Heap, mut lists: Guard<'a, Lists>) {
    if !lists.must_scan() {
        return heap.give_back(lists, Some(heap));
    }
    let mut most = SCANS_AT_ONCE;
    lists = scan_pools(heap, lists, &mut most);
    heap.give_back(lists, Some(heap));
    if budget::is_used_up() {
        for class in 1..CLASSES {
            purge_abandoned(class, &mut most, true);
        }
    }
    budget::decay();
}

/// Whether a used pool is one that a thread among several leaves when it looks for free pages: it has notes, or is not cut to the end.
fn is_to_be_left(pool: &Pool) -> bool {
    pool.unscanned() > 0 || pool.has_untouched()
}

/// Looks at the pools with notes, at most so many; what is left of `most` is told. With several threads what was looked at is left to everyone, since this
/// thread may sleep for ever from now on, while others free what it has in there.
#[cold]
#[inline(never)]
fn scan_pools<'a>(
    heap: &'a Heap,
    mut lists: Guard<'a, Lists>,
    most: &mut usize,
) -> Guard<'a, Lists> {
    let leaves = active::count() > 1;
    let wanted: fn(&Pool) -> bool = match leaves {
        true => is_to_be_left,
        false => |pool| pool.unscanned() > 0,
    };
    lists.unscanned_bytes = 0;
    let mut passes = PASSES_AT_ONCE;
    let mut unscanned = core::mem::take(&mut lists.unscanned);
    while unscanned != 0 {
        let class = unscanned.trailing_zeros() as usize;
        lists.empty_bin(heap, class);
        lists.gather_unscanned(class, wanted, *most, &mut passes);
        while *most > 0 {
            let Some(pool) = lists.used[class].first().filter(|pool| wanted(pool)) else {
                break;
            };
            *most -= 1;
            (lists, _) = heap.purge_in_hand(lists, pool);
            match leaves {
                true => lists.abandon(pool),
                false => _ = lists.put_back(heap, pool),
            }
        }
        if *most == 0 {
            lists.rescan(unscanned);
            break;
        }
        if passes == 0 {
            lists.unscanned |= unscanned;
            break;
        }
        unscanned &= unscanned - 1;
    }
    lists
}

/// Frees a list of blocks of pools that the calling thread's heap did not own, as it seemed.
fn free_all_foreign(own: Option<&Heap>, mut blocks: *const Block) {
    // SAFETY: the blocks are free, and the caller's.
    while let Some(block) = unsafe { blocks.as_ref() } {
        blocks = block.next();
        if let Some(pool) = pool_around(ptr::from_ref(block) as usize) {
            free_foreign(own, pool, block);
        }
    }
}

/// Gives the slots of a vacant pool back to their arena.
fn release_vacant(pool: &Pool) {
    // SAFETY: a vacant pool has no live block and no owner, and is on no list.
    unsafe { arena::release(ptr::from_ref(pool).cast(), pool.slots(), pool.is_written()) };
}

/// Leaves a used pool that is on no list, and the caller's, to whoever needs it, or if little of it is free, to whoever frees into it. Returns
/// it if it is vacant instead, since it was empty: the caller then gives it back to its arena.
#[must_use]
fn abandon(pool: &Pool) -> Option<&Pool> {
    if pool.is_nearly_full() && pool.try_become_full() {
        news::tell();
        return None;
    }
    abandon_to_all(pool)
}

/// As `abandon`, to whoever needs it, however little of it is free.
#[must_use]
#[inline(never)]
fn abandon_to_all(pool: &Pool) -> Option<&Pool> {
    pool.become_abandoned();
    while pool.in_use() > 0 {
        ABANDONED.add(pool);
        if pool.try_disown() {
            return None;
        }
        // With the remote frees that came meanwhile it may be empty, or have notes, and another place on the list.
        ABANDONED.remove(pool);
        pool.collect_into_local();
    }
    pool.become_vacant();
    Some(pool)
}

/// As `abandon`, for who holds no lock.
fn abandon_at_once(pool: &Pool) {
    if let Some(vacant) = abandon(pool) {
        release_vacant(vacant);
    }
}

/// Leaves full pools that have free blocks all the same to whoever needs these. For when the system has no memory. True when there were any.
#[cold]
pub fn open_full_pools() -> bool {
    static WALK: Walk = Walk::new();
    WALK.begin(heaps::news(), |is_news| is_news && open_all_full())
}

fn open_all_full() -> bool {
    let found = PoolList::new();
    // The lock of the abandoned ones comes before that of the arenas, which is held here.
    let mut abandoned = None;
    arena::each(&mut |view| {
        for header in view.runs() {
            // SAFETY: the header of an allocated run, and the arenas are held still.
            let pool: &'static Pool = unsafe { Pool::at(header) };
            if abandoned.is_some() || !pool.is_full_but_for_some() || !pool.remote.try_claim() {
                continue;
            }
            if pool.state() == State::Abandoned {
                // It changed hands this very moment.
                abandoned = Some(pool);
                continue;
            }
            pool.become_used_by(ptr::null());
            found.push_back(pool);
        }
    });
    let any = found.first().is_some();
    while let Some(pool) = found.first() {
        found.remove(pool);
        if let Some(vacant) = abandon_to_all(pool) {
            release_vacant(vacant);
        }
    }
    if let Some(pool) = abandoned {
        ABANDONED.remove(pool);
        pool.become_used_by(ptr::null());
        abandon_at_once(pool);
        // What came behind it was not looked at.
        news::tell();
    }
    any
}

/// Purges the free pages of abandoned pools of a class, at most so many: of all of them, or only of those that have unscanned blocks, which
/// are in front. True when there were any. What is left of `most` is told.
#[inline(never)]
pub(super) fn purge_abandoned(class: usize, most: &mut usize, only_unscanned: bool) -> bool {
    let mut purged = false;
    for _ in 0..ABANDONED.count(class).min(*most) {
        let Some(pool) = ABANDONED.claim_first(class, only_unscanned) else {
            break;
        };
        *most -= 1;
        pool.become_used_by(ptr::null());
        purged |= pool.purge_free_pages() > 0;
        abandon_at_once(pool);
    }
    purged
}

/// Frees a block of a pool that the calling thread's heap does not own. `heap` is `None` for a
/// thread that has no heap, or none any more.
pub fn free_foreign(heap: Option<&Heap>, pool: &Pool, block: &Block) {
    // Until the block is posted it keeps the pool alive; afterwards nothing does.
    let start = pool.start();
    loop {
        if concerns_owner(pool) {
            match free_under_lock(heap, pool, block, start) {
                Some(()) => break,
                None => continue,
            }
        }
        match pool.remote.push_or_claim(block, start) {
            Pushed::Posted => break,
            Pushed::Claimed => return free_claimed(heap, pool, block),
        }
    }
    if let Some(heap) = heap {
        // Relaxed, and no read-modify-write: only this thread writes it. Release: see `news`.
        let frees = heap.remote_frees.load(Ordering::Relaxed);
        heap.remote_frees.store(frees + 1, Ordering::Release);
        if frees.is_multiple_of(REMOTE_FREES_A_DECAY) {
            budget::decay();
        }
    } else {
        news::tell();
    }
}

/// Remote frees from one decay to the next: a thread that does nothing else must come by within seconds.
const REMOTE_FREES_A_DECAY: usize = 64;

/// Whether a remote free into a used pool is one that its owner, which may be asleep, should not miss: the first that waits, or
/// the one that leaves no block in use. A hint, since owner and others go on meanwhile; a pool that is
/// missed so is found by `release_some_empty`, by `refill`, or by `trim`.
fn concerns_owner(pool: &Pool) -> bool {
    let waiting = pool.remote.count();
    pool.state() == State::Used && (waiting == 0 || waiting + 1 >= pool.in_use())
}

/// Frees a block of a used pool of another thread under the lock of its heap. If that was the last block, the pool goes back
/// to its arena. Otherwise it leaves the owner's slot map, so that the owner's own next free into it goes by `free_own` and
/// finds the remote frees. The first that waits is only posted when the owner is busy, if it cannot be the last. `None`, and nothing is freed,
/// when the pool has another owner or state by then.
#[cold]
fn free_under_lock(heap: Option<&Heap>, pool: &Pool, block: &Block, start: usize) -> Option<()> {
    let owner = pool.owner().cast::<Heap>();
    // SAFETY: owners are heaps, and heaps are never unmapped. Null for a pool without an owner.
    let owner = unsafe { owner.as_ref() };
    let Some(owner) = owner else {
        // Without an owner: whoever is giving it up or claiming it is about to finish.
        return match pool.remote.push_or_claim(block, start) {
            Pushed::Posted => Some(()),
            Pushed::Claimed => {
                free_claimed(None, pool, block);
                Some(())
            }
        };
    };
    // With more blocks in use than there are threads, those that post at once hardly free the last. A hint, as `concerns_owner` is.
    let many = pool.in_use() as usize > active::count();
    let (first, slots) = (pool.remote.count() == 0 && many, pool.slots());
    let mut lists = match owner.lists.try_lock() {
        Some(lists) => lists,
        // The owner is busy with its lists, and may be for a millisecond: it learns of the block when it next frees into the pool.
        None if first => match pool.remote.push_or_claim(block, start) {
            Pushed::Posted => {
                owner.map.leave_posted(start, slots);
                return Some(());
            }
            Pushed::Claimed => {
                free_claimed(heap, pool, block);
                return Some(());
            }
        },
        None => owner.lists.lock(),
    };
    if !pool.is_owned_by(owner.as_owner()) || pool.state() != State::Used {
        return None;
    }
    // The owner cannot give the pool up without its lock.
    let pushed = pool.remote.push_or_claim(block, start);
    debug_assert!(pushed == Pushed::Posted);
    if pool.remote.count() == pool.in_use() && !pool.awaits_owner() {
        pool.collect_into_local();
        lists.take_out_empty(&owner.map, pool);
        drop(lists);
        release_vacant(pool);
    } else {
        owner.map.leave(pool);
    }
    Some(())
}

/// Frees a block of a pool of the calling thread's heap that the slot map does not show: remote frees wait there, pages of it
/// are purged, or another pool of the heap has its place in the map.
pub fn free_own(heap: &Heap, pool: &Pool, block: &Block) {
    let mut lists = heap.lists.lock();
    let unscanned = pool.collect_into_local();
    pool.push(block);
    enter_used(heap, pool);
    if unscanned > 0 {
        lists.unscanned_bytes += unscanned;
        lists.unscanned |= 1 << pool.class();
        lists.move_to_back(pool);
    }
    if pool.is_at_event() {
        lists.handle_event(heap, pool);
    }
    scan_if_due(heap, lists);
}

/// Frees a block of a pool that the calling thread has just claimed.
fn free_claimed(heap: Option<&Heap>, pool: &Pool, block: &Block) {
    if pool.state() == State::Abandoned {
        ABANDONED.remove(pool);
    }
    let Some(heap) = heap else {
        pool.become_used_by(ptr::null());
        let event = pool.push(block);
        if pool.in_use() == 0 {
            pool.become_vacant();
            return release_vacant(pool);
        }
        if event {
            pool.after_event();
            if budget::is_used_up() {
                pool.purge_free_pages();
            }
        }
        return abandon_at_once(pool);
    };
    let mut lists = heap.lists.lock();
    lists.release_some_empty(&heap.map, pool.class());
    pool.become_used_by(heap.as_owner());
    pool.push(block);
    enter_used(heap, pool);
    lists.used[pool.class()].push_back(pool);
    if pool.unscanned() > 0 {
        lists.unscanned |= 1 << pool.class();
    }
    if pool.is_at_event() {
        lists.handle_event(heap, pool);
    }
    scan_if_due(heap, lists);
}

/// Whether a block that carries the mark of free blocks is free. `heap` is the calling thread's.
/// A program can bring a mark back to where it was, by copying what it never wrote.
#[cold]
pub fn is_free(heap: Option<&Heap>, pool: &Pool, block: &Block) -> bool {
    heap.is_some_and(|heap| heap.bins[pool.class()].holds(block))
        || is_on_a_list_of(pool, block)
        || heaps::is_any(|other| {
            other.bins[pool.class()].shows(block, |at| look_in_bin(at, pool.class()))
        })
}

/// What the block of a class at an address that was seen in a bin says: the one behind it, and whether it carries the mark. `None` when it
/// is no block any more.
fn look_in_bin(address: usize, class: usize) -> Option<(*const Block, bool)> {
    arena::with_run_of_stray(address, |slot| {
        let Slot::Run(header) = slot else {
            return None;
        };
        // SAFETY: the header of an allocated run, and the arenas are held still.
        let pool = unsafe { Pool::at(header) };
        let block = (pool.class() == class)
            .then(|| pool.block_at(address))?
            .ok()?;
        pool.look_at(block)
    })
}

/// Whether a block is on one of its pool's lists.
#[inline(never)]
fn is_on_a_list_of(pool: &Pool, block: &Block) -> bool {
    // Bounded, because in a forked child nobody finishes what a thread of the parent was about to do.
    for _ in 0..LOOKS {
        // SAFETY: owners are heaps, and heaps are never unmapped.
        if let Some(owner) = unsafe { pool.owner().cast::<Heap>().as_ref() } {
            let _lists = owner.lists.lock();
            if pool.is_owned_by(owner.as_owner()) {
                return pool.is_on_a_list(block);
            }
        } else if pool.remote.try_claim() {
            let abandoned = pool.state() == State::Abandoned;
            if abandoned {
                ABANDONED.remove(pool);
            }
            pool.become_used_by(ptr::null());
            let free = pool.is_on_a_list(block);
            match !abandoned && pool.try_become_full() {
                true => news::tell(),
                false => abandon_at_once(pool),
            }
            return free;
        }
        // Between owners: whoever is giving it up, claiming it, or looking for free pages in it is about to finish.
        os::wait(&AtomicU32::new(0), 0, BETWEEN_LOOKS);
    }
    false
}

/// Looks at a pool between owners, and the milliseconds between two, before a block is given the benefit of the doubt. Nobody tells when it has an
/// owner again, so that whoever waits for that sleeps a little, by the call that locks sleep by.
const LOOKS: usize = 200;
const BETWEEN_LOOKS: u64 = 1;
