//! The fast paths of `malloc`, `calloc`, `free`, `realloc` and `malloc_usable_size`, from top to bottom.
//!
//! ```text
//! malloc    allocate_or          a bin of the thread's heap has a block: pop it
//!             otherwise            alloc::allocate_beyond_bins
//! calloc    allocate_zeroed_or   the same, and clear it
//!             otherwise            allocate_zeroed_aligned
//! free      free_or              the thread's slot map knows the block, and it looks allocated:
//!                                  the bin that the map names has room: push it
//!             free_past_bin        it has none: push it to its pool
//!             otherwise            alloc::free_elsewhere
//! realloc   resize_or            the thread's slot map knows the block, and it need not move: nothing to do
//!             otherwise            resize::resize
//! ```
//!
//! What must hold: a fast path takes no lock, makes no atomic read-modify-write and needs no stack frame. So `otherwise`, which serves what it
//! does not, is the last thing that it does. It is the caller's, since functions of C, C++ and Rust do different things when there is no
//! memory. `make bench-instructions` counts the instructions of each.

use crate::alloc::{self, pooled_size};
use crate::bytes::{clear, cleared};
use crate::fault::Call;
use crate::geometry::{BLOCK_ALIGN, MAX_POOLED};
use crate::heap::{self, Bin, Heap, MapPlace, SlotTable};
use crate::os::SMALLEST_PAGE;
use crate::pool::{Block, Pool};
use crate::size_class;
use crate::thread;
use core::ptr;

// ---- malloc ----------------------------------------------------------------------------------------------------------------------------------------

/// `malloc`: a block of at least `size` bytes.
#[inline(always)]
pub fn allocate_or<R>(size: usize, otherwise: impl FnOnce(usize) -> *mut R) -> *mut R {
    allocate_from(thread::current, size, otherwise)
}

/// The same from the heap that `heap` tells.
#[inline(always)]
pub fn allocate_from<R>(
    heap: impl FnOnce() -> &'static Heap,
    size: usize,
    otherwise: impl FnOnce(usize) -> *mut R,
) -> *mut R {
    // The usual case: the class is the size in steps of 16. A size of 0 has class 0, whose bin is always empty. A thread without a heap
    // has a sentinel here, whose bins all are.
    if size <= size_class::SMALL_MAX {
        let block = heap().pop(size_class::small(size));
        if !block.is_null() {
            return block.cast();
        }
    // The class of a larger block is looked up.
    } else if size <= MAX_POOLED {
        let block = heap().pop(size_class::medium(size));
        if !block.is_null() {
            return block.cast();
        }
    }
    // Once in a bin's worth of blocks, and for all that is larger than blocks of pools.
    otherwise(size)
}

/// `aligned_alloc` and its like: as `allocate_from`, at a multiple of `align`, a power of two.
#[inline(always)]
pub fn allocate_aligned_from<R>(
    heap: impl FnOnce() -> &'static Heap,
    size: usize,
    align: usize,
    otherwise: impl FnOnce(usize, usize) -> *mut R,
) -> *mut R {
    allocate_from(heap, pooled_size(size, align), |_| otherwise(size, align))
}

/// Allocates at least `size` bytes, aligned to 16. Null when the system has no memory, or `size` exceeds `isize::MAX`.
#[inline(always)]
pub fn allocate(size: usize) -> *mut u8 {
    allocate_or(size, alloc::allocate_beyond_bins)
}

/// Allocates at least `size` bytes at a multiple of `align`, a power of two. Null as `allocate`.
pub fn allocate_aligned(size: usize, align: usize) -> *mut u8 {
    allocate_aligned_from(
        thread::current,
        size,
        align,
        alloc::allocate_aligned_beyond_bins,
    )
}

// ---- calloc ----------------------------------------------------------------------------------------------------------------------------------------

/// `calloc`: as `allocate_or`, and every byte is zero.
#[inline(always)]
pub fn allocate_zeroed_or<R>(size: usize, otherwise: impl FnOnce(usize) -> *mut R) -> *mut R {
    if size <= size_class::SMALL_MAX {
        let class = size_class::small(size);
        let block = thread::current().pop(class);
        if !block.is_null() {
            // SAFETY: a new block of the class, which is not that of size 0, since there is no block of it.
            unsafe { clear(block, class * BLOCK_ALIGN) };
            return block.cast();
        }
    }
    // An empty bin, or a block that takes long to clear anyway.
    otherwise(size)
}

/// As `allocate`, and every byte is zero.
pub fn allocate_zeroed(size: usize) -> *mut u8 {
    allocate_zeroed_aligned(size, BLOCK_ALIGN)
}

/// As `allocate_aligned`, and every byte is zero.
pub fn allocate_zeroed_aligned(size: usize, align: usize) -> *mut u8 {
    match pooled_size(size, align) {
        // SAFETY: a new block of that size.
        ..=MAX_POOLED => unsafe { cleared(allocate_aligned(size, align), size) },
        // Fresh from the system it is zero already.
        _ => alloc::allocate_zeroed_beyond_pools(size, align),
    }
}

// ---- free ------------------------------------------------------------------------------------------------------------------------------------------

