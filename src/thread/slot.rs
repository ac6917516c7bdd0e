//! The thread-local pointers to a thread's heap and to the table of its slot map: two loads each on x86-64 and as little on aarch64.
//!
//! Stable Rust cannot ask for a TLS model, and `thread_local!` in a shared library calls `__tls_get_addr`, which is slow and
//! can itself allocate. So the variables are defined in assembly and accessed with the initial-exec model: their offsets
//! from the thread pointer are constants that the dynamic linker fills in. Their first values
//! in every thread are the addresses of the sentinel for "not yet" and of the void table. Elsewhere a pthread key does.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use initial_exec::{heap, set, table};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use with_key::{heap, set, table};

/// Defines two such pointers by these names, of one cache line, and the functions that read and set them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! pointers {
    ($heap:literal, $table:literal) => {
        use crate::heap::{Heap, SlotTable};
        use crate::thread::{SENTINELS, Sentinels};
        use core::arch::{asm, global_asm};
        use core::mem::offset_of;

        global_asm!(
            concat!(".pushsection .tdata.", $heap, ", \"awT\", @progbits"),
            ".balign 16",
            concat!(".globl ", $heap),
            concat!(".hidden ", $heap),
            concat!(".type ", $heap, ", @object"),
            concat!(".size ", $heap, ", 8"),
            concat!($heap, ":"),
            ".quad {sentinels}",
            concat!(".globl ", $table),
            concat!(".hidden ", $table),
            concat!(".type ", $table, ", @object"),
            concat!(".size ", $table, ", 8"),
            concat!($table, ":"),
            ".quad {sentinels} + {void}",
            ".popsection",
            sentinels = sym SENTINELS,
            void = const offset_of!(Sentinels, void),
        );

        macro_rules! load {
            ($name:literal) => {{
                let word;
                #[cfg(target_arch = "x86_64")]
                // SAFETY: reads this thread's copy of a variable above, which exists as long as the thread.
                unsafe {
                    asm!(
                        concat!("mov {0}, qword ptr [rip + ", $name, "@GOTTPOFF]"),
                        "mov {0}, qword ptr fs:[{0}]",
                        out(reg) word,
                        options(nostack, preserves_flags, readonly),
                    );
                }
                #[cfg(target_arch = "aarch64")]
                // SAFETY: as above.
                unsafe {
                    asm!(
                        concat!("adrp {0}, :gottprel:", $name),
                        concat!("ldr {0}, [{0}, :gottprel_lo12:", $name, "]"),
                        "mrs {1}, tpidr_el0",
                        "ldr {0}, [{1}, {0}]",
                        out(reg) word,
                        out(reg) _,
                        options(nostack, preserves_flags, readonly),
                    );
                }
                word
            }};
        }

        macro_rules! store {
            ($name:literal, $word:expr) => {{
                let word = $word;
                #[cfg(target_arch = "x86_64")]
                // SAFETY: writes this thread's copy of a variable above.
                unsafe {
                    asm!(
                        concat!("mov {0}, qword ptr [rip + ", $name, "@GOTTPOFF]"),
                        "mov qword ptr fs:[{0}], {1}",
                        out(reg) _,
                        in(reg) word,
                        options(nostack, preserves_flags),
                    );
                }
                #[cfg(target_arch = "aarch64")]
                // SAFETY: as above.
                unsafe {
                    asm!(
                        concat!("adrp {0}, :gottprel:", $name),
                        concat!("ldr {0}, [{0}, :gottprel_lo12:", $name, "]"),
                        "mrs {1}, tpidr_el0",
                        "str {2}, [{1}, {0}]",
                        out(reg) _,
                        out(reg) _,
                        in(reg) word,
                        options(nostack, preserves_flags),
                    );
                }
            }};
        }

        /// The calling thread's heap.
        #[inline(always)]
        pub fn heap() -> *const Heap {
            load!($heap)
        }

        /// The table of its slot map.
        #[inline(always)]
        pub fn table() -> SlotTable {
            let head = load!($table);
            // SAFETY: what `set` stored, or the void table. It is replaced before it is unmapped.
            unsafe { SlotTable::from_ptr(head) }
        }

        /// Sets both for the calling thread. The table is that of the heap.
        pub fn set(heap: *const Heap, table: SlotTable) {
            store!($heap, heap);
            store!($table, table.as_ptr());
        }
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use pointers;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod initial_exec {
    super::pointers!("pymalloc_thread_heap", "pymalloc_thread_table");
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod with_key {
    use super::super::{SENTINELS, number_of_sentinel, sentinel};
    use crate::heap::{Heap, SlotTable};
    use core::sync::atomic::{AtomicU32, Ordering};

    /// The key plus one; 0 until it is made.
    static KEY: AtomicU32 = AtomicU32::new(0);

    /// The calling thread's heap.
    pub fn heap() -> *const Heap {
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

    /// The table of its slot map.
    pub fn table() -> SlotTable {
        let heap = heap();
        match number_of_sentinel(heap) {
            Some(_) => SlotTable::void(&SENTINELS.void),
            // SAFETY: a heap, which is never unmapped.
            None => unsafe { &*heap }.slot_table(),
        }
    }

    /// Sets the heap, whose table is the second.
    pub fn set(heap: *const Heap, _: SlotTable) {
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
