//! Pools: a run of slots of an arena, carved into blocks of one size class.
//!
//! What it owns: the header of every slot that starts a run, and the first two words of every free block.
//!
//! From top to ground:
//! - `state`: the states of a pool, and the functions that change one into another. Begin here.
//! - `carve`: where a pool's blocks come from.
//! - `check`: which block an address is, and whether it is free.
//! - `pages`: scans for free pages, and purges them.
//! - `events`: frees by the owner, and what it has to do after them.
//! - `fill`: how full a pool is.
//! - `list`: lists of pools.
//! - `header`: the structure itself.
//! - `free_list`, `remote`, `page_set`: its parts.
//! - `retained`: what was purged too early.
//! - `block`: a free block.
//!
//! A block that a heap holds in a bin (`heap::bin`) is free to the program, and in use to its pool.

mod block;
mod carve;
mod check;
mod events;
mod fill;
mod free_list;
mod header;
mod list;
mod outside;
mod page_set;
mod pages;
pub mod remote;
pub mod retained;
mod state;

pub use block::{Block, chain};
pub use check::NotAllocated;
pub use events::{UNSCANNED, unscanned_bytes};
pub use header::LAYOUT;
pub use header::{Owner, Pool, State};
pub use list::PoolList;
