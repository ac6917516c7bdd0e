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
mod active;
mod bin;
mod budget;
mod front;
#[allow(
    clippy::module_inception,
    reason = "the structure itself, among what is done with it"
)]
mod heap;
pub mod heaps;
mod life;
mod news;
mod refill;
mod release;
mod remote;
mod scan;
mod slot_map;
mod slow_paths;
#[cfg_attr(loom, path = "model/supply.rs")]
mod supply;
mod trim;
mod usedpools;
mod verify;

pub use bin::Bin;
pub use budget::{decay, give_up};
pub use heap::Heap;
pub use slot_map::{MapPlace, SlotTable, VoidTable};
pub use slow_paths::{free_at_event, free_foreign, free_own, refill};
pub use trim::{counts, open_full_pools, relieve, trim};
pub use verify::is_free;

#[cfg(all(test, loom))]
mod model;
