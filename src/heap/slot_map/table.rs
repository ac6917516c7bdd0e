//! The table of a slot map: its head, and behind it an entry for each place.
//!
//! What it owns: the layout of tables, and the few instructions by which `free` tells its thread's own blocks.
//!
//! A table is named by the address of its head, so that the fast path needs only that one word of the thread: the number of places is a
//! mask in the head. A table of zeroes is one with a single entry, which is void.
//!
//! What must hold: an address selects a place that lies in the table. Head and length of a table never change while anybody can reach it.
//! An entry whose limit is 0 is void. Any other describes a pool of the heap, as its header does.

use super::super::bin::Bin;
use crate::arena;
use crate::cpu;
use crate::geometry::{SLOT_SHIFT, SLOT_SIZE};
use crate::mapping;
use crate::os;
use crate::pool::Pool;
use crate::registry;
use crate::size_class::{CLASSES, SizeClass, TABLE};
use crate::sync::AtomicU64;
use core::cell::Cell;
use core::hint;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Places of the table that a heap starts with, and that lies behind it: 32 KiB, which reach over 16 MiB. It is what a thread costs where all
/// memory is locked. With 512, `random` of `make bench` takes a hundredth more instructions on two threads; with 2,048, no fewer.
pub const FIRST_PLACES: usize = if cfg!(loom) { 1 << 3 } else { 1 << 10 };

/// What is known of a slot. All zeroes: nothing.
#[repr(C, align(32))]
struct Entry {
    /// The first byte of the slot's pool.
    start: AtomicUsize,
    /// The reciprocal of its block size.
    reciprocal: Cell<u64>,
    /// The number of its carved blocks times the drift of its class; 0 makes the entry void.
    limit: AtomicU64,
    /// Where frees into it go.
    bin: Cell<*const Bin>,
}

const ENTRY_SHIFT: u32 = size_of::<Entry>().trailing_zeros();
const _: () = assert!(size_of::<Entry>() == 1 << ENTRY_SHIFT && ENTRY_SHIFT < SLOT_SHIFT);

impl Entry {
    const fn void() -> Self {
        Entry {
            start: AtomicUsize::new(0),
            reciprocal: Cell::new(0),
            limit: AtomicU64::new(0),
            bin: Cell::new(ptr::null()),
        }
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // Relaxed: written by the heap's thread alone, under the lock; whoever posts takes it for a hint.
        self.start.load(Ordering::Relaxed)
    }

    /// Describes a pool from now on.
    #[inline(always)]
    fn describe(&self, start: usize, reciprocal: u64, limit: u64, bin: &Bin) {
        // Relaxed, both: the thread that reads them is this one.
        self.start.store(start, Ordering::Relaxed);
        self.reciprocal.set(reciprocal);
        self.bin.set(bin);
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn is_void(&self) -> bool {
        // Relaxed: as `become_void`.
        self.limit.load(Ordering::Relaxed) == 0
    }

    /// Relaxed: whoever gets a block of what will be here next gets it by some synchronisation after this.
    fn become_void(&self) {
        self.limit.store(0, Ordering::Relaxed);
    }
}

/// What is in front of the entries.
#[repr(C, align(32))]
pub struct Head {
    /// Keeps of an address that was shifted the place of its entry, in bytes from the first one.
    mask: Cell<usize>,
    /// The heap's bins, in the order of their classes.
    bins: Cell<*const Bin>,
}

/// Where the entries start, from the head on.
const ENTRIES: usize = size_of::<Head>();

impl Head {
    const fn zeroed() -> Self {
        Head {
            mask: Cell::new(0),
            bins: Cell::new(ptr::null()),
        }
    }
}

/// The memory of a heap's first table. All zeroes until `SlotTable::first`.
#[repr(C)]
pub struct FirstTable {
    head: Head,
    entries: [Entry; FIRST_PLACES],
}

impl FirstTable {
    pub const fn zeroed() -> Self {
        FirstTable {
            head: Head::zeroed(),
            entries: [const { Entry::void() }; FIRST_PLACES],
        }
    }
}

// SAFETY: `start` and `limit` of entries are atomic. The rest is written and read by the heap's thread alone; a heap passes from thread to thread
// under the lock of the spare heaps.
unsafe impl Sync for FirstTable {}

/// A table whose only entry is void, for threads without a heap.
#[repr(C)]
pub struct VoidTable {
    head: Head,
    entry: Entry,
}

impl VoidTable {
    pub const fn new() -> Self {
        VoidTable {
            head: Head::zeroed(),
            entry: Entry::void(),
        }
    }
}

// SAFETY: it is never written.
unsafe impl Sync for VoidTable {}

/// Where an entry is: bytes from the first one of the table.
#[derive(Clone, Copy)]
pub struct MapPlace(usize);

#[inline(always)]
fn place_by(mask: usize, address: usize) -> MapPlace {
    MapPlace(address >> (SLOT_SHIFT - ENTRY_SHIFT) & mask)
}

/// A table, by the address of its head.
#[derive(Clone, Copy)]
pub struct SlotTable(*const Head);

impl SlotTable {
    /// The void table.
    pub fn void(table: &'static VoidTable) -> Self {
        SlotTable(ptr::from_ref(table).cast())
    }

