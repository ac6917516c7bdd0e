//! Arenas: aligned mappings of 64 slots, the map that finds them, and `usable_arenas`.
//!
//! What it owns: the memory of every arena, the arena header in each arena's slot 0, and the map
//! from addresses to live arenas. What a slot's own header says belongs to the floors above
//! (`pool`, `large`).
//!
//! ```text
//!   arena (1 MiB, aligned)
//!   +---------------------------------------+-----------+-----------+-- ... --+
//!   | slot 0: arena header, 63 slot headers | slot 1    | slot 2    |         |
//!   +---------------------------------------+-----------+-----------+-- ... --+
//! ```
//!
//! `usable_arenas` are all arenas with a free slot. A request for one slot is served from the arena
//! with the fewest free ones, so that nearly empty arenas drain; a request for a run of slots from an arena
//! whose longest free run is the shortest that fits. Both orders are kept in buckets, one
//! for each count, so that every change costs the same however many arenas there are.
//! An arena whose last slot is freed is unmapped; all but one (`conf::EMPTY_ARENAS`), as in CPython since 3.8. The pages of
//! free slots in live arenas go back as soon as there are more of them than `DIRTY_SHARE` and `DIRTY_PART` say.
//!
//! Everything but the map is guarded by `ARENAS`. The map is written under the lock and
//! read without.

#[cfg(feature = "watch")]
pub mod outside;

use crate::conf;
use crate::geometry::{
    ARENA_MASK, ARENA_SHIFT, ARENA_SIZE, HEADER_SHIFT, HEADER_SIZE, SLOT_SHIFT, SLOT_SIZE, SLOTS,
};
use crate::layout::layout;
use crate::learn::{self, Learned};
use crate::os;
use crate::registry::{Entry, Registry};
use crate::sync::{AtomicU64, Lock, Ordering};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize};

/// Slot 0 is the arena's own and never free.
const FREE_WHEN_EMPTY: u64 = !1;
/// Slots that an arena can hand out.
const USABLE_SLOTS: usize = SLOTS - 1;

/// Arenas are found by the low bits of their number. 65,536 places reach 64 GiB before two arenas that lie side
/// by side can want the same one; one that finds its place taken goes to the overflow registry and is
/// found on the slow paths.
const MAP_PLACES: usize = 1 << 16;

/// For each place the address of the live arena there, or 0.
pub static MAP: [AtomicUsize; MAP_PLACES] = [const { AtomicUsize::new(0) }; MAP_PLACES];

/// The place of the arena that starts at `base`.
fn place_in_map(base: usize) -> &'static AtomicUsize {
    &MAP[(base >> ARENA_SHIFT) % MAP_PLACES]
}

/// The live arena that holds `address`, if it is in the map.
#[inline]
fn arena_in_map(address: usize) -> Option<*const Arena> {
    let base = address & !ARENA_MASK;
    // Relaxed: whoever may free a block got it by some synchronisation from the thread that
    // allocated it, which saw the arena mapped. For a stray pointer any answer will do that
    // is not followed by a fault, and an arena leaves the map before it is unmapped.
    let found = place_in_map(base).load(Ordering::Relaxed) == base && base != 0;
    found.then_some(base as *const Arena)
}

/// The arena header: slot 0's own.
#[repr(C, align(64))]
struct Arena {
    /// The free slots, a bit each.
    free: AtomicU64,
    /// The slots at which an allocated run (a pool or a large run) starts. Changed under the lock. Read without
    /// by those who hold a block of the run in question: its bits stay as they are.
    starts: AtomicU64,
    /// Slots whose pages may hold old data, free or taken: all others read as zeroes.
    dirty: Cell<u64>,
    /// Free slots of which every page was written since it was mapped or last purged, as those told who released them.
    written: Cell<u64>,
    by_count: Links,
    by_run: Links,
}

#[repr(C)]
struct Links {
    next: Cell<*const Arena>,
    previous: Cell<*const Arena>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Arena>() <= HEADER_SIZE);

