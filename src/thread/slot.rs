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

/// One instruction on this thread's copy of a thread-local variable, which exists as long as the thread. The instruction names the copy
/// by `place`, and on aarch64 by `thread` too.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! access {
    ($name:literal, $x86_64:literal, $aarch64:literal, $($operands:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!(
            concat!("mov {place}, qword ptr [rip + ", $name, "@GOTTPOFF]"),
            $x86_64,
            $($operands)*
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!(
            concat!("adrp {place}, :gottprel:", $name),
            concat!("ldr {place}, [{place}, :gottprel_lo12:", $name, "]"),
            "mrs {thread}, tpidr_el0",
            $aarch64,
            thread = out(reg) _,
            $($operands)*
        );
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! load {
    ($name:literal) => {{
        let word;
        // SAFETY: reads the copy.
        unsafe {
            $crate::thread::slot::access!(
                $name,
                "mov {place}, qword ptr fs:[{place}]",
                "ldr {place}, [{thread}, {place}]",
                place = out(reg) word,
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }};
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! store {
    ($name:literal, $word:expr) => {
        // SAFETY: writes the copy.
        unsafe {
            $crate::thread::slot::access!(
                $name,
                "mov qword ptr fs:[{place}], {word}",
                "str {word}, [{thread}, {place}]",
                place = out(reg) _,
                word = in(reg) $word,
                options(nostack, preserves_flags),
            );
        }
    };
}

/// Defines two such pointers by these names, of one cache line, and the functions that read and set them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! pointers {
    ($heap:literal, $table:literal) => {
        use crate::heap::{Heap, SlotTable};
        use crate::thread::sentinels::{SENTINELS, Sentinels};
        use core::arch::global_asm;
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

        /// The calling thread's heap.
        #[inline(always)]
        pub fn heap() -> *const Heap {
            $crate::thread::slot::load!($heap)
        }

        /// The table of its slot map.
        #[inline(always)]
        pub fn table() -> SlotTable {
            let head = $crate::thread::slot::load!($table);
            // SAFETY: what `set` stored, or the void table. It is replaced before it is unmapped.
            unsafe { SlotTable::from_ptr(head) }
        }

        /// Sets both for the calling thread. The table is that of the heap.
        pub fn set(heap: *const Heap, table: SlotTable) {
            $crate::thread::slot::store!($heap, heap);
            $crate::thread::slot::store!($table, table.as_ptr());
        }
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use {access, load, pointers, store};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod initial_exec {
    super::pointers!("pymalloc_thread_heap", "pymalloc_thread_table");
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod with_key {
    use super::super::sentinels::{SENTINELS, number_of_sentinel, sentinel};
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
