//! A `malloc` on the design of CPython's own allocator (arenas, pools, blocks) that gives memory back while it is being freed.
//!
//! A Rust program takes it as its global allocator:
//!
//! ```standalone_crate
//! #[global_allocator]
//! static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;
//!
//! let words: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
//! assert_eq!(words.concat().len(), 2890);
//! ```
//!
//! That is all: there is nothing to set up, no thread and no timer. What is freed goes back to the system by the work itself, so that a
//! program that falls idle after its peak does not keep it; `docs/memory.md` in the repository says how much may stay. [`trim()`] gives back the rest at
//! once, for the rare program that wants it.
//!
//! [`inspect()`] tells of any address in which arena, pool and block it lies:
//!
//! ```standalone_crate
//! # #[global_allocator]
//! # static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;
//! use pymalloc::{Kind, State};
//!
//! let boxed = Box::new([0_u8; 42]);
//! let info = pymalloc::inspect(&*boxed);
//! assert_eq!((info.kind, info.state), (Kind::Pool, State::Allocated));
//! assert_eq!(info.block_size, 48);
//!
//! let on_the_stack = 0;
//! assert_eq!(pymalloc::inspect(&on_the_stack).kind, Kind::None);
//! ```
//!
//! A pointer that is freed twice, or was never allocated, ends the program with one line that says so. Settings are read from the variable
//! `PYMALLOC_CONF` before `main`; none is needed.
//!
//! # What it serves
//!
//! - What Rust allocates. C libraries in the same process keep the C library's `malloc`; to put a whole process on pymalloc, preload or link
//!   `libpymalloc.so`, which `make` builds from the repository.
//! - Linux on 64-bit machines, with the GNU C library. The crate is `no_std`, and all functions are thread-safe.
//! - The feature `small-arenas`: arenas of 256 KiB and pools of 4 KiB, instead of 1 MiB and 16 KiB, for machines with little memory.
//!
//! Its source begins at `src/README.md`.

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
#[cfg(not(all(target_os = "linux", any(target_env = "gnu", target_env = "musl"))))]
compile_error!("pymalloc needs Linux, and the GNU C library or musl");

mod arena;
mod budget;
mod conf;
mod cpu;
mod fault;
mod geometry;
mod heap;
mod layout;
mod mapping;
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
mod bytes;
#[cfg(not(loom))]
mod c_library;
#[cfg(not(loom))]
mod collector;
#[cfg(not(loom))]
mod fast;
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
mod process;
#[cfg(not(loom))]
mod relief;
#[cfg(not(loom))]
mod resize;
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
