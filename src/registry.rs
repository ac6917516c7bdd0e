//! A table from addresses to what is mapped there, in a mapping of its own.
//!
//! What it owns: its table. It finds what no mask can: mappings of their own (`mapping`), and the rare arena that has no place in the map
//! of arenas. It probes linearly, is at most half full, grows by doubling, and does not shrink. The owner of a registry guards it with
//! its lock. That lock is free while the system maps or unmaps a table (`lock_with_room`).
//!
//! What must hold: every entry lies on the unbroken run of occupied places that starts at its home place. There is room for every entry
//! that was *promised*: its mapping is being made or moved.

use crate::layout::layout;
use crate::os;
use crate::sync::{Guard, Lock};
use core::ptr::{self, NonNull};

/// What is known of one mapping. `address` is the key and never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Start of the mapping, which is what the program was given.
    pub address: usize,
    /// Bytes mapped.
    pub size: usize,
}

impl Entry {
    /// Where in an entry the address is.
    pub const ADDRESS: usize = core::mem::offset_of!(Entry, address);
    pub const SIZE: usize = core::mem::offset_of!(Entry, size);
}

const VACANT: Entry = Entry {
    address: 0,
    size: 0,
};

pub struct Registry {
    places: *mut Entry,
    capacity: usize,
    used: usize,
    /// Entries that are on their way here.
    promised: usize,
}

/// The memory of a registry: places, which are vacant.
pub struct Table {
    places: NonNull<Entry>,
    capacity: usize,
}

impl Table {
    #[inline(never)]
    fn map(capacity: usize) -> Option<Table> {
        // SAFETY: a fresh mapping.
        Some(unsafe {
            Table::at(
                os::map(ptr::null_mut(), Table::size_of(capacity))?,
                capacity,
            )
        })
    }

    /// Bytes of a table of `capacity` places.
    fn size_of(capacity: usize) -> usize {
        capacity * size_of::<Entry>()
    }

    /// Memory that is to be a table.
    ///
    /// # Safety
    /// A mapping of `size_of(capacity)` bytes that reads as zeroes, for this alone.
    unsafe fn at(start: NonNull<u8>, capacity: usize) -> Table {
        Table {
            places: start.cast(),
            capacity,
        }
    }
}

impl Drop for Table {
    #[inline(never)]
    fn drop(&mut self) {
        let (start, size) = (self.places.as_ptr().cast(), Table::size_of(self.capacity));
        // SAFETY: the table is no longer reachable.
        if !unsafe { os::try_unmap(start, size) } {
            // SAFETY: as above. Its pages at least go back. Its addresses do not serve again: all tables that a registry has outgrown are
            // together smaller than the one that it has.
            unsafe { os::purge(start, size) };
        }
    }
}