/// `free`, in a thread whose slot map has this table.
///
/// # Safety
/// As `free`.
#[inline(always)]
pub unsafe fn free_or(table: SlotTable, block: *mut u8, otherwise: impl FnOnce(*mut u8)) {
    // The map finds the start of a block in a pool of this thread's heap. It finds nothing for null, for blocks of other threads, runs and
    // mappings, for pools in which remote frees wait, and for pointers that are no block's.
    if let Some((bin, place)) = table.bin_of(block as usize) {
        // SAFETY: the start of a carved block of a pool of ours, which is mapped and aligned.
        let freed = unsafe { &*block.cast::<Block>() };
        // A block that carries the mark may be free already: the slow path finds out.
        // SAFETY: the program gives the block up, or else it is free and ours.
        if !unsafe { freed.is_marked_free_already() } {
            // The usual case.
            if bin.has_room() {
                bin.push(freed);
                return;
            }
            // More frees than `malloc`s of the class.
            return free_past_bin(freed, table, place);
        }
    }
    otherwise(block);
}

/// The bin has its fill: the block goes to its pool.
#[inline(never)]
fn free_past_bin(block: &Block, table: SlotTable, place: MapPlace) {
    let pool = table.pool_at(place);
    // At an event, the pool is empty or may have a free page: once in a page's worth of frees at most.
    if pool.push(block) {
        free_at_event(pool);
    }
}

#[cold]
#[inline(never)]
fn free_at_event(pool: &Pool) {
    heap::free_at_event(thread::current(), pool);
}

/// Frees a block; null is ignored. Any other pointer that is not that of an allocated block ends the
/// process with a message.
///
/// # Safety
/// The block must not be used afterwards.
#[inline(always)]
pub unsafe fn free<const CALL: u8>(block: *mut u8) {
    // SAFETY: passed on from the caller.
    unsafe { free_or(thread::slot_table(), block, alloc::free_elsewhere::<CALL>) }
}

// ---- realloc ---------------------------------------------------------------------------------------------------------------------------------------

/// `realloc`, for any pointer and size.
#[inline(always)]
pub fn resize_or<R>(
    block: *mut u8,
    size: usize,
    otherwise: impl FnOnce(*mut u8, usize) -> *mut R,
) -> *mut R {
    match own_size(block) {
        // It fits, and would not save enough by moving. Not for a size of 0, to which no block is near enough.
        Some(old) if stays(old, size) => block.cast(),
        // It must move, or it is none of this thread's.
        _ => otherwise(block, size),
    }
}

/// The size of a block of one of the thread's own pools. `None` for all other pointers, and for a block that looks free.
#[inline(always)]
pub fn own_size(block: *mut u8) -> Option<usize> {
    let table = thread::slot_table();
    let (bin, _) = table.bin_of(block as usize)?;
    // SAFETY: the start of a carved block of a pool of ours, which is mapped and aligned.
    let held = unsafe { &*block.cast::<Block>() };
    // SAFETY: the program holds the block, or else it is free and ours.
    (!unsafe { held.is_marked_free_already() }).then(|| table.block_size_of(bin))
}

/// Whether a block of a pool stays where it is when it is resized: when it shrinks to no less than 3/4 of its size (as in CPython).
#[inline(always)]
pub const fn stays(old: usize, new: usize) -> bool {
    new <= old && new >= old / 4 * 3
}

// ---- malloc_usable_size ----------------------------------------------------------------------------------------------------------------------------

/// Bytes of a block that the program may use; 0 for null. As `free` for other pointers. The block is not read where the program may have
/// protected it.
#[inline(always)]
pub fn usable_size(block: *mut u8, call: Call) -> usize {
    let table = thread::slot_table();
    // As in `free_or`.
    let Some((bin, _)) = table.bin_of(block as usize) else {
        return alloc::usable_size_elsewhere(block, call);
    };
    // SAFETY: the start of a carved block of a pool of ours, which is mapped and aligned.
    let held = unsafe { &*block.cast::<Block>() };
    // One block in two hundred and more.
    if may_start_page(block) {
        return usable_size_of_page(held, bin, table, call);
    }
    // SAFETY: the program holds the block, or else it is free and ours.
    match unsafe { held.is_marked_free_already() } {
        true => alloc::usable_size_elsewhere(block, call),
        false => table.block_size_of(bin),
    }
}

/// Whether a block starts where a page may. (The bits that are zero in each block are left out: the test takes an instruction less.)
#[inline(always)]
fn may_start_page(block: *mut u8) -> bool {
    block as usize & (SMALLEST_PAGE - BLOCK_ALIGN) == 0
}

/// The rest of `usable_size` for a block of one of the thread's own pools at the start of a page. If the page lies wholly in the block, the
/// program may have protected it, and nobody reads whether the block is free.
#[inline(never)]
fn usable_size_of_page(held: &Block, bin: &Bin, table: SlotTable, call: Call) -> usize {
    let size = table.block_size_of(bin);
    // SAFETY: the program holds the block, or else it is free and ours; and no page lies in it.
    match size < SMALLEST_PAGE && unsafe { held.is_marked_free_already() } {
        true => alloc::usable_size_elsewhere(ptr::from_ref(held).cast_mut().cast(), call),
        false => size,
    }
}
