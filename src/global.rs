//! The library for Rust programs: a `#[global_allocator]`, and what else they may ask.

use crate::fast;
use crate::fault::Call;
use crate::inspect::{self, Info};
use crate::relief;
use crate::resize;
use core::alloc::{GlobalAlloc, Layout};

/// The version of the library.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The allocator, for `#[global_allocator]`:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Pymalloc;

// SAFETY: blocks are as large and as aligned as asked, overlap no other, stay until they are freed, and nothing unwinds.
unsafe impl GlobalAlloc for Pymalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        fast::allocate_aligned(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller gives the block up.
        unsafe { fast::free::<{ Call::Free as u8 }>(block) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        fast::allocate_zeroed_aligned(layout.size(), layout.align())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= crate::geometry::BLOCK_ALIGN {
            // SAFETY: the caller gives the old pointer up on success; `size` is not 0.
            return unsafe { resize::resize(block, size, Call::Realloc) };
        }
        let new = fast::allocate_aligned(size, layout.align());
        if !new.is_null() {
            // SAFETY: both blocks are at least this long and do not overlap; the caller gives the old one up.
            unsafe {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                fast::free::<{ Call::Realloc as u8 }>(block);
            }
        }
        new
    }
}

/// Gives back to the system all memory that can be given back now. True when there was any.
pub fn trim() -> bool {
    relief::trim()
}

/// Tells what any address is; safe for every pointer.
pub fn inspect<T: ?Sized>(address: *const T) -> Info {
    inspect::inspect(address.cast())
}
