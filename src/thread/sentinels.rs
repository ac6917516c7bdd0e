//! Sentinels: what a thread has in the place of a heap.
//!
//! A sentinel is a heap with empty bins, and its table shows no pool. So the fast paths need no test for first use.

use crate::heap::{Heap, VoidTable};

/// Frees that a thread may make before it gets a heap. More than the C library makes for a thread that never allocates and whose
/// destructors have all run: that thread would never give its heap back.
pub(super) const FREES_WITHOUT_HEAP: usize = 8;

/// How far sentinels are apart, in bytes.
const STEP: usize = align_of::<Heap>();

/// The sentinels, in the memory of little more than one: they are all zeroes and never written, and only their addresses differ. The
/// first ones count the frees of a thread that has no heap yet; the last is for threads that have none any more.
#[repr(C, align(64))]
pub(super) struct Sentinels {
    pub(super) not_yet: Heap,
    rest: [u8; FREES_WITHOUT_HEAP * STEP],
    /// The table of all of them.
    pub(super) void: VoidTable,
}

pub(super) static SENTINELS: Sentinels = Sentinels {
    not_yet: Heap::new(),
    rest: [0; FREES_WITHOUT_HEAP * STEP],
    void: VoidTable::new(),
};

/// Sentinel number `count`.
pub(super) fn sentinel(count: usize) -> *const Heap {
    (&raw const SENTINELS.not_yet).wrapping_byte_add(count * STEP)
}

/// Which sentinel a thread has for a heap, if it is one.
pub(super) fn number_of_sentinel(heap: *const Heap) -> Option<usize> {
    let distance = (heap as usize).wrapping_sub(sentinel(0) as usize);
    (distance <= FREES_WITHOUT_HEAP * STEP).then_some(distance / STEP)
}
