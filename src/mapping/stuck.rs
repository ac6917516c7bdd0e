//! Stuck mappings: those that the system refused to unmap (`vm.max_map_count`: the hole would split a mapping).
//!
//! What it owns: their addresses, by start and by end. Their pages have gone back, so that they read as zeroes. They serve every layer
//! (blocks of any size, arenas) when the system maps no more. Those that touch are one.

use super::part::{joined, split_start};
use crate::registry::{Entry, Registry};

pub struct Stuck {
    pub(super) by_start: Registry,
    /// The same, by the address behind each.
    pub(super) by_end: Registry,
    /// None is larger. A bound, so that a request for more need not search.
    largest: usize,
}

impl Stuck {
    pub const fn empty() -> Self {
        Stuck {
            by_start: Registry::empty(),
            by_end: Registry::empty(),
            largest: 0,
        }
    }

    pub fn has_room(&self) -> bool {
        self.by_start.has_room() && self.by_end.has_room()
    }

    /// Adds one, for which there is room, and that touches no other.
    #[inline(never)]
    pub fn insert(&mut self, entry: Entry) {
        debug_assert!(self.has_room());
        self.by_start.insert(entry);
        self.by_end.insert(Entry {
            address: entry.address + entry.size,
            size: entry.size,
        });
        self.largest = self.largest.max(entry.size);
    }

    #[inline(never)]
    fn remove(&mut self, entry: &Entry) {
        let start = self.by_start.remove(entry.address);
        let end = self.by_end.remove(entry.address + entry.size);
        debug_assert!(start.is_some() && end.is_some(), "each is in both");
    }

    /// Takes out those that touch a mapping, and joins them with it.
    #[inline(never)]
    pub fn join(&mut self, entry: Entry) -> Entry {
        let mut whole = entry;
        if let Some(behind) = self.by_start.get(whole.address + whole.size) {
            self.remove(&behind);
            whole = joined(&whole, &behind);
        }
        if let Some(before) = self.by_end.get(whole.address) {
            let before = Entry {
                address: whole.address - before.size,
                size: before.size,
            };
            self.remove(&before);
            whole = joined(&before, &whole);
        }
        whole
    }

    /// A block of `size` bytes at a multiple of `align`, out of the first that has it.
    pub fn take(&mut self, size: usize, align: usize) -> Option<Entry> {
        if size > self.largest {
            return None;
        }
        let mut largest = 0;
        let found = self.by_start.entries().find_map(|entry| {
            largest = largest.max(entry.size);
            let before = entry.address.wrapping_neg() & (align - 1);
            let enough = entry.size.checked_sub(before)? >= size;
            enough.then_some((entry, before))
        });
        let Some((mut whole, before)) = found else {
            self.largest = largest;
            return None;
        };
        // In front of the block and behind it something may be left.
        if before > 0 && !self.has_room() {
            return None;
        }
        self.remove(&whole);
        if before > 0 {
            let front = split_start(&mut whole, before);
            self.insert(front);
        }
        let block = split_start(&mut whole, size);
        if whole.size > 0 {
            self.insert(whole);
        }
        Some(block)
    }

    /// Bytes of all.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.by_start.entries().map(|entry| entry.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn mappings_are_split_and_joined_again() {
        let mut stuck = Stuck::empty();
        for _ in 0..8 {
            assert!(
                registry::make_room(&mut stuck.by_start) && registry::make_room(&mut stuck.by_end)
            );
        }
        assert_eq!(stuck.take(4096, 4096), None);
        stuck.insert(Entry {
            address: 0x7000,
            size: 0x9000,
        });
        let aligned = stuck.take(0x4000, 0x4000).expect("there is room");
        assert_eq!((aligned.address, aligned.size), (0x8000, 0x4000));
        assert_eq!(stuck.take(0x5000, 4096), None);
        assert_eq!(stuck.bytes(), 0x5000);
        let whole = stuck.join(aligned);
        assert_eq!((whole.address, whole.size), (0x7000, 0x9000));
        assert_eq!(stuck.bytes(), 0);
    }
}
