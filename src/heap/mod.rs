//! Heaps: where a thread's allocations come from and its frees go.
//!
//! - `usedpools`: the heap of one thread: its bins and used pools.
//! - `bin`: the free blocks at hand, of one size class.
//! - `budget`: how much may stay resident in used pools without a live block.
//! - `slot_map`: which slots are those of the heap's own pools, for `free`.
//! - `life`: whether the thread that has a heap still lives.
//! - `abandoned`: the pools that threads which ended left behind.
//! - `active`: how many heaps threads have.
//! - `news`: whether a walk over all pools may find what the one before did not.
//! - `heaps`: all heaps there are, those of threads and the spare ones.

pub mod abandoned;
#[cfg(not(loom))]
mod active;
mod bin;
#[cfg(not(loom))]
mod budget;
#[cfg(not(loom))]
pub mod heaps;
#[cfg(not(loom))]
mod life;
#[cfg(not(loom))]
mod news;
#[cfg(not(loom))]
mod slot_map;
#[cfg(not(loom))]
mod usedpools;

#[cfg(not(loom))]
pub use bin::Bin;
#[cfg(not(loom))]
pub use budget::{decay, give_up};
#[cfg(not(loom))]
pub use slot_map::{MapPlace, SlotTable, VoidTable};
#[cfg(not(loom))]
pub use usedpools::{Heap, after_event, free_foreign, free_own, is_free, open_full_pools};

#[cfg(all(test, loom))]
mod model;