    /// The first table of the heap whose bins these are. To be called once, before anybody else can reach it.
    pub fn first(table: &'static FirstTable, bins: *const Bin) -> Self {
        let table = SlotTable(ptr::from_ref(table).cast());
        table.begin(FIRST_PLACES, bins);
        table
    }

    /// Maps a table of `places`, all of them void. `None` when the system has no memory.
    pub fn map(places: usize, bins: *const Bin) -> Option<Self> {
        let size = Self::mapped_bytes(places)?;
        let start = os::map(ptr::null_mut(), size)?.as_ptr();
        // Of a large table a few pages are touched, far apart.
        os::no_huge_pages(start, size);
        let table = SlotTable(start.cast());
        table.begin(places, bins);
        Some(table)
    }

    /// Gives a table that `map` made back to the system.
    ///
    /// # Safety
    /// Nobody can reach it any more, and the caller holds no lock.
    pub unsafe fn unmap(self) {
        if let Some(size) = Self::mapped_bytes(self.places()) {
            mapping::let_go(registry::Entry {
                address: self.0 as usize,
                size,
            });
        }
    }

    /// Bytes of the mapping that `map` makes for `places`.
    pub fn mapped_bytes(places: usize) -> Option<usize> {
        os::round_to_pages(ENTRIES + places * size_of::<Entry>())
    }

    fn begin(self, places: usize, bins: *const Bin) {
        debug_assert!(places.is_power_of_two());
        let head = self.head();
        debug_assert!(
            head.mask.get() == 0 && head.bins.get().is_null(),
            "begun once"
        );
        head.mask.set((places - 1) << ENTRY_SHIFT);
        head.bins.set(bins);
    }

    /// As a word, for the thread's own storage, and back.
    #[inline(always)]
    pub fn as_ptr(self) -> *const Head {
        self.0
    }

    /// # Safety
    /// What `as_ptr` gave for a table that is still there.
    #[inline(always)]
    pub const unsafe fn from_ptr(head: *const Head) -> Self {
        SlotTable(head)
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: the head of a table, which is there as long as anybody can reach it.
        unsafe { &*self.0 }
    }

    /// How many places it has.
    pub fn places(self) -> usize {
        (self.head().mask.get() >> ENTRY_SHIFT) + 1
    }

    /// The place that an address selects.
    #[inline(always)]
    fn place_of(self, address: usize) -> MapPlace {
        // The compiler merges this plain load into the operation.
        place_by(self.head().mask.get(), address)
    }

    #[inline(always)]
    fn at(&self, place: MapPlace) -> &Entry {
        // SAFETY: places are made by the mask, and so inside the table.
        unsafe { &*self.0.byte_add(ENTRIES + place.0).cast() }
    }

