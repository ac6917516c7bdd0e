//! `usable_arenas`: arenas in buckets by a number, so that nobody searches for the one with the least or the most.
//!
//! What it owns: the links of an arena to its neighbours in a bucket. The lock of the arenas guards everything.
//!
//! What must hold: the link back of the first arena in a bucket leads to the last. Of the arenas with as many free slots, those with
//! dirty ones stand in front. They serve first, and whoever looks for pages to give back stops at the first arena that has none.
//!
//! Each arena is in two of these: by its free slots, and by its longest run of them. The second costs 430 instructions a change of an
//! arena, 1 to 1.5 % of those of `medium`, `drift` and `random` of `make bench`. Without it a pool or run of several slots searches all
//! arenas that have as many free slots in pieces: 34,700 instructions instead of 1,080 where 950 arenas have no run that fits.

use super::header::{Arena, Links};
use crate::geometry::SLOTS;
use core::ptr;

/// By what number the arenas are: which links of an arena lead to its neighbours. Handed to each call, so that buckets are all zeroes while they are empty, and take no
/// place in the file.
#[derive(Clone, Copy)]
pub enum By {
    Count,
    Run,
}

impl By {
    #[inline(always)]
    fn links(self, arena: &Arena) -> &Links {
        match self {
            By::Count => &arena.by_count,
            By::Run => &arena.by_run,
        }
    }
}

/// Arenas in buckets by a number from 1 to 63.
pub struct Buckets {
    pub first: [*const Arena; SLOTS],
    /// The buckets that are not empty, a bit each.
    occupied: u64,
}

impl Buckets {
    pub const fn empty() -> Self {
        Buckets {
            first: [ptr::null(); SLOTS],
            occupied: 0,
        }
    }

    /// The first arena in the lowest bucket that is at least `wanted`.
    pub fn lowest_from(&self, wanted: usize) -> *const Arena {
        match self.occupied & (u64::MAX << wanted) {
            0 => ptr::null(),
            fitting => self.first[fitting.trailing_zeros() as usize],
        }
    }

    /// Puts an arena into a bucket, in front of all others or behind them.
    pub fn insert(&mut self, by: By, arena: &Arena, bucket: usize, in_front: bool) {
        let links = by.links(arena);
        // SAFETY: arenas in a bucket are mapped, and guarded by the lock that `self` is behind. So below.
        let Some(first) = (unsafe { self.first[bucket].as_ref() }) else {
            links.next.set(ptr::null());
            links.previous.set(arena);
            self.first[bucket] = arena;
            self.occupied |= 1 << bucket;
            return;
        };
        let of_first = by.links(first);
        let last = of_first.previous.replace(arena);
        links.previous.set(last);
        if in_front {
            links.next.set(first);
            self.first[bucket] = arena;
            return;
        }
        links.next.set(ptr::null());
        // SAFETY: as above.
        if let Some(last) = unsafe { last.as_ref() } {
            by.links(last).next.set(arena);
        }
    }

    pub fn remove(&mut self, by: By, arena: &Arena, bucket: usize) {
        let links = by.links(arena);
        let (next, previous) = (links.next.get(), links.previous.get());
        if ptr::eq(self.first[bucket], arena) {
            self.first[bucket] = next;
        // SAFETY: as in `insert`.
        } else if let Some(previous) = unsafe { previous.as_ref() } {
            debug_assert!(ptr::eq(by.links(previous).next.get(), arena));
            by.links(previous).next.set(next);
        }
        // The one behind it, or the first, whose link leads to the last.
        let follower = if next.is_null() {
            self.first[bucket]
        } else {
            next
        };
        // SAFETY: as in `insert`.
        match unsafe { follower.as_ref() } {
            Some(follower) => by.links(follower).previous.set(previous),
            None => self.occupied &= !(1 << bucket),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::mem;

    /// Against a plain list, through every way to put one of four in and to take one out.
    #[test]
    fn arenas_stand_where_they_were_put() {
        // SAFETY: all zeroes is a valid header of an arena.
        let arenas: [Arena; 4] = unsafe { mem::zeroed() };
        for way in 0..4_u32.pow(6) {
            let mut buckets = Buckets::empty();
            let mut expected: Vec<*const Arena> = Vec::new();
            for step in 0..6 {
                let arena = &arenas[(way >> (2 * step) & 3) as usize];
                match expected.iter().position(|one| ptr::eq(*one, arena)) {
                    Some(place) => {
                        buckets.remove(By::Count, arena, 5);
                        expected.remove(place);
                    }
                    None if (way + step) % 3 == 0 => {
                        buckets.insert(By::Count, arena, 5, true);
                        expected.insert(0, arena);
                    }
                    None => {
                        buckets.insert(By::Count, arena, 5, false);
                        expected.push(arena);
                    }
                }
                let mut found = Vec::new();
                let mut next = buckets.first[5];
                // SAFETY: one of these four.
                while let Some(arena) = unsafe { next.as_ref() } {
                    found.push(next);
                    next = arena.by_count.next.get();
                }
                assert_eq!(found, expected, "way {way}, step {step}");
                assert_eq!(buckets.lowest_from(1).is_null(), expected.is_empty());
                assert!(buckets.lowest_from(6).is_null());
            }
        }
    }
}