impl Arena {
    fn base(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    fn free(&self) -> u64 {
        // Relaxed: the lock orders all writers, and it is held.
        self.free.load(Ordering::Relaxed)
    }

    fn count(&self) -> usize {
        self.free().count_ones() as usize
    }

    fn is_empty(&self) -> bool {
        self.free() == FREE_WHEN_EMPTY
    }

    /// Free slots that may hold pages.
    fn dirty_free(&self) -> u64 {
        self.dirty.get() & self.free()
    }
}

/// `count` ones from bit `first` on.
fn slots_mask(first: usize, count: usize) -> u64 {
    debug_assert!(first >= 1 && count >= 1 && first + count <= SLOTS);
    (u64::MAX >> (SLOTS - count)) << first
}

/// The length of the longest run of ones, by doubling (Warren, "Hacker's Delight", section 6-3).
fn longest_run(bits: u64) -> usize {
    // starts[k]: where runs of at least 2^k ones start.
    let mut starts = [bits; SLOTS.trailing_zeros() as usize];
    for power in 1..starts.len() {
        starts[power] = starts[power - 1] & starts[power - 1] >> (1 << (power - 1));
    }
    let (mut length, mut current) = (0, u64::MAX);
    for power in (0..starts.len()).rev() {
        let longer = current & starts[power] >> length;
        if longer != 0 {
            current = longer;
            length += 1 << power;
        }
    }
    length
}

/// The start of the first run of at least `count` ones.
fn first_run(bits: u64, count: usize) -> Option<usize> {
    let mut starts = bits;
    for _ in 1..count {
        starts &= bits >> 1 & starts >> 1;
    }
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

/// Arenas in buckets by a number from 1 to 63.
struct Buckets {
    first: [*const Arena; SLOTS],
    /// The buckets that are not empty, a bit each.
    occupied: u64,
    links: fn(&Arena) -> &Links,
}

impl Buckets {
    const fn new(links: fn(&Arena) -> &Links) -> Self {
        Buckets {
            first: [ptr::null(); SLOTS],
            occupied: 0,
            links,
        }
    }

    /// The first arena in the lowest bucket that is at least `wanted`.
    fn lowest_from(&self, wanted: usize) -> *const Arena {
        match self.occupied & (u64::MAX << wanted) {
            0 => ptr::null(),
            fitting => self.first[fitting.trailing_zeros() as usize],
        }
    }

    fn insert(&mut self, arena: &Arena, bucket: usize) {
        let links = (self.links)(arena);
        let next = self.first[bucket];
        links.next.set(next);
        links.previous.set(ptr::null());
        // SAFETY: arenas in a bucket are mapped, and guarded by the lock that `self` is behind.
        if let Some(next) = unsafe { next.as_ref() } {
            (self.links)(next).previous.set(arena);
        }
        self.first[bucket] = arena;
        self.occupied |= 1 << bucket;
    }

    fn remove(&mut self, arena: &Arena, bucket: usize) {
        let links = (self.links)(arena);
        let (next, previous) = (links.next.get(), links.previous.get());
        // SAFETY: as in `insert`.
        match unsafe { previous.as_ref() } {
            Some(previous) => {
                let links = (self.links)(previous);
                debug_assert!(ptr::eq(links.next.get(), arena));
                links.next.set(next);
            }
            None => {
                debug_assert!(ptr::eq(self.first[bucket], arena), "it is in this bucket");
                self.first[bucket] = next;
            }
        }
        // SAFETY: as in `insert`.
        if let Some(next) = unsafe { next.as_ref() } {
            (self.links)(next).previous.set(previous);
        }
        if self.first[bucket].is_null() {
            self.occupied &= !(1 << bucket);
        }
    }
}

/// Figures about arenas.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Arenas mapped since the start.
    pub mapped: usize,
    /// Arenas unmapped since the start.
    pub unmapped: usize,
    /// Arenas mapped now.
    pub live: usize,
    /// The most that were mapped at one time.
    pub most: usize,
    /// Free slots whose pages were given back, in live arenas, since the start.
    pub purged: usize,
    /// Bytes of the free slots that may be resident.
    pub dirty_bytes: usize,
}

/// Free slots may hold pages for this part (1/4) of `conf::SLACK`, as much as the loose pages in used pools (`heap::slack`)...
const DIRTY_SHARE: (usize, usize) = (1, 4);
/// ... and for this part (1/2) of the share of what is in use that `conf::SLACK_PART` allows.
const DIRTY_PART: usize = 2;

/// Bytes that go back in one go when much is due at once, since what was learned is forgotten: a millisecond or two, for which
/// other threads may have to wait. The next slow paths go on.
const AT_ONCE: usize = 8 << 20;

/// Arenas whose free slots the system refuses to take (locked memory) before the others are left alone too.
const REFUSALS: usize = 16;

/// Bytes that may stay without a live block: a share of `conf::SLACK`, and one `part` of what `conf::SLACK_PART` allows of
/// the memory in use.
pub fn allowance((share, of): (usize, usize), part: usize) -> usize {
    let fraction = match conf::SLACK_PART.get() {
        0 => 0,
        slack_part => resident_bytes() / (slack_part * part),
    };
    (conf::SLACK.get() / of * share).saturating_add(fraction)
}

pub struct Arenas {
    /// `usable_arenas` by the number of free slots.
    by_count: Buckets,
    /// `usable_arenas` by the longest run of free slots.
    by_run: Buckets,
    /// Arenas whose slots are all free.
    empty: usize,
    /// Free slots of all arenas.
    free_slots: usize,
    /// Free slots of all arenas that may hold pages.
    dirty_slots: usize,
    /// How many that were when the system last refused to purge (locked memory), 0 after a success: there must be twice as
    /// many before it is asked again.
    refused_at: usize,
    /// What is kept beyond what may be dirty.
    learned: Learned,
    /// Live arenas that found their place in the map taken.
    overflow: Registry,
    /// Where the next arena would best be mapped: below the last one, since the system hands out addresses from
    /// the top down; arenas that touch share one kernel mapping and need no trimming.
    hint: *mut u8,
    counts: Counts,
}

// SAFETY: the pointers are to arenas, which are guarded by the lock around this structure.
unsafe impl Send for Arenas {}

/// Whether some of what was learned was forgotten and has not all gone back yet. Changed under the lock of the arenas.
static FORGOT: AtomicBool = AtomicBool::new(false);

#[cfg(not(loom))]
pub static ARENAS: Lock<Arenas> = Lock::new(Arenas {
    by_count: Buckets::new(|arena| &arena.by_count),
    by_run: Buckets::new(|arena| &arena.by_run),
    empty: 0,
    free_slots: 0,
    dirty_slots: 0,
    refused_at: 0,
    learned: Learned::nothing(),
    overflow: Registry::empty(),
    hint: ptr::null_mut(),
    counts: Counts {
        mapped: 0,
        unmapped: 0,
        live: 0,
        most: 0,
        purged: 0,
        dirty_bytes: 0,
    },
});

/// See `layout`.
#[cfg(not(loom))]
pub const LAYOUT: u64 = layout! {
    Arena { free, starts, dirty, by_count, by_run }
    Counts { mapped, unmapped, live, most, purged, dirty_bytes }
    Arenas { free_slots, dirty_slots, overflow, counts }
    Lock<Arenas> {}
};

/// Slots that are taken, of all arenas. Written under the lock.
pub static TAKEN_SLOTS: AtomicUsize = AtomicUsize::new(0);
/// Those of them that large runs take. The floor above counts them.
pub static LARGE_SLOTS: AtomicUsize = AtomicUsize::new(0);
/// Bytes of purged pages in slots that are taken. The floors above count them.
pub static PURGED_INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the pools that may be resident. Large runs do not count: nobody knows how much of them the program has touched.
pub fn resident_bytes() -> usize {
    // Relaxed, here and below: an account that others change meanwhile.
    let taken = TAKEN_SLOTS.load(Ordering::Relaxed);
    let pools = taken.saturating_sub(LARGE_SLOTS.load(Ordering::Relaxed));
    (pools << SLOT_SHIFT).saturating_sub(purged_inside())
}

/// Counts the slots of a large run that was taken, or grew.
pub fn add_large(slots: usize) {
    LARGE_SLOTS.fetch_add(slots, Ordering::Relaxed);
}

/// Counts the slots of a large run that is given back, or shrank.
pub fn subtract_large(slots: usize) {
    LARGE_SLOTS.fetch_sub(slots, Ordering::Relaxed);
}

/// Bytes of purged pages in slots that are taken.
pub fn purged_inside() -> usize {
    PURGED_INSIDE.load(Ordering::Relaxed)
}

/// Counts bytes in taken slots that were purged.
pub fn add_purged_inside(bytes: usize) {
    PURGED_INSIDE.fetch_add(bytes, Ordering::Relaxed);
}

/// Counts bytes that are about to be used again, or whose slots go back.
pub fn subtract_purged_inside(bytes: usize) {
    PURGED_INSIDE.fetch_sub(bytes, Ordering::Relaxed);
}

/// A run of slots that was taken.
pub struct Taken {
    /// The header of the first slot.
    pub header: *mut u8,
    /// The first byte of the first slot.
    pub start: *mut u8,
    /// Whether every byte is known to be zero.
    pub zeroed: bool,
    /// Whether every page is known to have been written, so that it is resident.
    pub written: bool,
}

impl Arenas {
    fn enter_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            self.by_count.insert(arena, arena.count());
            self.by_run.insert(arena, longest_run(arena.free()));
        }
    }

    fn leave_usable(&mut self, arena: &Arena) {
        if arena.free() != 0 {
            self.by_count.remove(arena, arena.count());
            self.by_run.remove(arena, longest_run(arena.free()));
        }
    }

    /// The one place where the free slots of an arena change: keeps the buckets and the counts. What becomes free is dirty.
    fn change_free(&mut self, arena: &Arena, free: u64) {
        debug_assert!(free & 1 == 0, "slot 0 is never free");
        arena.dirty.set(arena.dirty.get() | (free & !arena.free()));
        self.leave_usable(arena);
        self.uncount(arena);
        // Relaxed: see `Arena::free`.
        arena.free.store(free, Ordering::Relaxed);
        arena.written.set(arena.written.get() & free);
        self.count(arena);
        self.enter_usable(arena);
        // Relaxed: an account.
        TAKEN_SLOTS.store(self.taken_slots(), Ordering::Relaxed);
    }

    fn taken_slots(&self) -> usize {
        self.counts.live * USABLE_SLOTS - self.free_slots
    }

    fn count(&mut self, arena: &Arena) {
        self.empty += usize::from(arena.is_empty());
        self.free_slots += arena.count();
        self.dirty_slots += arena.dirty_free().count_ones() as usize;
    }

    fn uncount(&mut self, arena: &Arena) {
        self.empty -= usize::from(arena.is_empty());
        self.free_slots -= arena.count();
        self.dirty_slots -= arena.dirty_free().count_ones() as usize;
    }

    /// How many free slots may hold pages before they are purged, what was learned aside.
    fn dirty_allowance(&self) -> usize {
        if SLOT_SIZE < os::page_size() {
            // Slots smaller than the system's pages share them with their neighbours.
            return usize::MAX;
        }
        allowance(DIRTY_SHARE, DIRTY_PART) >> SLOT_SHIFT
    }

    /// The same with what was learned.
    fn dirty_allowed(&self) -> usize {
        self.dirty_allowance()
            .saturating_add(self.learned.kept() >> SLOT_SHIFT)
    }

    /// Unmaps empty arenas and purges free slots, those of the emptiest arenas first, until half of the allowance is left, and what was
    /// learned. So each purge covers many slots, and what the next pools will take, from the fullest arenas, stays. False when that was
    /// too much for one go.
    fn purge_surplus(&mut self) -> bool {
        let allowance = self.dirty_allowance();
        let goal = (allowance - allowance / 2).saturating_add(self.learned.kept() >> SLOT_SHIFT);
        // What is dirty when it is time to stop.
        let stop = self.dirty_slots.saturating_sub(AT_ONCE >> SLOT_SHIFT);
        while self.dirty_slots > goal.max(stop)
            && self.empty > conf::EMPTY_ARENAS.get()
            && self.unmap_empty_arena()
        {}
        let mut refusals = 0;
        for bucket in (1..SLOTS).rev() {
            let mut next = self.by_count.first[bucket];
            // SAFETY: arenas in the buckets are mapped.
            while let Some(arena) = unsafe { next.as_ref() } {
                if self.dirty_slots <= goal.max(stop) {
                    return self.dirty_slots <= goal;
                }
                if arena.dirty_free() != 0 && !self.purge_free_slots(arena) {
                    refusals += 1;
                    if refusals == REFUSALS {
                        self.refused_at = self.dirty_slots;
                        return true;
                    }
                }
                next = arena.by_count.next.get();
            }
        }
        if refusals > 0 {
            self.refused_at = self.dirty_slots;
        }
        true
    }

    /// To be called when slots came free.
    fn mind_surplus(&mut self) {
        // What was locked may not be any more.
        self.refused_at = self.refused_at.min(self.dirty_slots);
        if self.dirty_slots > self.dirty_allowed().max(2 * self.refused_at) {
            self.purge_surplus();
        }
    }

    /// Purges the dirty free slots of an arena. True when there were any.
    fn purge_free_slots(&mut self, arena: &Arena) -> bool {
        let mut dirty = arena.dirty_free();
        let mut purged = 0;
        while dirty != 0 {
            let first = dirty.trailing_zeros() as usize;
            let count = (!(dirty >> first)).trailing_zeros() as usize;
            let mask = slots_mask(first, count);
            let start = (arena.base() + (first << SLOT_SHIFT)) as *mut u8;
            // SAFETY: whole free slots, which are whole pages: `dirty_allowed` and `trim` see to that.
            if unsafe { os::purge(start, count << SLOT_SHIFT) } {
                purged |= mask;
            }
            dirty &= !mask;
        }
        arena.dirty.set(arena.dirty.get() & !purged);
        arena.written.set(arena.written.get() & !purged);
        let slots = purged.count_ones() as usize;
        self.dirty_slots -= slots;
        self.counts.purged += slots;
        if purged != 0 {
            self.refused_at = 0;
            self.learned.give_back(slots << SLOT_SHIFT, learn::now());
        }
        purged != 0
    }

    /// Makes an arena findable. False when there is no memory for an overflow entry.
    fn enter_map(&mut self, arena: &Arena) -> bool {
        // Relaxed here and below: see `arena_in_map`.
        let place = place_in_map(arena.base());
        if place.load(Ordering::Relaxed) == 0 {
            place.store(arena.base(), Ordering::Relaxed);
            return true;
        }
        let room = self.overflow.reserve();
        if room {
            self.overflow.insert(Entry {
                address: arena.base(),
                size: ARENA_SIZE,
            });
        }
        room
    }

    fn leave_map(&mut self, arena: &Arena) {
        let place = place_in_map(arena.base());
        if place.load(Ordering::Relaxed) == arena.base() {
            place.store(0, Ordering::Relaxed);
        } else {
            let found = self.overflow.remove(arena.base());
            debug_assert!(found.is_some(), "a live arena is in the map or overflows");
        }
    }

    /// Maps a new arena, all of its slots free and zeroed, and enters it everywhere.
    fn map_arena(&mut self) -> Option<&'static Arena> {
        let base = os::map_aligned(self.hint, ARENA_SIZE, ARENA_SIZE)?.as_ptr();
        // SAFETY: fresh zeroed memory, aligned, and all zeroes is a valid arena header; it stays mapped
        // until `forget_arena` takes it out of every list.
        let arena: &'static Arena = unsafe { &*base.cast() };
        if !self.enter_map(arena) {
            // SAFETY: nobody has seen it.
            let _ = unsafe { os::try_unmap(base, ARENA_SIZE) };
            return None;
        }
        self.hint = base.wrapping_sub(ARENA_SIZE);
        self.counts.mapped += 1;
        self.counts.live += 1;
        self.counts.most = self.counts.most.max(self.counts.live);
        // Relaxed: see `Arena::free`.
        arena.free.store(FREE_WHEN_EMPTY, Ordering::Relaxed);
        self.count(arena);
        self.enter_usable(arena);
        Some(arena)
    }

    /// Takes an empty arena out of everything, so that it can be unmapped.
    fn forget_arena(&mut self, arena: &Arena) -> *mut u8 {
        debug_assert!(arena.is_empty());
        self.leave_usable(arena);
        self.leave_map(arena);
        self.uncount(arena);
        self.counts.live -= 1;
        self.counts.unmapped += 1;
        arena.base() as *mut u8
    }

    /// Unmaps an empty arena. False where the system refuses: its pages go back and it stays as an empty arena.
    fn unmap_arena(&mut self, arena: &Arena) -> bool {
        let dirty = arena.dirty_free().count_ones() as usize;
        let base = self.forget_arena(arena);
        // SAFETY: the arena is empty and no longer reachable.
        if unsafe { os::try_unmap(base, ARENA_SIZE) } {
            // Its addresses are the first that a later arena should fill again.
            self.hint = base;
            self.learned.give_back(dirty << SLOT_SHIFT, learn::now());
            return true;
        }
        self.counts.unmapped -= 1;
        self.counts.live += 1;
        // SAFETY: as above. When this is refused too the memory is merely still dirty.
        let purged = unsafe { os::purge(base, ARENA_SIZE) };
        // SAFETY: still mapped; the header is either zeroes or what it was, both valid.
        let arena: &'static Arena = unsafe { &*base.cast() };
        if !purged {
            arena.dirty.set(FREE_WHEN_EMPTY);
        }
        arena.written.set(0);
        // Relaxed: see `Arena::free`.
        arena.free.store(FREE_WHEN_EMPTY, Ordering::Relaxed);
        self.count(arena);
        // A place of the map was freed by `forget_arena` and the lock has been held since.
        let entered = self.enter_map(arena);
        debug_assert!(entered);
        self.enter_usable(arena);
        false
    }

    /// Tells what of the learned part is unused, and gives back what was forgotten, though not too much in one go. For changes of free
    /// slots, which are many, `in_turn`.
    #[inline]
    fn mind_learned(&mut self, in_turn: bool) {
        if self.learned.kept() > 0 || is_giving_back() {
            self.mind_learned_now(in_turn);
        }
    }

    #[inline(never)]
    fn mind_learned_now(&mut self, in_turn: bool) {
        let unused = self.dirty_slots.saturating_sub(self.dirty_allowance()) << SLOT_SHIFT;
        if self.learned.kept() > 0 {
            let forgot = match in_turn {
                true => self.learned.observe_in_turn(unused, learn::now),
                false => self.learned.observe(unused, learn::now()),
            };
            if forgot {
                // Relaxed: the lock is held.
                FORGOT.store(true, Ordering::Relaxed);
            }
        }
        if !is_giving_back() {
            return;
        }
        let mut left = AT_ONCE / ARENA_SIZE;
        while left > 0 && self.empty > self.empty_allowed() && self.unmap_empty_arena() {
            left -= 1;
        }
        let done = left > 0 && (self.dirty_slots <= self.dirty_allowed() || self.purge_surplus());
        FORGOT.store(!done, Ordering::Relaxed);
    }

    /// How many empty arenas stay mapped: beyond the usual ones as many as the pages that are kept can fill by half. An arena is
    /// never wholly dirty; were it counted so, some would be unmapped whatever was learned, and learned anew each time.
    fn empty_allowed(&self) -> usize {
        let kept = self.learned.kept().min(self.dirty_slots << SLOT_SHIFT);
        conf::EMPTY_ARENAS.get() + kept / (ARENA_SIZE / 2)
    }

    /// Unmaps one of the empty arenas, of which there is one. As `unmap_arena`.
    fn unmap_empty_arena(&mut self) -> bool {
        // SAFETY: arenas in the buckets are mapped, and empty ones are in this bucket.
        self.unmap_arena(unsafe { &*self.by_count.first[USABLE_SLOTS] })
    }

    fn take(&mut self, count: usize, prepare: impl FnOnce(*const u8)) -> Option<Taken> {
        let usable = if count == 1 {
            self.by_count.lowest_from(1)
        } else {
            self.by_run.lowest_from(count)
        };
        // SAFETY: arenas in the buckets are mapped.
        let arena = match unsafe { usable.as_ref() } {
            Some(arena) => arena,
            None => self.map_arena()?,
        };
        let first = first_run(arena.free(), count)?;
        let mask = slots_mask(first, count);
        let clean = (mask & !arena.dirty.get()).count_ones() as usize;
        self.learned.ask(clean << SLOT_SHIFT, learn::now);
        let written = arena.written.get() & mask == mask;
        self.change_free(arena, arena.free() & !mask);
        self.mind_learned(true);
        let header = (arena.base() + (first << HEADER_SHIFT)) as *mut u8;
        prepare(header);
        // Relaxed: see `Arena::starts`.
        let starts = arena.starts.load(Ordering::Relaxed);
        debug_assert!(starts & mask == 0);
        arena.starts.store(starts | 1 << first, Ordering::Relaxed);
        Some(Taken {
            header,
            start: (arena.base() + (first << SLOT_SHIFT)) as *mut u8,
            zeroed: arena.dirty.get() & mask == 0,
            written,
        })
    }

    fn release(&mut self, arena: &Arena, first: usize, count: usize, written: bool) {
        let mask = slots_mask(first, count);
        debug_assert!(arena.free() & mask == 0, "slots are released once");
        // Relaxed: see `Arena::starts`.
        let starts = arena.starts.load(Ordering::Relaxed);
        arena.starts.store(starts & !mask, Ordering::Relaxed);
        self.change_free(arena, arena.free() | mask);
        if written {
            arena.written.set(arena.written.get() | mask);
        }
        if arena.is_empty() && self.empty > self.empty_allowed() {
            self.unmap_arena(arena);
        }
        self.mind_surplus();
        self.mind_learned(true);
    }

    /// Finds a live arena by its first byte.
    fn find(&self, base: usize) -> Option<&'static Arena> {
        // Relaxed: see `arena_in_map`.
        let live = base != 0
            && (place_in_map(base).load(Ordering::Relaxed) == base
                || self.overflow.get(base).is_some());
        // SAFETY: live arenas are mapped, and leave map and registry before they are unmapped.
        live.then(|| unsafe { &*(base as *const Arena) })
    }

    fn each(&self, mut visit: impl FnMut(&'static Arena)) {
        // Relaxed: see `arena_in_map`.
        let in_map = MAP.iter().map(|place| place.load(Ordering::Relaxed));
        for base in in_map.filter(|base| *base != 0) {
            // SAFETY: as in `find`.
            visit(unsafe { &*(base as *const Arena) });
        }
        for entry in self.overflow.entries() {
            // SAFETY: as in `find`.
            visit(unsafe { &*(entry.address as *const Arena) });
        }
    }
}

