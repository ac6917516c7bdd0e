//! The thread-local pointers to a thread's heap and slot map of the functions that stand for others: those of C++, and some of the C library's.
//!
//! It is a sentinel with the void table until it is linked, which is done by the first such function that a thread calls, and never in a program that has
//! replaced a function that others stand for (`replaced` of the C library). So a sentinel's empty bins lead them to where the program's functions are looked
//! for, and all other programs pay nothing. Once linked it is the thread's heap. Accessed as `slot`; elsewhere it is always a sentinel.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use initial_exec::{heap, set, table};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use always_sentinel::{heap, set, table};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod initial_exec {
    super::super::slot::pointers!("pymalloc_derived_heap", "pymalloc_derived_table");
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod always_sentinel {
    use super::super::sentinels::{SENTINELS, sentinel};
    use crate::heap::{Heap, SlotTable};

    pub fn heap() -> *const Heap {
        sentinel(0)
    }

    pub fn table() -> SlotTable {
        SlotTable::void(&SENTINELS.void)
    }

    pub fn set(_: *const Heap, _: SlotTable) {}
}
