//! A free block: its first two words.
//!
//! What it owns: those two words, for as long as the block is free.
//!
//! What must hold: a free block, on whatever list, carries the mark of free blocks in its second word. An allocated one does not
//! (`become_allocated` wipes it), unless the program stores it there itself.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

#[repr(C)]
pub struct Block {
    pub(super) next: AtomicPtr<Block>,
    /// While the block is free, its own address plus `MARK`.
    pub(super) mark: AtomicUsize,
}

/// Makes the mark of a free block from its address. With the address in it, because a program may copy bytes that a freed
/// block left behind to anywhere else. Odd, since few programs keep odd numbers near a block's own address in it. Otherwise the
/// value does not matter.
const MARK: usize = 0x5b8d_1e75;

impl Block {
    /// Whether the block carries the mark of free blocks.
    #[inline(always)]
    pub fn is_marked_free(&self) -> bool {
        // Relaxed: whoever frees a block is the only one to use it. Whoever inspects it takes the value of some moment.
        self.mark.load(Ordering::Relaxed) == self.mark_if_free()
    }

    /// The same for the thread that is about to free the block.
    ///
    /// # Safety
    /// Nobody writes the block: the program gives it up, or it is free in a pool of the caller's.
    #[inline(always)]
    pub unsafe fn is_marked_free_already(&self) -> bool {
        // SAFETY: nobody writes it. A plain read, since the compiler does not merge an
        // atomic one into the comparison.
        unsafe { *self.mark.as_ptr() == self.mark_if_free() }
    }

    #[inline(always)]
    pub(super) fn mark_if_free(&self) -> usize {
        Self::free_mark(ptr::from_ref(self) as usize)
    }

    /// What the second word of a block at an address is while the block is free.
    #[inline(always)]
    pub const fn free_mark(address: usize) -> usize {
        address.wrapping_add(MARK)
    }

    /// The block behind this one on the list that it is on.
    #[inline(always)]
    pub fn next(&self) -> *const Block {
        // Relaxed here and below: the list that the block is on orders its accesses.
        self.next.load(Ordering::Relaxed)
    }

    /// Puts another block behind this one, which is free.
    #[inline(always)]
    pub fn link(&self, next: *const Block) {
        self.next.store(next.cast_mut(), Ordering::Relaxed);
    }

    /// Marks the block as free, and puts another behind it.
    #[inline(always)]
    pub fn become_free(&self, next: *const Block) {
        self.next.store(next.cast_mut(), Ordering::Relaxed);
        self.mark.store(self.mark_if_free(), Ordering::Relaxed);
    }

    /// Wipes the mark.
    #[inline(always)]
    pub fn become_allocated(&self) {
        self.mark.store(0, Ordering::Relaxed);
    }
}

/// The blocks that are linked to each other from `first` on. Each block's link is read before the block is given out.
///
/// # Safety
/// The blocks must be free, and stay as they are until they are given out.
pub unsafe fn chain(first: *const Block) -> impl Iterator<Item = *const Block> {
    let mut next = first;
    core::iter::from_fn(move || {
        let block = next;
        // SAFETY: the caller vouches for the block.
        next = unsafe { block.as_ref() }?.next();
        Some(block)
    })
}