/// Takes a run of `count` slots. `None` when the system has no memory. `prepare` writes its header, before anyone who looks
/// at the arena can see the run; it must not use the arenas.
#[cfg(not(loom))]
pub fn take(count: usize, prepare: impl FnOnce(*const u8)) -> Option<Taken> {
    ARENAS.lock().take(count, prepare)
}

/// Which arena and slot a header belongs to.
fn slot_of_header(header: *const u8) -> (*const Arena, usize) {
    let base = header as usize & !ARENA_MASK;
    (
        base as *const Arena,
        (header as usize & ARENA_MASK) >> HEADER_SHIFT,
    )
}

/// The header of the slot in which an address lies.
pub fn header_of(address: usize) -> *const u8 {
    let slot = (address & ARENA_MASK) >> SLOT_SHIFT;
    ((address & !ARENA_MASK) + (slot << HEADER_SHIFT)) as *const u8
}

/// The first byte of the slot that a header belongs to.
#[inline(always)]
pub fn slot_start(header: *const u8) -> usize {
    let (base, slot) = slot_of_header(header);
    base as usize + (slot << SLOT_SHIFT)
}

/// Gives the run of `count` slots that starts at `header` back to its arena. `written` tells that every page of it was written.
///
/// # Safety
/// The run must have been taken whole and be in nobody's use.
#[cfg(not(loom))]
pub unsafe fn release(header: *const u8, count: usize, written: bool) {
    let (arena, first) = slot_of_header(header);
    let mut arenas = ARENAS.lock();
    // SAFETY: an arena with an allocated run is mapped.
    arenas.release(unsafe { &*arena }, first, count, written);
}

