//! pymalloc: CPython's arena-pool-block allocator as a complete, thread-safe malloc.
//!
//! The source is a house. A floor may use only the floors below it:
//!
//! ```text
//!   internals     what the other crates take: c/, the exported C and C++ names; watch/, the view from outside
//!   process       start and end of the process: settings, fork handlers, statistics at exit
//!   background    the optional thread: gives back what is retained, writes statistics on a signal
//!   collector     what pymalloc-run is told of the process
//!   heapmap       snapshots: every arena, pool and block
//!   signpost      where the statics are, for who looks from outside
//!   inspect stats what any address is; figures of the whole library
//!   alloc         allocate, free, resize, aligned, usable size: which layer serves it
//!   thread        a thread's heap: birth, exit, fork, TLS
//!   heap          bins and usedpools, remote frees, abandoned pools, the list of heaps of heaps
//!   large         runs of slots
//!   pool          headers, blocks, the states of a pool
//!   arena         slots, usable_arenas, map and unmap, purge
//!   mapping       blocks that are mappings of their own
//!   retain        what was given back too early and stays the next time
//!   registry fault report conf       a table of addresses; messages; settings
//!   size_class geometry layout sync os cpu   the ground: pure tables, sizes, the lock, system calls, single instructions
//! ```
//!
//! From the fast path's view: `alloc::allocate` pops from a bin of the thread's heap, `alloc::free` asks the heap's slot map
//! whether the pointer is a block of one of its own pools, and pushes it to the bin that the map names, or to its pool when that bin is full.
//!
//! Nothing here allocates, uses `std`, or panics on a path that a program can reach.

#![cfg_attr(not(any(test, loom)), no_std)]
#![cfg_attr(
    loom,
    allow(
        dead_code,
        unused_imports,
        reason = "the model covers the protocols only"
    )
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("pymalloc needs 64-bit addresses");
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("pymalloc needs Linux and the GNU C library");

mod arena;
mod conf;
mod cpu;
mod fault;
mod geometry;
mod heap;
mod layout;
mod os;
mod pool;
mod registry;
mod report;
mod retain;
mod size_class;
mod sync;

#[cfg(not(loom))]
mod alloc;
#[cfg(not(loom))]
mod background;
#[cfg(not(loom))]
mod collector;
#[cfg(not(loom))]
mod global;
#[cfg(not(loom))]
mod heapmap;
#[cfg(not(loom))]
mod inspect;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod internals;
#[cfg(not(loom))]
mod large;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
mod signpost;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod thread;

#[cfg(not(loom))]
pub use global::{Pymalloc, VERSION, inspect, trim};
#[cfg(not(loom))]
pub use inspect::{Info, Kind, State};
