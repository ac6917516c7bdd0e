//! Size classes: pure tables that map a size to its class, and a class to its pool.
//!
//! Classes 1 to 64 are every 16 bytes up to 1,024: CPython's spacing, twice as far as CPython goes.
//! Above, eight steps a doubling (12.5 %) up to a page, and four up to `MAX_POOLED`. Class 0 stands for "no pool": a
//! large run has it, and the fast path finds its bin always empty, so that
//! `malloc(0)` needs no test of its own.
//!
//! Everything is computed at compile time from `geometry`.

use crate::geometry::{BLOCK_ALIGN, MAX_POOLED, SLOT_SIZE};
use crate::os::SMALLEST_PAGE;

/// The largest size whose class is `size / 16` rounded up. Larger sizes look the class up.
pub const SMALL_MAX: usize = 1024;
const SMALL_CLASSES: usize = SMALL_MAX / BLOCK_ALIGN;

/// Steps per doubling above `SMALL_MAX`: 12.5 % is the most that rounding up can waste there...
const STEPS: usize = 8;
/// ... up to this size ...
const FINE_MAX: usize = SMALLEST_PAGE;
/// ... and above it, where the end of a block that the program does not use is pages that are never touched. With eight, a small CPython
/// process takes 150 KB more (a block or two that were freed, in each of twelve more classes), and `medium` a tenth more time.
const COARSE_STEPS: usize = 4;
const FINE_CLASSES: usize = STEPS * (FINE_MAX / SMALL_MAX).trailing_zeros() as usize;
const COARSE_CLASSES: usize = COARSE_STEPS * (MAX_POOLED / FINE_MAX).trailing_zeros() as usize;

/// Number of classes, class 0 included.
pub const CLASSES: usize = 1 + SMALL_CLASSES + FINE_CLASSES + COARSE_CLASSES;

/// Fewest blocks in a pool of several slots. Fewer, and each pool costs too many visits to the arenas. Pools of the model are soon full and soon empty.
const WANTED_BLOCKS: usize = if cfg!(loom) { 4 } else { 8 };
/// The most slots of a pool: an eighth of an arena.
const MAX_POOL_SLOTS: usize = 8;
/// Bytes of the longest pool.
pub const LONGEST_POOL: usize = MAX_POOL_SLOTS * SLOT_SIZE;

/// The smallest spacing above `SMALL_MAX`, and so the granularity of `MEDIUM`.
const MEDIUM_STEP: usize = SMALL_MAX / STEPS;

/// The constants of a class.
#[derive(Clone, Copy)]
pub struct SizeClass {
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks in a pool.
    pub blocks: u32,
    /// Slots of a pool.
    pub slots: u32,
    /// The most blocks that stay in a bin.
    pub bin_blocks: u16,
    /// Blocks freed from one event of a full pool to the next (`pool::events`): as many as can lie on a page, since
    /// only then another can have come free; at least a quarter of them, so that a pool of few blocks has few events. All
    /// of them in a pool of a single page.
    pub event_step: u16,
    /// The next number above 2^64 / `block_size`: turns "is this the start of one of the first blocks" into one
    /// multiplication and one comparison (see `starts_block`).
    pub reciprocal: u64,
    /// `reciprocal * block_size - 2^64`, from 1 to `block_size`: how far the product of an offset and the reciprocal moves on
    /// with every block.
    pub drift: u64,
}

impl SizeClass {
    /// The block around an offset from the start of the pool: the offset divided by the block size, without a division.
    #[inline]
    pub fn index_at(&self, offset: usize) -> usize {
        // Exact, since the reciprocal is too large by less than one part in 2^64 / offset.
        ((offset as u128 * self.reciprocal as u128) >> 64) as usize
    }

    /// Whether one of the first `carved` blocks of a pool starts at an offset from its start.
    #[inline]
    pub fn starts_block(&self, offset: usize, carved: u32) -> bool {
        starts_block(offset as u64, self.reciprocal, carved as u64 * self.drift)
    }
}

const fn block_size_of(class: usize) -> usize {
    if class <= SMALL_CLASSES {
        return class * BLOCK_ALIGN;
    }
    let above = class - SMALL_CLASSES - 1;
    let (above, smallest, steps) = if above < FINE_CLASSES {
        (above, SMALL_MAX, STEPS)
    } else {
        (above - FINE_CLASSES, FINE_MAX, COARSE_STEPS)
    };
    let base = smallest << (above / steps);
    base + base / steps * (above % steps + 1)
}

/// Bytes of the blocks that a bin may hold of sizes up to `BIN_SMALL_MAX`, and of larger ones. Blocks in bins are lost to the pools: with 8 KiB
/// for all, the churn scenario goes from 1.29 to 1.31 bytes resident for a live one. With 4 KiB for all, `last in first out over 128` of
/// `make bench-instructions` takes a fifth more instructions.
const BIN_BYTES: (usize, usize) = (8 << 10, 4 << 10);
const BIN_SMALL_MAX: usize = 64;
/// The most blocks of a bin: each may lie on a page of its own.
const MOST_BIN_BLOCKS: usize = 256;
/// The fewest, of sizes up to `BIN_FEW_MAX` and of larger ones. With 8 and 4, `1-17 KiB random` takes half as many instructions again, and the
/// churn scenario goes from 1.29 to 1.28.
const LEAST_BIN_BLOCKS: (usize, usize) = (12, 8);
const BIN_FEW_MAX: usize = FINE_MAX;