/// Resizes the run of `count` slots at `header` to `wanted` slots without moving it. False, and nothing
/// changed, when the slots behind it are not free.
///
/// # Safety
/// The run must have been taken whole and belong to the caller; what is cut off must be in nobody's use.
#[cfg(not(loom))]
pub unsafe fn resize(header: *const u8, count: usize, wanted: usize) -> bool {
    let (arena, first) = slot_of_header(header);
    let mut arenas = ARENAS.lock();
    // SAFETY: an arena with an allocated run is mapped.
    let arena = unsafe { &*arena };
    if wanted > count {
        if first + wanted > SLOTS {
            return false;
        }
        let added = slots_mask(first + count, wanted - count);
        if arena.free() & added != added {
            return false;
        }
        arenas.change_free(arena, arena.free() & !added);
    } else if wanted < count {
        let cut = slots_mask(first + wanted, count - wanted);
        arenas.change_free(arena, arena.free() | cut);
        arenas.mind_surplus();
    }
    true
}

/// Where an address lies in an arena.
pub enum Slot {
    /// In the allocated run whose header this is.
    Run(*const u8),
    /// In a live arena, but in no allocated run: the arena's header, or a free slot.
    Unallocated,
    /// In no arena.
    Outside,
}

/// Finds the run that holds `address`. The caller may follow the header only if it holds a block of that run, or
/// else only as far as `run_of_stray` allows.
#[inline]
pub fn run_of(address: usize) -> Slot {
    // An address on an arena boundary is the arena's header, or a mapping of its own that the map does not know.
    let arena = match arena_in_map(address) {
        Some(arena) => arena,
        None => {
            #[cfg(loom)]
            return Slot::Outside;
            #[cfg(not(loom))]
            match find_overflow(address) {
                Some(arena) => arena,
                None => return Slot::Outside,
            }
        }
    };
    // SAFETY: the arena is live (for a stray pointer: was, a moment ago).
    run_in(unsafe { &*arena }, address)
}

