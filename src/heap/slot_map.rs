//! The slot map: what a thread's `free` looks at to learn whether a pointer is a block of one of its own pools.
//!
//! For every slot of the pools that a heap owns it holds, at the place that the slot's address selects, where the pool starts,
//! how its blocks are told, and which free list takes them. Of any address at all, one multiplication and one comparison
//! then decide whether it is the start of a block that was handed out, in a pool of this very heap: ownership, validity and
//! position together. Null, pointers to elsewhere and blocks of others all fail the same comparison.
//!
//! It is a cache of what the pools' headers say: two pools whose slots want the same place are both served, one of them on
//! the slow path. Its memory is touched where pools are: 32 bytes for a slot.
//!
//! What must hold: an entry whose limit is not 0 describes a pool that the heap owns, as its header does. Entries are changed under
//! the heap's lock; its thread reads them without, and only it enters pools. Others take pools out (limit 0) into which they have
//! freed, so that its thread comes by the lock the next time; should it just be reading, its free is one of the many that go before.
//! Pools that others give back have no block left that it could come for.

use crate::cpu;
use crate::geometry::{SLOT_SHIFT, SLOT_SIZE};
use crate::pool::{FreeList, Pool};
use core::cell::Cell;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Places of the map. 2^17 slots of 16 KiB are 2 GiB: pools that a thread frees into at the same time and that lie further apart
/// than this can want the same place. It costs 4 MiB of addresses a thread, half of what its stack takes.
const PLACES: usize = 1 << 17;

/// What is known of a slot. All zeroes: nothing.
#[repr(C, align(32))]
struct Entry {
    /// The first byte of the slot's pool.
    start: Cell<usize>,
    /// The reciprocal of its block size.
    reciprocal: Cell<u64>,
    /// The number of its cut blocks times the drift of its class; 0 makes the entry void.
    limit: AtomicU64,
    /// Where frees into it go.
    list: Cell<*const FreeList>,
}

#[repr(C)]
pub struct SlotMap {
    entries: [Entry; PLACES],
}

// SAFETY: all but `limit` is written by the heap's thread alone, under the heap's lock, and read by it and by who holds that lock; who
// has the heap changes by the roster's lock.
unsafe impl Sync for SlotMap {}

impl SlotMap {
    pub const fn empty() -> Self {
        SlotMap {
            entries: [const {
                Entry {
                    start: Cell::new(0),
                    reciprocal: Cell::new(0),
                    limit: AtomicU64::new(0),
                    list: Cell::new(ptr::null()),
                }
            }; PLACES],
        }
    }

    #[inline(always)]
    fn entry(&self, address: usize) -> &Entry {
        &self.entries[address >> SLOT_SHIFT & (PLACES - 1)]
    }

    /// The free list for the block at `address`, if that is the start of a block that was handed out, in a pool of this heap. Only for
    /// the heap's thread.
    #[inline(always)]
    pub fn list_of(&self, address: usize) -> Option<&FreeList> {
        let entry = self.entry(address);
        let offset = address.wrapping_sub(entry.start.get()) as u64;
        // See `size_class::TABLE` for why this tells exactly the starts of the cut blocks.
        let product = offset.wrapping_mul(entry.reciprocal.get());
        // Relaxed: see the top of this file.
        // SAFETY: the limit of the entry.
        if !unsafe {
            cpu::is_below::<{ offset_of!(Entry, limit) }>(product, ptr::from_ref(entry).cast())
        } {
            return None;
        }
        let list = entry.list.get();
        // SAFETY: the list is in the header of a pool that the heap owns, or in the heap.
        unsafe {
            core::hint::assert_unchecked(!list.is_null());
            Some(&*list)
        }
    }

    fn entries_of(&self, pool: &Pool) -> impl Iterator<Item = &Entry> {
        let start = pool.start();
        (0..pool.slots()).map(move |slot| self.entry(start + slot * SLOT_SIZE))
    }

    /// Enters a pool of the heap, or what has changed of it. Only for the heap's thread, under the heap's lock.
    pub fn enter(&self, pool: &Pool) {
        let class = pool.size_class();
        for entry in self.entries_of(pool) {
            entry.start.set(pool.start());
            entry.reciprocal.set(class.reciprocal);
            entry.list.set(pool.list());
            // Relaxed: the thread that reads it is this one.
            entry
                .limit
                .store(pool.cut_blocks() as u64 * class.drift, Ordering::Relaxed);
        }
    }

    /// Takes a pool out that the heap is about to give up. Under the heap's lock.
    pub fn leave(&self, pool: &Pool) {
        for entry in self.entries_of(pool) {
            if entry.start.get() == pool.start() {
                // Relaxed: whoever gets a block of what will be here next gets it by some synchronisation after this.
                entry.limit.store(0, Ordering::Relaxed);
            }
        }
    }
}
