//! Clears and copies the bytes of blocks.

use crate::geometry::BLOCK_ALIGN;
use core::mem::MaybeUninit;

/// Up to here a block is cleared or copied by stores of 16 bytes, twice as many as it takes at most: two thirds of the instructions
/// of a call of `memset` (`make bench-instructions`).
const BY_STORES: usize = 128;

/// Calls `each` for the offsets of pieces of 16 bytes that make up the first `bytes`, at least 16, a multiple of that, and at most
/// `BY_STORES`. From both ends, so that pieces overlap where the size is no power of two, and branches tell only the power.
#[inline(always)]
fn for_each_piece(bytes: usize, each: impl Fn(usize)) {
    const PIECE: usize = size_of::<u128>();
    debug_assert!((PIECE..=BY_STORES).contains(&bytes) && bytes.is_multiple_of(PIECE));
    let both_ends = |pieces: usize| {
        for piece in 0..pieces {
            each(piece * PIECE);
            each(bytes - (piece + 1) * PIECE);
        }
    };
    match bytes {
        65.. => both_ends(4),
        33.. => both_ends(2),
        _ => both_ends(1),
    }
}

/// Clears the first `bytes` of a block, at least 16 and a multiple of that.
///
/// # Safety
/// A block of at least that size that nobody else uses.
#[inline(always)]
pub unsafe fn clear(block: *mut u8, bytes: usize) {
    if bytes > BY_STORES {
        // SAFETY: passed on from the caller.
        return unsafe { block.write_bytes(0, bytes) };
    }
    // SAFETY: aligned pieces of the block.
    for_each_piece(bytes, |at| unsafe {
        block.add(at).cast::<u128>().write(0);
    });
}

/// Clears the first `bytes` of a block, if there is one, and returns it.
///
/// # Safety
/// Null, or a block of at least that size that nobody else uses.
#[inline(always)]
pub unsafe fn cleared(block: *mut u8, bytes: usize) -> *mut u8 {
    if !block.is_null() {
        // SAFETY: passed on from the caller.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

/// Copies the first `bytes` of a block to another, and up to 15 behind them.
///
/// # Safety
/// Two different blocks, each of at least `bytes`, rounded up to a multiple of 16, that nobody else uses.
#[inline(always)]
pub unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    if bytes > BY_STORES {
        // SAFETY: passed on from the caller.
        return unsafe { to.copy_from_nonoverlapping(from, bytes) };
    }
    // SAFETY: aligned pieces of the blocks. What the program never wrote is copied unseen.
    for_each_piece(bytes.next_multiple_of(BLOCK_ALIGN), |at| unsafe {
        let piece = from.add(at).cast::<MaybeUninit<u128>>().read();
        to.add(at).cast::<MaybeUninit<u128>>().write(piece);
    });
}