#[cfg(not(loom))]
#[cold]
fn find_overflow(address: usize) -> Option<*const Arena> {
    let arenas = ARENAS.lock();
    arenas.find(address & !ARENA_MASK).map(ptr::from_ref)
}

fn run_in(arena: &Arena, address: usize) -> Slot {
    let slot = (address & ARENA_MASK) >> SLOT_SHIFT;
    // Relaxed: see `Arena::starts`; the bits of a run that holds a live block do not change.
    let up_to_slot = arena.starts.load(Ordering::Relaxed) & (u64::MAX >> (SLOTS - 1 - slot));
    if slot == 0 || up_to_slot == 0 || arena.free.load(Ordering::Relaxed) >> slot & 1 == 1 {
        return Slot::Unallocated;
    }
    let first = up_to_slot.ilog2() as usize;
    Slot::Run((arena.base() + (first << HEADER_SHIFT)) as *const u8)
}

/// Looks at any address at all, with the arenas held still: `look` may follow the header it is given.
#[cfg(not(loom))]
pub fn with_run_of_stray<R>(address: usize, look: impl FnOnce(Slot) -> R) -> R {
    let arenas = ARENAS.lock();
    look(match arenas.find(address & !ARENA_MASK) {
        Some(arena) => run_in(arena, address),
        None => Slot::Outside,
    })
}

