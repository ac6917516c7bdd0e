//! A thread's heap: birth, exit, fork.
//!
//! - `birth`: a thread gets its heap, and gives it back;
//! - `fork`: the fork handlers;
//! - `current`: the calling thread's heap;
//! - `slot`, `derived`: the thread-local pointers to the heap and to the table of its slot map;
//! - `sentinels`: what they lead to in a thread without a heap.
//!
//! A thread that has ended (its key's destructor has run) gets another sentinel than one that has no heap yet. It frees without a heap from then on, and
//! when it still allocates, a heap is borrowed for the one call.

mod birth;
mod current;
mod derived;
mod fork;
mod sentinels;
mod slot;

pub use birth::{own_for_free, with_heap};
pub use current::{
    current, current_for_derived, link_derived, own, slot_table, slot_table_for_derived,
    widen_map_if_contested,
};
pub use fork::handle_forks;
