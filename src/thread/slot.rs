//! The thread-local pointer to a thread's heap: two loads on x86-64 and as little on aarch64.
//!
//! Stable Rust cannot ask for a TLS model, and `thread_local!` in a shared library calls `__tls_get_addr`, which is slow and
//! can itself allocate. So the variable is defined in assembly and accessed with the initial-exec model: its offset
//! from the thread pointer is a constant that the dynamic linker fills in. Its first value
//! in every thread is the address of the sentinel for "not yet". Elsewhere a pthread key does.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use initial_exec::{get, set};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use with_key::{get, set};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod initial_exec {
    use super::super::SENTINELS;
    use crate::heap::Heap;
    use core::arch::{asm, global_asm};

    global_asm!(
        ".pushsection .tdata.pymalloc_thread_heap, \"awT\", @progbits",
        ".balign 8",
        ".globl pymalloc_thread_heap",
        ".hidden pymalloc_thread_heap",
        ".type pymalloc_thread_heap, @object",
        ".size pymalloc_thread_heap, 8",
        "pymalloc_thread_heap:",
        ".quad {not_yet}",
        ".popsection",
        not_yet = sym SENTINELS,
    );

    /// The calling thread's value.
    #[inline(always)]
    pub fn get() -> *const Heap {
        let heap;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: reads this thread's copy of the variable above, which exists as long as the thread.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + pymalloc_thread_heap@GOTTPOFF]",
                "mov {0}, qword ptr fs:[{0}]",
                out(reg) heap,
                options(nostack, preserves_flags, readonly),
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            asm!(
                "adrp {0}, :gottprel:pymalloc_thread_heap",
                "ldr {0}, [{0}, :gottprel_lo12:pymalloc_thread_heap]",
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
                "mov {0}, qword ptr [rip + pymalloc_thread_heap@GOTTPOFF]",
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
                "adrp {0}, :gottprel:pymalloc_thread_heap",
                "ldr {0}, [{0}, :gottprel_lo12:pymalloc_thread_heap]",
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
mod with_key {
    use super::super::sentinel;
    use crate::heap::Heap;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// The key plus one; 0 until it is made.
    static KEY: AtomicU32 = AtomicU32::new(0);

    /// The calling thread's value.
    pub fn get() -> *const Heap {
        // Acquire: the key is used once it is seen.
        match KEY.load(Ordering::Acquire) {
            0 => sentinel(0),
            known => {
                // SAFETY: the key exists.
                let heap = unsafe { libc::pthread_getspecific(known - 1) };
                if heap.is_null() {
                    sentinel(0)
                } else {
                    heap.cast()
                }
            }
        }
    }

    /// Sets the calling thread's value.
    pub fn set(heap: *const Heap) {
        if KEY.load(Ordering::Acquire) == 0 {
            let mut key = 0;
            // SAFETY: `key` is a valid place; no destructor. The first thread makes it, before any other exists.
            unsafe { libc::pthread_key_create(&mut key, None) };
            KEY.store(key + 1, Ordering::Release);
        }
        let key = KEY.load(Ordering::Acquire) - 1;
        // SAFETY: the key exists, and is one of the first, for which the C library does not allocate.
        unsafe { libc::pthread_setspecific(key, heap.cast()) };
    }
}
