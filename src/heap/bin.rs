//! Bins: the free blocks that a thread's `malloc` pops and its `free` pushes, a bin for each size class.
//!
//! What it owns: a list of free blocks, newest first, of any pools of the class, and how many more may be pushed.
//!
//! - Newest first: a program that frees and allocates in turn works on the same few cache lines.
//! - Short: to its pool a block in a bin is in use, so that little memory is kept from the pools. A free beyond `size_class::SizeClass::bin_blocks` goes to
//!   the block's pool instead.
//! - Filled at once: an empty bin takes over the whole list of a pool in one step. So blocks that come and go by the thousands are not moved
//!   one by one.
//!
//! Thread caches in front of the pools are tcmalloc's idea. Theirs move blocks in batches; here a free that does not fit goes straight to
//! its pool, and a pool's list is taken whole.
//!
//! What must hold: only the heap's thread changes its bins. Every block in a bin carries the mark of free blocks, has the bin's
//! class, and is on no other list. Its pool need not be one that the heap owns: that can change while the block is in the bin.

use crate::cpu;
use crate::pool::{self, Block};
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering, compiler_fence};

/// What a block takes of `room`. A push takes one more than a pop gives back. So the room runs out in a thread that pushes and pops in turn
/// for ever: now and then a block goes to its pool, and an event comes, at no cost in instructions.
const BLOCK: i32 = 1 << 12;
/// What `room` starts with beyond its blocks.
const FRESH: i32 = BLOCK - 1;

#[repr(C, align(16))]
pub struct Bin {
    head: AtomicPtr<Block>,
    /// How many more blocks may be pushed, times `BLOCK`, less one for every block that was pushed since they were last counted.
    /// Negative when there are more than may be already.
    room: AtomicI32,
    /// How many there may be; 0 until the bin is first filled.
    most: AtomicI32,
}

/// See `layout`.
pub const LAYOUT: u64 = crate::layout::layout! {
    Bin { head, room, most }
};

impl Bin {
    /// An empty one, into which nothing may be pushed.
    #[allow(clippy::new_without_default, reason = "only ever made in constants")]
    pub const fn new() -> Self {
        Bin {
            head: AtomicPtr::new(ptr::null_mut()),
            room: AtomicI32::new(0),
            most: AtomicI32::new(0),
        }
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head().is_null()
    }

    #[inline(always)]
    fn head(&self) -> *const Block {
        // Relaxed, here and below: only the heap's thread writes it; for others it is a hint.
        self.head.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_head(&self, head: *const Block) {
        // A child that is forked in between must find a whole list, so that the block's own words must be written before.
        compiler_fence(Ordering::Release);
        self.head.store(head.cast_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    fn room(&self) -> i32 {
        // Relaxed, here and below: only the heap's thread writes it; for others it is a figure.
        self.room.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set_room(&self, room: i32) {
        self.room.store(room, Ordering::Relaxed);
    }

    fn most(&self) -> i32 {
        self.most.load(Ordering::Relaxed)
    }

    /// How many blocks there are. It may say a few too many if it is long since they were counted, or while the thread changes the bin.
    pub fn len(&self) -> usize {
        (self.most() - self.room().div_euclid(BLOCK)).max(0) as usize
    }

    /// Takes the newest block of the bin at `base + offset`. Null when there is none.
    ///
    /// # Safety
    /// A bin of the calling thread must be there.
    #[inline(always)]
    pub unsafe fn pop_at(base: usize, offset: usize) -> *mut u8 {
        // SAFETY: the head of the caller's bin.
        let head = || unsafe { &(*((base + offset) as *const Bin)).head };
        let newest = head().load(Ordering::Relaxed);
        // SAFETY: a block in the bin is free and belongs to the bin alone.
        if let Some(block) = unsafe { newest.as_ref() } {
            head().store(block.next().cast_mut(), Ordering::Relaxed);
            // SAFETY: the room of the same bin, which only the calling thread writes.
            unsafe { cpu::add_behind::<{ offset_of!(Bin, room) }, BLOCK>(base, offset) };
            block.become_allocated();
        }
        newest.cast()
    }

    /// Takes the newest block. Null when there is none.
    pub fn pop(&self) -> *mut u8 {
        // SAFETY: this is one.
        unsafe { Self::pop_at(ptr::from_ref(self) as usize, 0) }
    }

    /// Whether one more block may be pushed. Only for the heap's thread.
    #[inline(always)]
    pub fn has_room(&self) -> bool {
        // A plain read: the compiler merges no atomic one into the comparison.
        // SAFETY: nobody else writes it.
        unsafe { *self.room.as_ptr() > BLOCK }
    }

    /// Counts the blocks if many may have been pushed since they were last counted. Only for the heap's thread.
    pub fn recount_if_due(&self) {
        if self.room() & (BLOCK / 2) == 0 {
            self.recount();
        }
    }

    #[inline(never)]
    fn recount(&self) {
        self.set_room((self.most() - self.blocks().count() as i32) * BLOCK + FRESH);
    }

    /// Puts a block in, for which there is room.
    #[inline(always)]
    pub fn push(&self, block: &Block) {
        block.become_free(self.head());
        self.set_head(block);
        self.set_room(self.room() - (BLOCK + 1));
    }

    /// Prepares an empty bin for `append`, and for `most` blocks.
    pub fn start(&self, most: u16) {
        debug_assert!(self.is_empty());
        self.most.store(most.into(), Ordering::Relaxed);
        self.set_room(i32::from(most) * BLOCK + FRESH);
    }

    /// Puts a list of `count` blocks behind those that are there, which are few.
    pub fn append(&self, list: *const Block, count: u32) {
        self.set_room(self.room() - count as i32 * BLOCK);
        // SAFETY: a block of the bin, which is free.
        match unsafe { self.blocks().last().map(|last| &*last) } {
            Some(last) => last.link(list),
            None => self.set_head(list),
        }
    }

    /// Takes all blocks out, linked to each other. Until the bin is filled again it takes none.
    pub fn take_all(&self) -> *const Block {
        let first = self.head();
        self.set_head(ptr::null());
        self.most.store(0, Ordering::Relaxed);
        self.set_room(FRESH);
        first
    }

    /// The blocks. Only for the heap's thread.
    fn blocks(&self) -> impl Iterator<Item = *const Block> {
        // SAFETY: blocks in the bin are free, and the caller keeps the bin as it is.
        unsafe { pool::chain(self.head()) }
    }

    /// Whether a block is in the bin. Only for the heap's thread.
    pub fn holds(&self, wanted: &Block) -> bool {
        self.blocks().any(|block| ptr::eq(block, wanted))
    }

    /// The same for a bin of another thread, which may change it meanwhile. `look` tells which block is behind the one at an address, and whether that one
    /// carries the mark. A block that is pushed or popped this very moment may be missed or met.
    pub fn seems_to_hold(
        &self,
        wanted: &Block,
        look: impl Fn(usize) -> Option<(*const Block, bool)>,
    ) -> bool {
        let mut next = self.head();
        // As many as were counted, so that a list that changes cannot lead in circles.
        for _ in 0..=self.len() {
            if ptr::eq(next, wanted) {
                return true;
            }
            next = match look(next as usize) {
                Some((behind, true)) => behind,
                // It was popped meanwhile: its first word may be the program's own by now.
                _ => return false,
            };
        }
        false
    }
}
