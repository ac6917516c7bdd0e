//! The sizes of arenas and pools: every constant of the layout, in one place.
//!
//! An arena is an aligned mapping of 64 slots, so that the state of all its slots
//! is one machine word. A pool is a run of slots, most often one. Slot 0 of each arena
//! holds the arena's own header and the headers of the other slots, a cache line
//! each; its other pages are never touched.
//!
//! Nothing outside this file may depend on the values: the feature `small-arenas`
//! builds the geometry that CPython had until 3.9, and every test runs on both.

/// Alignment of every block, and the step of the small size classes. 16 is what
/// the C ABIs of 64-bit machines promise for `max_align_t`.
pub const BLOCK_ALIGN: usize = 16;

/// log2 of the arena size: 1 MiB, as in CPython since 3.10 (256 KiB before).
pub const ARENA_SHIFT: u32 = if cfg!(feature = "small-arenas") {
    18
} else {
    20
};

/// Slots of an arena. 64, so that a `u64` holds a bit for each.
pub const SLOTS: usize = 64;

/// Bytes of an arena; arenas are aligned to their size.
pub const ARENA_SIZE: usize = 1 << ARENA_SHIFT;
/// Masks an address down to its offset inside an arena.
pub const ARENA_MASK: usize = ARENA_SIZE - 1;

/// log2 of the slot size: 16 KiB, as CPython's pools since 3.10 (4 KiB before).
pub const SLOT_SHIFT: u32 = ARENA_SHIFT - SLOTS.trailing_zeros();
/// Bytes of a slot: the smallest pool, and the unit of large runs.
pub const SLOT_SIZE: usize = 1 << SLOT_SHIFT;
/// Masks an address down to its offset inside a slot.
pub const SLOT_MASK: usize = SLOT_SIZE - 1;

/// log2 of the size of a slot's header.
pub const HEADER_SHIFT: u32 = 6;
/// Bytes of a slot's header: one cache line, so that no two pools share one.
pub const HEADER_SIZE: usize = 1 << HEADER_SHIFT;

/// The largest size served from pools. Twice a slot: above it a pool of eight
/// blocks would be a quarter of an arena. Measure `1-17 KiB random` of
/// `make bench-instructions` before changing it.
pub const MAX_POOLED: usize = 2 * SLOT_SIZE;

/// The most slots that a large run takes; what is larger is a mapping of its own.
/// Half an arena: two such runs leave almost nothing of it unused.
pub const MAX_RUN_SLOTS: usize = SLOTS / 2;
/// The largest size served as a run of slots, in bytes.
pub const MAX_RUN: usize = MAX_RUN_SLOTS * SLOT_SIZE;

// All headers fit into slot 0, and below the first block of slot 1.
const _: () = assert!(SLOTS * HEADER_SIZE <= SLOT_SIZE);
