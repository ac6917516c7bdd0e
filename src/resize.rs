//! Resizes a block that does not simply stay where it is: in place if its layer can, else by a copy.

use crate::alloc::{self, Place};
use crate::bytes;
use crate::fast::{allocate, free, own_size, stays};
use crate::fault::{self, Call};
use crate::geometry::{MAX_POOLED, MAX_RUN};
use crate::large;
use crate::mapping;
use crate::relief;
use core::ptr::{self, NonNull};

/// Resizes a block to at least `size` bytes, which is not 0, and keeps its contents. Null, and nothing changed, when
/// the system has no memory. As `free` for pointers that are not those of blocks.
///
/// # Safety
/// The old pointer must not be used after a success.
pub unsafe fn resize(block: *mut u8, size: usize, call: Call) -> *mut u8 {
    if size > isize::MAX as usize {
        return ptr::null_mut();
    }
    if let Some(old) = own_size(block) {
        return match stays(old, size) {
            true => block,
            // SAFETY: passed on from the caller.
            false => unsafe { move_to_new(block, old, size) },
        };
    }
    // SAFETY: passed on from the caller.
    unsafe { resize_elsewhere(block, size, call) }
}

/// As `resize`, for what is none of the thread's own pools, or looks free.
///
/// # Safety
/// As `resize`.
#[inline(never)]
unsafe fn resize_elsewhere(block: *mut u8, size: usize, call: Call) -> *mut u8 {
    let old = match alloc::find(block as usize) {
        Ok(Place::Pool(pool, _)) if stays(pool.block_size(), size) => return block,
        Ok(Place::Pool(pool, _)) => pool.block_size(),
        Ok(Place::Run(run)) => {
            if size > MAX_POOLED && size <= MAX_RUN && large::resize(run, size) {
                return block;
            }
            large::size_of(run)
        }
        Ok(Place::Mapping(old)) => {
            if size > MAX_RUN
                && let Some(resized) = resize_mapping(block, old, size)
            {
                return resized.as_ptr();
            }
            old
        }
        Err(fault) => fault::end(call, block, fault),
    };
    // SAFETY: passed on from the caller.
    unsafe { move_to_new(block, old, size) }
}

/// Resizes a mapping of `old` bytes. `None` when the system refuses. It does so for lack of memory, and when the program has split the mapping by `madvise`,
/// `mprotect` or `mlock` of a part, or it was put together: then it can be copied still.
fn resize_mapping(block: *mut u8, old: usize, size: usize) -> Option<NonNull<u8>> {
    let attempt = || mapping::resize(block as usize, size, relief::make_room);
    // Only for lack of memory: several mappings the system refuses to resize however much is free.
    let more = size.saturating_sub(old);
    attempt()
        .or_else(
            |error| match error == libc::ENOMEM && relief::relieve_for(more) {
                true => attempt(),
                false => Err(error),
            },
        )
        .ok()
}

/// Copies a block of `old` bytes to a new one, and frees it.
///
/// # Safety
/// As `resize`.
#[inline]
unsafe fn move_to_new(block: *mut u8, old: usize, size: usize) -> *mut u8 {
    let new = allocate(size);
    if new.is_null() {
        // A smaller block can stay where it is.
        return if size <= old { block } else { new };
    }
    // SAFETY: both blocks are at least this long, rounded up as all sizes of blocks are, and a new block overlaps no other. The old
    // one is given up here.
    unsafe {
        bytes::copy(block, new, old.min(size));
        free::<{ Call::Realloc as u8 }>(block);
    }
    new
}