/// An arena as the statistics see it.
pub struct View {
    /// The first byte of the arena.
    pub base: usize,
    /// Free slots.
    pub free_slots: usize,
    starts: u64,
}

impl View {
    /// The lock is held.
    #[cfg(not(loom))]
    #[inline(never)]
    fn of(arena: &Arena) -> View {
        View {
            base: arena.base(),
            free_slots: arena.count(),
            // Relaxed: the lock is held.
            starts: arena.starts.load(Ordering::Relaxed),
        }
    }

    /// The headers of the allocated runs.
    pub fn runs(&self) -> impl Iterator<Item = *const u8> + '_ {
        (1..SLOTS)
            .filter(|slot| self.starts >> slot & 1 == 1)
            .map(|slot| (self.base + (slot << HEADER_SHIFT)) as *const u8)
    }
}

/// Visits every arena while none can come, go or change its slots. `visit` must not allocate.
#[cfg(not(loom))]
#[inline(never)]
pub fn each(visit: &mut dyn FnMut(&View)) -> Counts {
    let arenas = ARENAS.lock();
    arenas.each(|arena| visit(&View::of(arena)));
    Counts {
        dirty_bytes: arenas.dirty_slots << SLOT_SHIFT,
        ..arenas.counts
    }
}

/// Looks at the arena that starts at `base` while it cannot go or change its slots. Nothing happens when there is none.
/// `look` must not allocate.
#[cfg(not(loom))]
pub fn with(base: usize, look: impl FnOnce(&View)) {
    let arenas = ARENAS.lock();
    if let Some(arena) = arenas.find(base) {
        look(&View::of(arena));
    }
}

