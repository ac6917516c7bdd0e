//! A table from addresses to what is mapped there, in a mapping of its own.
//!
//! Holds what no mask can find: mappings of their own (`mapping`), and the rare arena that
//! has no place in the arena map. Linear probing; half full at most, but for what a caller adds without
//! `reserve`; grows by doubling and does not shrink. The owner of a registry guards it with its lock.
//!
//! Invariant: every entry lies on the unbroken run of occupied places that starts at its home place.

use crate::layout::layout;
use crate::os;
use core::ptr::{self, NonNull};

/// What is known of one mapping. `address` is the key and never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Start of the mapping, which is what the program was given.
    pub address: usize,
    /// Bytes mapped.
    pub size: usize,
}

#[cfg(feature = "watch")]
impl Entry {
    /// Where in an entry the address is.
    pub const ADDRESS: usize = core::mem::offset_of!(Entry, address);
}

const VACANT: Entry = Entry {
    address: 0,
    size: 0,
};

pub struct Registry {
    places: *mut Entry,
    capacity: usize,
    used: usize,
}

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Entry { address, size }
    Registry { places, capacity }
};

// SAFETY: the table is reached through the registry alone, which its owner guards with a lock.
unsafe impl Send for Registry {}

impl Registry {
    pub const fn empty() -> Self {
        Registry {
            places: ptr::null_mut(),
            capacity: 0,
            used: 0,
        }
    }

    /// Where the table is and how many entries it has, for a registry of another process.
    #[cfg(feature = "watch")]
    pub fn table_elsewhere(&self) -> (usize, usize) {
        (self.places as usize, self.capacity)
    }

    /// Gives the table back.
    #[cfg(feature = "watch")]
    pub fn unmap(&mut self) {
        let old = core::mem::replace(self, Self::empty());
        if let Some(table) = NonNull::new(old.places) {
            // SAFETY: the table is no longer reachable. A refusal costs addresses.
            let _ =
                unsafe { os::try_unmap(table.as_ptr().cast(), old.capacity * size_of::<Entry>()) };
        }
    }

    /// Every entry, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.table()
            .iter()
            .copied()
            .filter(|entry| entry.address != 0)
    }

    fn table(&self) -> &[Entry] {
        if self.capacity == 0 {
            return &[];
        }
        // SAFETY: `places` is a mapping of `capacity` entries, all initialised by the system to zero or by `insert`.
        unsafe { core::slice::from_raw_parts(self.places, self.capacity) }
    }

    fn table_mut(&mut self) -> &mut [Entry] {
        if self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: as `table`, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.places, self.capacity) }
    }

    /// The entry at a place, of which there are `capacity`.
    fn at(&self, place: usize) -> Entry {
        self.table()[place]
    }

    /// The place where the search for `address` starts. Pages are aligned, so that the low bits say nothing;
    /// Fibonacci hashing spreads the rest (Knuth, volume 3, section 6.4).
    fn home(&self, address: usize) -> usize {
        let hash = (address as u64 >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 32) as usize & (self.capacity - 1)
    }

    #[inline(never)]
    fn place_of(&self, address: usize) -> Option<usize> {
        if self.used == 0 || address == 0 {
            return None;
        }
        let mut place = self.home(address);
        loop {
            match self.at(place).address {
                0 => return None,
                found if found == address => return Some(place),
                _ => place = (place + 1) & (self.capacity - 1),
            }
        }
    }

    /// The entry of `address`.
    pub fn get(&self, address: usize) -> Option<Entry> {
        self.place_of(address).map(|place| self.at(place))
    }

    /// Makes sure that the next `insert` needs no memory. False when the system has none.
    #[must_use]
    pub fn reserve(&mut self) -> bool {
        if (self.used + 1) * 2 <= self.capacity {
            return true;
        }
        let capacity = match self.capacity {
            0 => os::page_size() / size_of::<Entry>(),
            capacity => capacity * 2,
        };
        let Some(places) = os::map(ptr::null_mut(), capacity * size_of::<Entry>()) else {
            return false;
        };
        let old = Registry {
            places: self.places,
            capacity: self.capacity,
            used: self.used,
        };
        *self = Registry {
            places: places.as_ptr().cast(),
            capacity,
            used: 0,
        };
        for entry in old.entries() {
            self.insert(entry);
        }
        if let Some(table) = NonNull::new(old.places) {
            let size = old.capacity * size_of::<Entry>();
            // SAFETY: the old table is no longer reachable.
            if !unsafe { os::try_unmap(table.as_ptr().cast(), size) } {
                // SAFETY: as above; its pages at least go back.
                unsafe { os::purge(table.as_ptr().cast(), size) };
            }
        }
        true
    }

    /// Adds an entry whose address is not there yet. There must be a vacant place left beside it, as after a
    /// `reserve` that said true.
    #[inline(never)]
    pub fn insert(&mut self, entry: Entry) {
        debug_assert!(entry.address != 0 && self.used + 1 < self.capacity);
        debug_assert!(self.get(entry.address).is_none());
        let mask = self.capacity - 1;
        let mut place = self.home(entry.address);
        while self.at(place).address != 0 {
            place = (place + 1) & mask;
        }
        self.table_mut()[place] = entry;
        self.used += 1;
    }

    /// Takes an entry out.
    pub fn remove(&mut self, address: usize) -> Option<Entry> {
        let mut hole = self.place_of(address)?;
        let removed = self.at(hole);
        let mask = self.capacity - 1;
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = self.at(place);
            if entry.address == 0 {
                break;
            }
            // The entry may move into the hole unless its home lies behind the hole.
            let home = self.home(entry.address);
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.table_mut()[hole] = entry;
                hole = place;
            }
        }
        self.table_mut()[hole] = VACANT;
        self.used -= 1;
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;

    proptest! {
        /// Against a `HashMap`, with addresses so few that they collide, are removed and come again.
        #[test]
        fn behaves_as_a_map(operations in proptest::collection::vec((any::<bool>(), 1usize..400), 1..2000)) {
            let mut registry = Registry::empty();
            let mut model = HashMap::new();
            for (insert, page) in operations {
                let address = page << 12;
                if insert {
                    if let Entry::Vacant(place) = model.entry(address) {
                        prop_assert!(registry.reserve());
                        registry.insert(super::Entry { address, size: page });
                        place.insert(page);
                    }
                } else {
                    prop_assert_eq!(registry.remove(address).map(|entry| entry.size), model.remove(&address));
                }
                prop_assert_eq!(registry.get(address).map(|entry| entry.size), model.get(&address).copied());
            }
            prop_assert_eq!(registry.entries().count(), model.len());
            for entry in registry.entries() {
                prop_assert_eq!(model.get(&entry.address), Some(&entry.size));
            }
        }
    }
}
