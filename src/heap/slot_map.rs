//! The slot map: what a thread's `free` looks at to learn whether a pointer is a block of one of its own pools.
//!
//! For every slot of the pools that a heap owns it holds, at the place that the slot's address selects, where the pool starts,
//! how its blocks are told, and which bin takes them. Of any address at all, one multiplication and one comparison
//! then decide whether it is the start of a block that was handed out, in a pool of this very heap: ownership, validity and
//! position together. Null, pointers to elsewhere and blocks of others all fail the same comparison.
//!
//! It is a cache of what the pools' headers say: two pools whose slots want the same place are both served, one of them on
//! the slow path. Its memory is touched where pools are: 32 bytes for a slot.
//!
//! What must hold: an entry whose limit is not 0 describes a pool that the heap owns, as its header does. Entries are changed under
//! the heap's lock; its thread reads them without, and only it enters pools. Others take pools out (limit 0) into which they have
//! freed, with or without the lock, so that its thread comes by the lock the next time; should it just be reading, its free is one of the many that go before.
//! Pools that others give back have no block left that it could come for.

use super::bin::Bin;
use crate::arena;
use crate::cpu;
use crate::geometry::{SLOT_SHIFT, SLOT_SIZE};
use crate::pool::Pool;
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, compiler_fence, fence};

/// Places of the map. 2^17 slots of 16 KiB are 2 GiB: pools that a thread frees into at the same time and that lie further apart
/// than this can want the same place. It costs 4 MiB of addresses a thread, half of what its stack takes.
const PLACES: usize = 1 << 17;

/// What is known of a slot. All zeroes: nothing.
#[repr(C, align(32))]
struct Entry {
    /// The first byte of the slot's pool.
    start: AtomicUsize,
    /// The reciprocal of its block size.
    reciprocal: Cell<u64>,
    /// The number of its cut blocks times the drift of its class; 0 makes the entry void.
    limit: AtomicU64,
    /// Where frees into it go.
    bin: Cell<*const Bin>,
}

impl Entry {
    #[inline(always)]
    fn start(&self) -> usize {
        // Relaxed: written by the heap's thread alone, under the lock; `leave_posted` takes it for a hint.
        self.start.load(Ordering::Relaxed)
    }

    /// The pool of an entry that is not void.
    #[inline(always)]
    fn pool(&self) -> &Pool {
        // SAFETY: the start of a pool that the heap owns, and so that of a slot.
        unsafe { Pool::at(arena::header_of(self.start())) }
    }
}

/// Where an entry is: bytes from the start of the map.
#[derive(Clone, Copy)]
pub struct MapPlace(usize);

#[repr(C)]
pub struct SlotMap {
    entries: [Entry; PLACES],
}

// SAFETY: `start` and `limit` are atomic. The rest is written and read by the heap's thread alone; who has the heap changes by the roster's lock.
unsafe impl Sync for SlotMap {}

impl SlotMap {
    pub const fn empty() -> Self {
        SlotMap {
            entries: [const {
                Entry {
                    start: AtomicUsize::new(0),
                    reciprocal: Cell::new(0),
                    limit: AtomicU64::new(0),
                    bin: Cell::new(ptr::null()),
                }
            }; PLACES],
        }
    }

    #[inline(always)]
    fn entry(&self, address: usize) -> &Entry {
        &self.entries[address >> SLOT_SHIFT & (PLACES - 1)]
    }

