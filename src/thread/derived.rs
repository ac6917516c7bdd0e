//! The thread-local pointer to a thread's heap of the functions that stand for others: those of C++, and some of the C library's.
//!
//! It is the same heap, or a sentinel: in a thread that has none, and for ever in a program that has replaced a function that others stand
//! for (`replaced`). So a sentinel's empty bins lead them to where the program's functions are looked for, and all other programs pay
//! nothing. Accessed as `slot`; elsewhere it is always a sentinel.

use crate::heap::Heap;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use initial_exec::{get, set};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod initial_exec {
    use super::super::SENTINELS;
    use super::Heap;
    use core::arch::{asm, global_asm};

    global_asm!(
        ".pushsection .tdata.pymalloc_thread_derived, \"awT\", @progbits",
        ".balign 8",
        ".globl pymalloc_thread_derived",
        ".hidden pymalloc_thread_derived",
        ".type pymalloc_thread_derived, @object",
        ".size pymalloc_thread_derived, 8",
        "pymalloc_thread_derived:",
        ".quad {sentinel}",
        ".popsection",
        sentinel = sym SENTINELS,
    );

    /// The calling thread's value.
    #[inline(always)]
    pub fn get() -> *const Heap {
        let heap;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: reads this thread's copy of the variable above, which exists as long as the thread.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + pymalloc_thread_derived@GOTTPOFF]",
                "mov {0}, qword ptr fs:[{0}]",
                out(reg) heap,
                options(nostack, preserves_flags, readonly),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            asm!(
                "adrp {0}, :gottprel:pymalloc_thread_derived",
                "ldr {0}, [{0}, :gottprel_lo12:pymalloc_thread_derived]",
                "mrs {1}, tpidr_el0",
                "ldr {0}, [{1}, {0}]",
                out(reg) heap,
                out(reg) _,
                options(nostack, preserves_flags, readonly),
            );
        }
        heap
    }

    /// Sets the calling thread's value.
    pub fn set(heap: *const Heap) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: writes this thread's copy of the variable above.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + pymalloc_thread_derived@GOTTPOFF]",
                "mov qword ptr fs:[{0}], {1}",
                out(reg) _,
                in(reg) heap,
                options(nostack, preserves_flags),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            asm!(
                "adrp {0}, :gottprel:pymalloc_thread_derived",
                "ldr {0}, [{0}, :gottprel_lo12:pymalloc_thread_derived]",
                "mrs {1}, tpidr_el0",
                "str {2}, [{1}, {0}]",
                out(reg) _,
                out(reg) _,
                in(reg) heap,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn get() -> *const Heap {
    super::sentinel(0)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn set(_heap: *const Heap) {}
