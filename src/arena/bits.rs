//! Runs of ones in a word that has a bit for each slot of an arena.

use crate::geometry::SLOTS;

/// `count` ones from bit `first` on.
pub fn slots_mask(first: usize, count: usize) -> u64 {
    debug_assert!(first >= 1 && count >= 1 && first + count <= SLOTS);
    (u64::MAX >> (SLOTS - count)) << first
}

/// The length of the longest run of ones, by doubling (Warren, "Hacker's Delight", section 6-3).
pub fn longest_run(bits: u64) -> usize {
    // starts[k]: where runs of at least 2^k ones start.
    let mut starts = [bits; SLOTS.trailing_zeros() as usize];
    for power in 1..starts.len() {
        starts[power] = starts[power - 1] & starts[power - 1] >> (1 << (power - 1));
    }
    let (mut length, mut current) = (0, u64::MAX);
    for power in (0..starts.len()).rev() {
        let longer = current & starts[power] >> length;
        if longer != 0 {
            current = longer;
            length += 1 << power;
        }
    }
    length
}

/// The start of the first run of at least `count` ones.
pub fn first_run(bits: u64, count: usize) -> Option<usize> {
    let mut starts = bits;
    for _ in 1..count {
        starts &= bits >> 1 & starts >> 1;
    }
    (starts != 0).then(|| starts.trailing_zeros() as usize)
}

/// The runs of ones, lowest first: where each starts, and how long it is.
pub fn runs(mut bits: u64) -> impl Iterator<Item = (usize, usize)> {
    core::iter::from_fn(move || {
        (bits != 0).then(|| {
            let first = bits.trailing_zeros() as usize;
            let count = (bits >> first).trailing_ones() as usize;
            bits &= !slots_mask(first, count);
            (first, count)
        })
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ALL_BUT_FIRST: u64 = !1;

    #[test]
    fn runs_of_bits() {
        assert_eq!(longest_run(0), 0);
        assert_eq!(longest_run(ALL_BUT_FIRST), SLOTS - 1);
        assert_eq!(longest_run(0b1011_1011), 3);
        assert_eq!(longest_run(u64::MAX >> 1), SLOTS - 1);
        for length in 1..SLOTS {
            for first in 0..=SLOTS - length {
                let run = (u64::MAX >> (SLOTS - length)) << first;
                assert_eq!(longest_run(run), length);
                // Shorter runs beside it, never touching it.
                let rest = 0x5555_5555_5555_5555 & !(run << 1) & !(run >> 1);
                assert_eq!(longest_run(run | rest), length, "{first} {length}");
            }
        }
        assert_eq!(first_run(0b1011_1010, 1), Some(1));
        assert_eq!(first_run(0b1011_1010, 2), Some(3));
        assert_eq!(first_run(0b1011_1010, 3), Some(3));
        assert_eq!(first_run(0b1011_1010, 4), None);
        assert_eq!(first_run(ALL_BUT_FIRST, SLOTS - 1), Some(1));
        assert_eq!(first_run(ALL_BUT_FIRST, SLOTS), None);
    }

    #[test]
    fn runs_are_told_apart() {
        assert!(runs(0).next().is_none());
        assert!(runs(ALL_BUT_FIRST).eq([(1, SLOTS - 1)]));
        assert!(runs(0b1011_1010).eq([(1, 1), (3, 3), (7, 1)]));
        assert!(runs(1 << 63 | 0b110).eq([(1, 2), (63, 1)]));
    }
}
