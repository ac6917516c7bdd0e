//! Size classes: pure tables that map a size to its class, and a class to its pool.
//!
//! Classes 1 to 64 are every 16 bytes up to 1,024: CPython's spacing, twice as far as CPython goes.
//! Above, eight steps a doubling (12.5 %) up to `MAX_POOLED`. Class 0 stands for "no pool": a
//! large run has it, and the fast path finds its free list always empty, so that
//! `malloc(0)` needs no test of its own.
//!
//! Everything is computed at compile time from `geometry`.

use crate::geometry::{BLOCK_ALIGN, MAX_POOLED, SLOT_SIZE};

/// The largest size whose class is `size / 16` rounded up. Larger sizes look the class up.
pub const SMALL_MAX: usize = 1024;
const SMALL_CLASSES: usize = SMALL_MAX / BLOCK_ALIGN;

/// Steps per doubling above `SMALL_MAX`: 12.5 % is the most that rounding up can waste there.
const STEPS: usize = 8;
const DOUBLINGS: usize = (MAX_POOLED / SMALL_MAX).trailing_zeros() as usize;

/// Number of classes, class 0 included.
pub const CLASSES: usize = 1 + SMALL_CLASSES + STEPS * DOUBLINGS;

/// Fewest blocks in a pool of several slots. Fewer, and each pool costs too many visits to the arenas.
const WANTED_BLOCKS: usize = 8;
/// The most slots of a pool: an eighth of an arena.
const MAX_POOL_SLOTS: usize = 8;
/// Bytes of the longest pool.
pub const LONGEST_POOL: usize = MAX_POOL_SLOTS * SLOT_SIZE;

/// The smallest spacing above `SMALL_MAX`, and so the granularity of `MEDIUM`.
const MEDIUM_STEP: usize = SMALL_MAX / STEPS;

/// What is known of a class.
#[derive(Clone, Copy)]
pub struct SizeClass {
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks in a pool.
    pub blocks: u32,
    /// Slots of a pool.
    pub slots: u32,
    /// The next number above 2^32 / `block_size`: turns "is this offset the start of one of the first
    /// blocks" into one multiplication and one comparison (see `starts_block`).
    pub reciprocal: u32,
    /// `reciprocal * block_size - 2^32`, which is at least 1: how far the product of an offset and the reciprocal moves on
    /// with every block.
    pub drift: u32,
}

const fn block_size_of(class: usize) -> usize {
    if class <= SMALL_CLASSES {
        return class * BLOCK_ALIGN;
    }
    let above = class - SMALL_CLASSES - 1;
    let base = SMALL_MAX << (above / STEPS);
    base + base / STEPS * (above % STEPS + 1)
}

const fn describe(class: usize) -> SizeClass {
    if class == 0 {
        return SizeClass {
            block_size: 0,
            blocks: 0,
            slots: 0,
            reciprocal: 0,
            drift: 0,
        };
    }
    let size = block_size_of(class);
    let mut slots = 1;
    // More slots while there are too few blocks, or while more than a sixteenth is
    // lost behind the last one.
    while slots < MAX_POOL_SLOTS
        && (slots * SLOT_SIZE / size < WANTED_BLOCKS
            || slots * SLOT_SIZE % size > slots * SLOT_SIZE / 16)
    {
        slots += 1;
    }
    let reciprocal = (1u64 << 32) / size as u64 + 1;
    SizeClass {
        block_size: size as u32,
        blocks: (slots * SLOT_SIZE / size) as u32,
        slots: slots as u32,
        reciprocal: reciprocal as u32,
        drift: (reciprocal * size as u64 - (1 << 32)) as u32,
    }
}