/// Locks the structure around a registry, with room for one more entry. A larger table is mapped while the lock is free. Where the system
/// refuses, `other_memory` is asked for as many bytes, which must read as zeroes. `None` when there is no memory.
pub fn lock_with_room<T: 'static>(
    lock: &Lock<T>,
    registry: impl Fn(&mut T) -> &mut Registry,
    other_memory: fn(usize) -> Option<NonNull<u8>>,
) -> Option<Guard<'_, T>> {
    loop {
        let mut guard = lock.lock();
        let found = registry(&mut guard);
        if found.has_room() {
            return Some(guard);
        }
        let capacity = found.larger_capacity();
        drop(guard);
        let table = Table::map(capacity).or_else(|| {
            let start = other_memory(Table::size_of(capacity))?;
            // SAFETY: such memory, which nobody else uses.
            Some(unsafe { Table::at(start, capacity) })
        })?;
        let old = registry(&mut lock.lock()).move_to(table);
        // With the lock free.
        drop(old);
    }
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
            promised: 0,
        }
    }

    /// Where the table is and how many entries it has, for a registry of another process.
    pub fn table_elsewhere(&self) -> (usize, usize) {
        (self.places as usize, self.capacity)
    }

    /// Gives the table back.
    pub fn unmap(&mut self) {
        drop(core::mem::replace(self, Self::empty()).into_table());
    }

    /// Its memory, to be dropped with the lock free.
    fn into_table(self) -> Option<Table> {
        NonNull::new(self.places).map(|places| Table {
            places,
            capacity: self.capacity,
        })
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
        let place = self.probe(address);
        (self.at(place).address == address).then_some(place)
    }

    /// The place of `address`, or the vacant one that it would take.
    #[inline]
    fn probe(&self, address: usize) -> usize {
        let mut place = self.home(address);
        while ![0, address].contains(&self.at(place).address) {
            place = (place + 1) & (self.capacity - 1);
        }
        place
    }

    /// The entry of `address`.
    pub fn get(&self, address: usize) -> Option<Entry> {
        self.place_of(address).map(|place| self.at(place))
    }

    /// Whether there is room for one more entry, beside those that were promised.
    #[inline(never)]
    pub fn has_room(&self) -> bool {
        (self.used + self.promised + 1) * 2 <= self.capacity
    }

    /// Keeps room for one more entry until `fulfil` or `cancel`. There must be some.
    pub fn promise(&mut self) {
        debug_assert!(self.has_room());
        self.promised += 1;
    }

    /// Adds an entry that was promised.
    pub fn fulfil(&mut self, entry: Entry) {
        self.cancel();
        self.insert(entry);
    }

    /// An entry that was promised does not come.
    pub fn cancel(&mut self) {
        debug_assert!(self.promised > 0);
        self.promised -= 1;
    }

    /// Takes an entry out that is to come back, perhaps at another address.
    pub fn remove_for_a_while(&mut self, address: usize) -> Option<Entry> {
        let removed = self.remove(address)?;
        self.promised += 1;
        Some(removed)
    }

    /// Bytes of the table that `grow_into` needs.
    pub fn larger_size(&self) -> usize {
        Table::size_of(self.larger_capacity())
    }

    /// Makes room in memory of the caller's. Returns the old table, to be dropped with the lock free.
    ///
    /// # Safety
    /// A mapping of `larger_size` bytes that reads as zeroes, for this alone.
    pub unsafe fn grow_into(&mut self, start: NonNull<u8>) -> Option<Table> {
        let capacity = self.larger_capacity();
        // SAFETY: passed on from the caller.
        self.move_to(unsafe { Table::at(start, capacity) })
    }

    fn larger_capacity(&self) -> usize {
        match self.capacity {
            0 => os::page_size() / size_of::<Entry>(),
            capacity => capacity * 2,
        }
    }

    /// Moves all entries to a larger table. Returns the old one; or `table` itself, if another thread was faster.
    #[inline(never)]
    fn move_to(&mut self, table: Table) -> Option<Table> {
        if table.capacity <= self.capacity {
            return Some(table);
        }
        let old = core::mem::replace(
            self,
            Registry {
                places: table.places.as_ptr(),
                capacity: table.capacity,
                used: 0,
                promised: self.promised,
            },
        );
        core::mem::forget(table);
        for entry in old.entries() {
            self.insert(entry);
        }
        old.into_table()
    }

    /// Adds an entry whose address is not there yet, for which there is room.
    #[inline(never)]
    pub fn insert(&mut self, entry: Entry) {
        debug_assert!(entry.address != 0 && (self.used + 1) * 2 <= self.capacity);
        debug_assert!(self.get(entry.address).is_none());
        let place = self.probe(entry.address);
        self.table_mut()[place] = entry;
        self.used += 1;
    }

    /// Takes an entry out.
    #[inline(never)]
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

/// Makes room for one more entry in a registry that no other thread can reach. False when the system has no memory.
#[cfg(test)]
pub fn make_room(registry: &mut Registry) -> bool {
    if !registry.has_room() {
        let Some(table) = Table::map(registry.larger_capacity()) else {
            return false;
        };
        registry.move_to(table);
    }
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Registry, make_room};
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
                        prop_assert!(make_room(&mut registry));
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
