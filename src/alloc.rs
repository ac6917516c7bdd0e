//! Which layer serves a size; whose a pointer is; what the fast paths leave.
//!
//! | size | served by |
//! | --- | --- |
//! | up to `MAX_POOLED` | a block of a pool |
//! | up to `MAX_RUN` | a run of slots of an arena |
//! | larger, or aligned to more than a slot | a mapping of its own |
//!
//! ```text
//! allocate_beyond_bins    up to MAX_POOLED: refill            the bin, from a pool of the heap, an abandoned or a new one
//!                         larger: allocate_beyond_pools       large::allocate, else mapping::allocate
//! free_elsewhere          find                                arena::run_of, else mapping::size_of
//!                         a block of a pool: free_in_pool     heap::free_own, or heap::free_foreign
//!                         other: free_outside_pools           large::free, mapping::free, or the end of the process
//! ```
//!
//! The functions here know no `errno` and no C conventions; that is the C library's (`c/`).
//!
//! What must hold: every pointer that a program hands back is checked before a byte is written.

use crate::arena::{self, Slot};
use crate::fault::{self, Call, Fault};
use crate::geometry::{BLOCK_ALIGN, MAX_POOLED, MAX_RUN, SLOT_SIZE};
use crate::heap::{self, free_foreign, free_own, is_free};
use crate::large;
use crate::mapping::{self, Fresh};
use crate::pool::{Block, NotAllocated, Pool};
use crate::relief::{make_room, or_after_relief, relieve_for};
use crate::size_class::{self, TABLE};
use crate::thread;
use core::ptr::{self, NonNull};

// ---- Which layer serves a size ---------------------------------------------------------------------------------------------------------------------

/// The size whose class a block of `size` bytes at a multiple of `align` is of; beyond all classes if it is of none.
#[inline(always)]
pub fn pooled_size(size: usize, align: usize) -> usize {
    debug_assert!(align.is_power_of_two());
    // A multiple of the alignment has a class whose blocks all are (`size_class`'s tests), since pools
    // start at multiples of the slot size.
    if align <= BLOCK_ALIGN {
        size
    } else if align <= SLOT_SIZE {
        size.max(1).saturating_add(align - 1) & !(align - 1)
    } else {
        usize::MAX
    }
}

/// What the fast path of `malloc` leaves: empty bins, a size of 0, and sizes above `MAX_POOLED`.
#[inline(never)]
pub fn allocate_beyond_bins(size: usize) -> *mut u8 {
    if size <= MAX_POOLED {
        let class = size_class::of(size);
        return or_after_relief(|| refill(class));
    }
    address_of(allocate_beyond_pools(size, BLOCK_ALIGN, false))
}

/// What the fast path of `aligned_alloc` leaves.
#[inline(never)]
pub fn allocate_aligned_beyond_bins(size: usize, align: usize) -> *mut u8 {
    match pooled_size(size, align) {
        pooled @ ..=MAX_POOLED => allocate_beyond_bins(pooled),
        _ => address_of(allocate_beyond_pools(size, align.max(BLOCK_ALIGN), false)),
    }
}

/// A run or a mapping of which every byte is zero.
pub fn allocate_zeroed_beyond_pools(size: usize, align: usize) -> *mut u8 {
    let fresh = allocate_beyond_pools(size, align.max(BLOCK_ALIGN), true);
    let is_zero = fresh.as_ref().is_none_or(|fresh| fresh.zeroed);
    let address = address_of(fresh);
    if !is_zero {
        // SAFETY: a new block of that size.
        unsafe { address.write_bytes(0, size) };
    }
    address
}

/// Takes a block of a class whose bin is empty.
fn refill(class: usize) -> Option<*mut u8> {
    let block = thread::with_heap(|heap| heap::refill(heap, class));
    block.filter(|block| !block.is_null()).or_else(|| {
        // A mapping that the system refused to unmap serves small blocks as well when it maps no more.
        let stuck = mapping::allocate_stuck(TABLE[class].block_size as usize)?;
        Some(stuck.as_ptr())
    })
}

/// The address of a block; null for none.
fn address_of(fresh: Option<Fresh>) -> *mut u8 {
    fresh.map_or(ptr::null_mut(), |fresh| fresh.address.as_ptr())
}