    /// The bin for the block at `address`, and the place of its entry, if that is the start of a block that was handed out, in a pool of
    /// the heap. Only for the heap's thread.
    #[inline(always)]
    pub fn bin_of<'a>(self, address: usize) -> Option<(&'a Bin, MapPlace)> {
        let place = self.place_of(address);
        let entry = self.at(place);
        // Plain reads: the compiler merges them into the subtraction and the multiplication.
        // SAFETY: nobody else writes the start.
        let offset = address.wrapping_sub(unsafe { *entry.start.as_ptr() });
        // See `size_class::TABLE` for why this tells exactly the starts of the carved blocks.
        let product = (offset as u64).wrapping_mul(entry.reciprocal.get());
        // Relaxed: see the top of `slot_map`.
        // SAFETY: an entry of the table.
        if !unsafe {
            cpu::is_below::<ENTRIES, { offset_of!(Entry, limit) }>(
                product,
                self.0 as usize,
                place.0,
            )
        } {
            return None;
        }
        let bin = entry.bin.get();
        // SAFETY: the entry is not void, and names a bin of the heap.
        unsafe {
            hint::assert_unchecked(!bin.is_null());
            Some((&*bin, place))
        }
    }

    /// The pool whose entry `bin_of` has just found at a place.
    #[inline(always)]
    pub fn pool_at<'a>(self, place: MapPlace) -> &'a Pool {
        // SAFETY: the start of a pool that the heap owns, and so that of a slot.
        unsafe { Pool::at(arena::header_of(self.at(place).start())) }
    }

    /// Bytes of the blocks of a bin that `bin_of` found.
    #[inline(always)]
    pub fn block_size_of(self, bin: &Bin) -> usize {
        // Entries of the classes' table lie `STEP` times as far apart as bins: no class is told, which would take four instructions more.
        const STEP: usize = size_of::<SizeClass>() / size_of::<Bin>();
        const { assert!(size_of::<SizeClass>() == STEP * size_of::<Bin>()) };
        let distance = ptr::from_ref(bin) as usize - self.head().bins.get() as usize;
        debug_assert!(distance / size_of::<Bin>() < CLASSES);
        // SAFETY: one of the heap's bins, of which there is one for each class.
        unsafe { &*TABLE.as_ptr().byte_add(distance * STEP) }.block_size as usize
    }

    fn entries_of(&self, start: usize, slots: usize) -> impl Iterator<Item = &Entry> {
        // Once: the compiler does not know that what is stored to entries does not change it.
        let mask = self.head().mask.get();
        (0..slots).map(move |slot| self.at(place_by(mask, start + slot * SLOT_SIZE)))
    }

    /// Enters a pool of the heap, or what has changed of it. True when another pool of the heap had its first place.
    #[inline(always)]
    pub fn enter(self, pool: &Pool, bin: &Bin) -> bool {
        let (start, class) = (pool.start(), pool.size_class());
        let limit = pool.carved_blocks() as u64 * class.drift;
        let first = self.at(self.place_of(start));
        let evicts = first.start() != start && !first.is_void();
        first.describe(start, class.reciprocal, limit, bin);
        if pool.slots() > 1 {
            self.describe_others(start, pool.slots(), class.reciprocal, limit, bin);
        }
        evicts
    }

    /// The same at the other places of a pool. Out of line, so that a pool of one slot needs no frame.
    #[inline(never)]
    fn describe_others(self, start: usize, slots: usize, reciprocal: u64, limit: u64, bin: &Bin) {
        for entry in self.entries_of(start, slots).skip(1) {
            entry.describe(start, reciprocal, limit, bin);
        }
    }

    /// More blocks of a pool are carved than the `before` until now. A void entry stays void.
    pub fn extend(self, pool: &Pool, before: u32) {
        let drift = pool.size_class().drift;
        let limits = [before, pool.carved_blocks()].map(|blocks| blocks as u64 * drift);
        for entry in self.entries_of(pool.start(), pool.slots()) {
            if entry.start() == pool.start() {
                // Relaxed: as in `describe`. In one step, so that an entry which `void_entries` has just made void stays so.
                let _ = entry.limit.compare_exchange(
                    limits[0],
                    limits[1],
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Makes the entries of a pool void.
    pub fn void_entries(self, start: usize, slots: usize) {
        for entry in self.entries_of(start, slots) {
            if entry.start() == start {
                entry.become_void();
            }
        }
    }

    /// Makes all entries void, of a table that no thread reads.
    pub fn clear(self) {
        let places = (0..self.places()).map(|place| MapPlace(place << ENTRY_SHIFT));
        places.for_each(|place| self.at(place).become_void());
    }

    /// Whether all entries are void.
    pub fn is_void(self) -> bool {
        let mut places = (0..self.places()).map(|place| MapPlace(place << ENTRY_SHIFT));
        places.all(|place| self.at(place).is_void())
    }
}
