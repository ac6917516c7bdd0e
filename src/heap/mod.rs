//! Heaps: where a thread's allocations come from and its frees go.
//!
//! A file uses those on the floors below its own, and nothing above:
//!
//! | floor | file | is |
//! | --- | --- | --- |
//! | 8 | `slow_paths` | what the fast paths of `malloc` and `free` leave to a heap, from top to bottom |
//! |   | `trim` | what can go back when memory is wanted, over all heaps; figures |
//! |   | `verify` | whether a block that carries the mark of free blocks is free |
//! | 7 | `heaps` | the list of heaps: threads that begin and end, forks |
//! | 6 | `release` | a heap gives up what it has: trim, the end of its thread |
//! | 5 | `refill` | where the next blocks come from when a bin is empty |
//! |   | `remote` | frees into pools that the thread's heap does not own |
//! |   | `scan` | finds free pages of used and abandoned pools, and purges them |
//! | 4 | `heap` | the structure: a front, usedpools behind a lock |
//! | 3 | `usedpools` | the pools that a heap owns, and how one enters, changes and goes |
//! | 2 | `front` | what a heap's thread uses without a lock: bins and slot map |
//! |   | `abandoned` | the pools that threads left to whoever needs them |
//! | 1 | `slot_map` | which slots are those of the heap's own pools, for `free` |
//! |   | `supply` | slots of pools, from the arenas and back |
//! |   | `budget` | how much may stay resident in used pools without a live block |
//! | 0 | `bin` | the free blocks at hand, of one size class |
//! |   | `active` | how many heaps threads have |
//! |   | `life` | whether the thread that has a heap still lives |
//! |   | `news` | whether a walk over all pools may find what the one before did not |
//!
//! The states of a pool are drawn in `pool`. A function here that changes one says so in its first line: `used by the heap -> full`.

mod abandoned;
#[cfg(not(loom))]
mod active;
mod bin;
#[cfg(not(loom))]
mod budget;
#[cfg(not(loom))]
mod front;
#[allow(
    clippy::module_inception,
    reason = "the structure itself, among what is done with it"
)]
#[cfg(not(loom))]
mod heap;
#[cfg(not(loom))]
pub mod heaps;
#[cfg(not(loom))]
mod life;
#[cfg(not(loom))]
mod news;
#[cfg(not(loom))]
mod refill;
#[cfg(not(loom))]
mod release;
#[cfg(not(loom))]
mod remote;
#[cfg(not(loom))]
mod scan;
#[cfg(not(loom))]
mod slot_map;
#[cfg(not(loom))]
mod slow_paths;
#[cfg(not(loom))]
mod supply;
#[cfg(not(loom))]
mod trim;
#[cfg(not(loom))]
mod usedpools;
#[cfg(not(loom))]
mod verify;

pub use bin::Bin;
#[cfg(not(loom))]
pub use budget::{decay, give_up};
#[cfg(not(loom))]
pub use heap::Heap;
#[cfg(not(loom))]
pub use slot_map::{MapPlace, SlotTable, VoidTable};
#[cfg(not(loom))]
pub use slow_paths::{after_event, free_foreign, free_own, refill};
#[cfg(not(loom))]
pub use trim::{counts, open_full_pools, relieve, trim};
#[cfg(not(loom))]
pub use verify::is_free;

#[cfg(all(test, loom))]
mod model;