    /// The bin for the block at `address`, and the place of its entry, if that is the start of a block that was handed out, in a pool of
    /// the heap at `heap`, whose map lies `OFFSET` bytes behind. Only for the heap's thread. (By the heap's address, so that the
    /// distance of the map is a part of each instruction.)
    ///
    /// # Safety
    /// The calling thread's heap, with its map at that distance.
    #[inline(always)]
    pub unsafe fn bin_of<'a, const OFFSET: usize>(
        heap: usize,
        address: usize,
    ) -> Option<(&'a Bin, MapPlace)> {
        let place = (address >> SLOT_SHIFT & (PLACES - 1)) * size_of::<Entry>();
        // SAFETY: an entry of the map, which the caller vouches for.
        let offset = unsafe {
            cpu::distance_from::<OFFSET, { offset_of!(Entry, start) }>(address, heap, place)
        };
        // SAFETY: as above. (The compiler merges this plain load into the multiplication, and makes no
        // address of it.)
        let reciprocal = unsafe { &*((heap + OFFSET + place) as *const Entry) }
            .reciprocal
            .get();
        // See `size_class::TABLE` for why this tells exactly the starts of the cut blocks.
        let product = offset.wrapping_mul(reciprocal);
        // Relaxed: see the top of this file.
        // SAFETY: see above.
        if !unsafe { cpu::is_below::<OFFSET, { offset_of!(Entry, limit) }>(product, heap, place) } {
            return None;
        }
        // SAFETY: see above; the entry is not void, and names a bin of the heap.
        unsafe {
            let bin = cpu::load_behind::<OFFSET, { offset_of!(Entry, bin) }>(heap, place);
            core::hint::assert_unchecked(bin != 0);
            Some((&*(bin as *const Bin), MapPlace(place)))
        }
    }

    /// The pool whose entry `bin_of` has just found at a place.
    #[inline(always)]
    pub fn pool_at(&self, place: MapPlace) -> &Pool {
        // SAFETY: `bin_of` makes no place outside of the map.
        unsafe { &*self.entries.as_ptr().byte_add(place.0) }.pool()
    }

    fn entries_of(&self, pool: &Pool) -> impl Iterator<Item = &Entry> {
        let start = pool.start();
        (0..pool.slots()).map(move |slot| self.entry(start + slot * SLOT_SIZE))
    }

    /// Enters a pool of the heap, or what has changed of it. Only for the heap's thread, under the heap's lock.
    pub fn enter(&self, pool: &Pool, bin: &Bin) {
        let class = pool.size_class();
        for entry in self.entries_of(pool) {
            entry.start.store(pool.start(), Ordering::Relaxed);
            entry.reciprocal.set(class.reciprocal);
            entry.bin.set(bin);
            // Relaxed: the thread that reads it is this one.
            entry
                .limit
                .store(pool.cut_blocks() as u64 * class.drift, Ordering::Relaxed);
        }
    }

    /// Notes that more blocks of a pool are cut, `before` until now. A void entry stays void. Only for the heap's thread, under the heap's lock.
    #[inline(never)]
    pub fn extend(&self, pool: &Pool, before: u32) {
        let drift = pool.size_class().drift;
        let limits = [before, pool.cut_blocks()].map(|cut| cut as u64 * drift);
        for entry in self.entries_of(pool) {
            if entry.start() == pool.start() {
                // Relaxed: as in `enter`. In one step, so that what `leave_posted` stores is not undone.
                let _ = entry.limit.compare_exchange(
                    limits[0],
                    limits[1],
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }

    /// Takes a pool out into which a block was just posted, from any thread and without the lock. The heap's thread, should it be
    /// entering the pool right now, most probably sees the block (`settle`). What is at the pool's place by now may be another pool of the
    /// heap, which is entered again when its thread next comes by the lock for it.
    #[inline(never)]
    pub fn leave_posted(&self, start: usize, slots: usize) {
        // SeqCst, and none in `settle`, where it would cost a tenth of the time of threads that claim many pools: so the void is lost when the owner
        // has entered the pool in these very nanoseconds. Then the block waits as one does that `concerns_owner` misses.
        fence(Ordering::SeqCst);
        for slot in 0..slots {
            let entry = self.entry(start + slot * SLOT_SIZE);
            if entry.start() == start {
                entry.limit.store(0, Ordering::Relaxed);
            }
        }
    }

    /// To be called after a pool was entered: it leaves again if a block was posted meanwhile.
    pub fn settle(&self, pool: &Pool) {
        compiler_fence(Ordering::SeqCst);
        if pool.remote.count() > 0 {
            self.leave(pool);
        }
    }

    /// Takes a pool out that the heap is about to give up. Under the heap's lock.
    #[inline(never)]
    pub fn leave(&self, pool: &Pool) {
        for entry in self.entries_of(pool) {
            if entry.start() == pool.start() {
                // Relaxed: whoever gets a block of what will be here next gets it by some synchronisation after this.
                entry.limit.store(0, Ordering::Relaxed);
            }
        }
    }
}
