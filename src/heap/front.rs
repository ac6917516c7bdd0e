//! The front of a heap: what its thread uses without any lock.
//!
//! What it owns: for each size class a bin, and the slot map. `malloc` pops from a bin; `free` asks the slot map, and pushes to the bin that this
//! names.
//!
//! What must hold: only pools that the heap owns are in its slot map. A pool is not there while remote frees wait in it, or while pages of it are purged: the
//! thread's next free into it then takes the slow path, which looks after either. Blocks that wait are looked for last (`SlotMap::settle`), since
//! others post them at any time.

use super::bin::Bin;
use super::slot_map::SlotMap;
use crate::pool::{Owner, Pool};
use crate::size_class::CLASSES;
use core::ptr;

#[repr(C)]
pub struct Front {
    /// First, so that a size rounded up to 16 is the offset of its bin.
    bins: [Bin; CLASSES],
    /// The slots of the pools that the heap owns.
    pub map: SlotMap,
}

/// See `layout`.
pub const LAYOUT: u64 = crate::layout::mix(&[
    super::bin::LAYOUT,
    crate::layout::layout! {
        Front { bins, map }
    },
]);

impl Front {
    pub const fn new() -> Self {
        Front {
            bins: [const { Bin::new() }; CLASSES],
            map: SlotMap::none(),
        }
    }

    /// What the heap's pools name as their owner: the heap, which begins with its front.
    #[inline(always)]
    pub fn as_owner(&self) -> *const Owner {
        ptr::from_ref(self).cast()
    }

    /// The bins, by size class.
    pub fn bins(&self) -> &[Bin; CLASSES] {
        &self.bins
    }

    /// The bin of a class.
    pub fn bin(&self, class: usize) -> &Bin {
        &self.bins[class]
    }

    /// Takes a block of a class from its bin. Null when the bin is empty. Only for the heap's thread.
    #[inline(always)]
    pub fn pop(&self, class: usize) -> *mut u8 {
        debug_assert!(class < CLASSES);
        let bins = ptr::from_ref(&self.bins) as usize;
        // SAFETY: `size_class` makes no class past its table.
        unsafe { Bin::pop_at(bins, class * size_of::<Bin>()) }
    }

    /// Enters a used pool in the slot map as it is now, or takes it out if it must not be there. Only for the heap's thread, under the heap's lock.
    pub fn enter(&self, pool: &Pool) {
        match pool.has_purged_pages() {
            true => self.map.void(pool),
            false => {
                self.map.enter(pool, self.bin(pool.class()));
                self.map.settle(pool);
            }
        }
    }
}