/// All classes.
pub static TABLE: [SizeClass; CLASSES] = {
    let mut table = [describe(0); CLASSES];
    let mut class = 1;
    while class < CLASSES {
        table[class] = describe(class);
        let entry = table[class];
        // What `starts_block` rests on: the drift of all blocks of the pool together stays below one reciprocal, and so
        // does that of one block more in the first slot, which is all that it is asked about.
        let (reciprocal, drift) = (entry.reciprocal as u64, entry.drift as u64);
        assert!(entry.blocks as u64 * drift <= reciprocal);
        assert!((SLOT_SIZE as u64 / entry.block_size as u64 + 1) * drift < reciprocal);
        assert!(entry.blocks >= 2);
        class += 1;
    }
    table
};

static MEDIUM: [u8; MAX_POOLED / MEDIUM_STEP + 1] = {
    let mut map = [0; MAX_POOLED / MEDIUM_STEP + 1];
    let mut step = 0;
    let mut class = 1;
    while step < map.len() {
        while block_size_of(class) < step * MEDIUM_STEP {
            class += 1;
        }
        map[step] = class as u8;
        step += 1;
    }
    map
};
const _: () = assert!(CLASSES <= u8::MAX as usize);

/// The class of a size of at most `SMALL_MAX` bytes. 0 for 0.
#[inline(always)]
pub const fn small(size: usize) -> usize {
    (size + (BLOCK_ALIGN - 1)) / BLOCK_ALIGN
}

/// The class of a size above `SMALL_MAX` and of at most `MAX_POOLED` bytes.
#[inline(always)]
pub fn medium(size: usize) -> usize {
    debug_assert!(size > SMALL_MAX && size <= MAX_POOLED);
    MEDIUM[size.div_ceil(MEDIUM_STEP)] as usize
}

/// The class of any size of at most `MAX_POOLED` bytes; a size of 0 has that of 1.
#[inline]
pub fn of(size: usize) -> usize {
    if size <= SMALL_MAX {
        small(if size == 0 { 1 } else { size })
    } else {
        medium(size)
    }
}

/// Whether one of the first `limit / drift` blocks starts at `offset`, which is counted from the start of the pool and less than
/// a slot.
///
/// The product of an offset and the reciprocal, modulo 2^32, is `q * drift + r * reciprocal` for the quotient `q` and the
/// remainder `r` of the offset by the block size. It stays below 2^32 (see `TABLE`), is at least one reciprocal unless the
/// remainder is 0, and otherwise counts blocks. This joins a range check to the divisibility test of Lemire, Kaser and
/// Kurz ("Faster remainder by direct computation", 2019).
#[inline(always)]
pub const fn starts_block(offset: u32, reciprocal: u32, limit: u32) -> bool {
    offset.wrapping_mul(reciprocal) < limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_fits() {
        for size in 1..=MAX_POOLED {
            let class = of(size);
            assert!(TABLE[class].block_size as usize >= size, "size {size}");
            assert!(
                (TABLE[class - 1].block_size as usize) < size,
                "size {size} has a larger class than it needs"
            );
        }
        assert_eq!(of(0), of(1));
    }

    #[test]
    fn classes_are_at_most_an_eighth_apart() {
        for class in small(512)..CLASSES {
            let (here, before) = (TABLE[class].block_size, TABLE[class - 1].block_size);
            assert!((here - before) * 8 <= before, "class {class}");
        }
    }

    #[test]
    fn block_starts_agree_with_division_at_every_offset_of_the_first_slot() {
        for class in &TABLE[1..] {
            for cut_blocks in [0, 1, class.blocks / 2, class.blocks - 1, class.blocks] {
                for offset in 0..SLOT_SIZE as u32 {
                    assert_eq!(
                        starts_block(offset, class.reciprocal, cut_blocks * class.drift),
                        offset % class.block_size == 0 && offset / class.block_size < cut_blocks,
                        "offset {offset}, {cut_blocks} blocks of {}",
                        class.block_size
                    );
                }
            }
        }
    }

    #[test]
    fn a_multiple_of_an_alignment_has_a_class_of_that_alignment() {
        let mut align = BLOCK_ALIGN;
        while align <= SLOT_SIZE {
            for size in (align..=MAX_POOLED).step_by(align) {
                assert_eq!(TABLE[of(size)].block_size as usize % align, 0);
            }
            align *= 2;
        }
    }
}