const fn bin_blocks(size: usize) -> u16 {
    let (bytes, least) = (
        if size <= BIN_SMALL_MAX {
            BIN_BYTES.0
        } else {
            BIN_BYTES.1
        },
        if size <= BIN_FEW_MAX {
            LEAST_BIN_BLOCKS.0
        } else {
            LEAST_BIN_BLOCKS.1
        },
    );
    let blocks = bytes / size;
    if blocks > MOST_BIN_BLOCKS {
        MOST_BIN_BLOCKS as u16
    } else if blocks < least {
        least as u16
    } else {
        blocks as u16
    }
}

const fn describe(class: usize) -> SizeClass {
    if class == 0 {
        return SizeClass {
            block_size: 0,
            blocks: 0,
            slots: 0,
            bin_blocks: 0,
            event_step: 0,
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
    let reciprocal = ((1u128 << 64) / size as u128 + 1) as u64;
    let blocks = slots * SLOT_SIZE / size;
    let on_a_page = SMALLEST_PAGE / size;
    let quarter = blocks / 4;
    SizeClass {
        block_size: size as u32,
        blocks: blocks as u32,
        slots: slots as u32,
        bin_blocks: bin_blocks(size),
        event_step: if on_a_page > quarter {
            on_a_page as u16
        } else if quarter > 0 {
            quarter as u16
        } else {
            1
        },
        reciprocal,
        drift: reciprocal.wrapping_mul(size as u64),
    }
}

/// All classes.
pub static TABLE: [SizeClass; CLASSES] = {
    let mut table = [describe(0); CLASSES];
    let mut class = 1;
    while class < CLASSES {
        table[class] = describe(class);
        let entry = table[class];
        assert!(entry.blocks >= 2 && entry.blocks <= u16::MAX as u32);
        // What `starts_block` rests on.
        assert!(entry.drift >= 1 && entry.drift <= MAX_POOLED as u64);
        assert!(u64::MAX / MAX_POOLED as u64 - LONGEST_POOL as u64 > FARTHEST as u64);
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
    // Not `div_ceil`, which minds an overflow that cannot be and takes more instructions for it.
    (size + (BLOCK_ALIGN - 1)) >> BLOCK_ALIGN.trailing_zeros()
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

/// No two addresses that a program can hold on a 64-bit machine of today are further apart, in bytes.
const FARTHEST: usize = 1 << 48;

/// Whether one of the first `limit / drift` blocks of a pool starts at `offset` from its start; any address that a program
/// can hold may be asked about (the offset wraps around for one before the pool). One that no machine has, with its highest bit set, can pass
/// for a block of ours.
///
/// With the quotient `q` and the remainder `r` of the offset by the block size, the product modulo 2^64 is
/// `q * drift + r * reciprocal`. For a remainder of 0 it counts blocks, and is below the limit for just the first ones. For any
/// other it is at least one reciprocal, which no limit reaches, as long as it does not wrap around; and it does so only for offsets
/// of about `2^64 / drift`, which `FARTHEST` excludes. In front of the pool the same holds with signs changed. This
/// joins a range check to the divisibility test of Lemire, Kaser and Kurz ("Faster remainder by direct
/// computation", 2019).
#[inline(always)]
const fn starts_block(offset: u64, reciprocal: u64, limit: u64) -> bool {
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
    fn classes_are_at_most_an_eighth_apart_up_to_a_page_and_a_quarter_beyond() {
        for class in small(512)..CLASSES {
            let (here, before) = (TABLE[class].block_size, TABLE[class - 1].block_size);
            let steps = if here as usize <= SMALLEST_PAGE { 8 } else { 4 };
            assert!((here - before) * steps <= before, "class {class}");
        }
    }

    #[test]
    fn block_starts_agree_with_division() {
        for class in &TABLE[1..] {
            let size = class.block_size as i64;
            for carved_blocks in [0, 1, class.blocks / 2, class.blocks - 1, class.blocks] {
                let check = |offset: i64| {
                    assert_eq!(
                        starts_block(
                            offset as u64,
                            class.reciprocal,
                            carved_blocks as u64 * class.drift
                        ),
                        offset >= 0 && offset % size == 0 && offset / size < carved_blocks as i64,
                        "offset {offset}, {carved_blocks} blocks of {size}",
                    );
                };
                (-2 * size..class.slots as i64 * SLOT_SIZE as i64).for_each(check);
                // Far away, among them every distance at which another slot selects the same place of a slot map.
                for power in 17..=48 {
                    for near in -2 * size..2 * size {
                        check((1 << power) + near);
                        check(-(1 << power) + near);
                    }
                }
            }
        }
    }

    #[test]
    fn block_numbers_agree_with_division() {
        for class in &TABLE[1..] {
            for offset in 0..class.slots as usize * SLOT_SIZE {
                assert_eq!(class.index_at(offset), offset / class.block_size as usize);
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