/// Bytes of addresses that the arenas take.
pub fn address_bytes() -> usize {
    ARENAS.lock().counts.live * ARENA_SIZE
}

/// Gives back every empty arena, and the pages of every free slot. True when something went back.
#[cfg(not(loom))]
pub fn trim() -> bool {
    let mut arenas = ARENAS.lock();
    let mut returned = false;
    while arenas.empty > 0 && arenas.unmap_empty_arena() {
        returned = true;
    }
    if SLOT_SIZE >= os::page_size() {
        for bucket in 1..SLOTS {
            let mut next = arenas.by_count.first[bucket];
            // SAFETY: arenas in the buckets are mapped.
            while let Some(arena) = unsafe { next.as_ref() } {
                returned |= arenas.purge_free_slots(arena);
                next = arena.by_count.next.get();
            }
        }
    }
    // Asked for by the program: no lesson.
    arenas.learned.forget();
    returned
}

/// Whether some of what was learned is still to go back.
pub fn is_giving_back() -> bool {
    // Relaxed: a hint to come by.
    FORGOT.load(Ordering::Relaxed)
}

/// Gives back what was learned and has not been used for long, or a part of it (`is_giving_back`). For when no slot comes or goes.
#[cfg(not(loom))]
pub fn mind_learned() {
    ARENAS.lock().mind_learned(false);
}