/// Allocates a run or a mapping of at least `size` bytes, if possible one that is zero where that is wanted.
#[inline(never)]
fn allocate_beyond_pools(size: usize, align: usize, zeroed: bool) -> Option<Fresh> {
    if size > (isize::MAX as usize).saturating_sub(align) {
        return None;
    }
    heap::decay();
    let attempt = || {
        if size <= MAX_RUN
            && align <= SLOT_SIZE
            && let Some(run) = large::allocate(size.max(1))
        {
            if run.raised_the_peak {
                // Memory that pools retain would add to the peak.
                heap::give_up(size);
            }
            return Some(Fresh {
                address: NonNull::new(run.start)?,
                zeroed: run.zeroed,
            });
        }
        // When there is no room for another arena there may still be for a single mapping.
        mapping::allocate(size.max(1), align, zeroed, make_room)
    };
    attempt().or_else(|| relieve_for(size).then(attempt).flatten())
}

// ---- Whose a pointer is ----------------------------------------------------------------------------------------------------------------------------

/// Where an allocated block lies.
pub enum Place<'a> {
    Pool(&'a Pool, &'a Block),
    Run(&'a Pool),
    Mapping(usize),
}

/// Finds the allocated block that starts at `address`, or says why there is none.
pub fn find(address: usize) -> Result<Place<'static>, Fault> {
    find_protected(address, false)
}

/// The same. With `protected` for a block that the program may have protected from being read: then nobody asks whether it is free.
fn find_protected(address: usize, protected: bool) -> Result<Place<'static>, Fault> {
    match arena::run_of(address) {
        Slot::Run(header) => {
            // SAFETY: the header of an allocated run. If the program holds a block of it, it stays; for a stray pointer
            // it can vanish under our eyes only if another thread empties the arena right now.
            let pool: &'static Pool = unsafe { Pool::at(header) };
            if pool.class() == 0 {
                return match address == pool.start() {
                    true => Ok(Place::Run(pool)),
                    false => Err(Fault::Interior),
                };
            }
            let is_marked = |block: &Block| {
                !(protected && pool.may_be_protected(block)) && block.is_marked_free()
            };
            match pool.block_at(address) {
                Ok(block) if is_marked(block) && is_free(thread::own(), pool, block) => {
                    Err(Fault::AlreadyFree)
                }
                Ok(block) => Ok(Place::Pool(pool, block)),
                Err(NotAllocated::Interior) => Err(Fault::Interior),
                Err(NotAllocated::Purged) => Err(Fault::AlreadyFree),
                Err(NotAllocated::Untouched) => Err(Fault::NeverAllocated),
            }
        }
        Slot::Unallocated => Err(Fault::Unallocated),
        Slot::Outside => match mapping::size_of(address) {
            Some(size) => Ok(Place::Mapping(size)),
            None if mapping::containing(address).is_some() => Err(Fault::Interior),
            None => Err(Fault::Foreign),
        },
    }
}

// ---- What the fast paths leave ---------------------------------------------------------------------------------------------------------------------

/// What the fast path of `free` leaves: null, own pools that are not in the slot map, pools of others and full ones, runs, mappings, mistakes.
#[inline(never)]
pub fn free_elsewhere<const CALL: u8>(block: *mut u8) {
    let call = Call::from_number(CALL);
    if block.is_null() {
        return;
    }
    match find(block as usize) {
        Ok(Place::Pool(pool, block)) => free_in_pool(pool, block),
        found => free_outside_pools(found, block, call),
    }
}

/// The rest of `free_elsewhere`, of which there is one for every call that frees.
#[inline(never)]
fn free_outside_pools(found: Result<Place, Fault>, block: *mut u8, call: Call) {
    heap::decay();
    let fault = match found {
        Ok(Place::Pool(pool, block)) => return free_in_pool(pool, block),
        Ok(Place::Run(run)) => return large::free(run),
        Ok(Place::Mapping(_)) if mapping::free(block as usize) => return,
        // Another thread freed it since `find`.
        Ok(Place::Mapping(_)) => Fault::AlreadyFree,
        Err(fault) => fault,
    };
    fault::end(call, block, fault)
}

fn free_in_pool(pool: &Pool, block: &Block) {
    let heap = thread::own_for_free();
    match heap {
        // Remote frees wait in the pool, pages of it are purged, or another pool has its place in the slot map.
        Some(heap) if pool.is_owned_by(heap.as_owner()) => {
            thread::widen_map_if_contested(heap);
            free_own(heap, pool, block);
        }
        // Another thread's pool, or nobody's.
        _ => free_foreign(heap, pool, block),
    }
}

/// What the fast path of `malloc_usable_size` leaves.
#[inline(never)]
pub fn usable_size_elsewhere(block: *mut u8, call: Call) -> usize {
    if block.is_null() {
        return 0;
    }
    match find_protected(block as usize, true) {
        Ok(Place::Pool(pool, _)) => pool.block_size(),
        Ok(Place::Run(run)) => large::size_of(run),
        Ok(Place::Mapping(size)) => size,
        Err(fault) => fault::end(call, block, fault),
    }
}