/// Holds the arenas still across `fork`.
#[cfg(not(loom))]
pub fn hold_for_fork() {
    ARENAS.hold_for_fork();
}

/// Ends `hold_for_fork`.
///
/// # Safety
/// Only in the thread that called it, in the parent and in the child.
#[cfg(not(loom))]
pub unsafe fn release_after_fork() {
    // SAFETY: passed on from the caller.
    unsafe { ARENAS.release_after_fork() }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits() {
        assert_eq!(longest_run(0), 0);
        assert_eq!(longest_run(FREE_WHEN_EMPTY), USABLE_SLOTS);
        assert_eq!(longest_run(0b1011_1011), 3);
        assert_eq!(longest_run(u64::MAX >> 1), USABLE_SLOTS);
        for length in 1..SLOTS {
            for first in 0..=SLOTS - length {
                let run = (u64::MAX >> (SLOTS - length)) << first;
                assert_eq!(longest_run(run), length);
                // Shorter runs beside it, never touching it.
                let rest = 0x5555_5555_5555_5555 & !(run << 1) & !(run >> 1);
                assert_eq!(longest_run(run | rest), length, "{first} {length}");
            }
        }
        assert_eq!(first_run(0b1011_1010, 1), Some(1));
        assert_eq!(first_run(0b1011_1010, 2), Some(3));
        assert_eq!(first_run(0b1011_1010, 3), Some(3));
        assert_eq!(first_run(0b1011_1010, 4), None);
        assert_eq!(first_run(FREE_WHEN_EMPTY, USABLE_SLOTS), Some(1));
        assert_eq!(first_run(FREE_WHEN_EMPTY, SLOTS), None);
    }
}
