//! Which of the exported functions the program has replaced, so that those that stand for others go through the program's own.
//!
//! The C++ standard says that all forms of `operator new` and `delete` come down to a few that a program may replace, and in every C++
//! library these come down to `malloc` and `free`; the C library's `reallocarray` goes through `realloc`. A program that replaces only some
//! relies on that.
//!
//! What it owns: a table of what the linker found by these names in the whole program, beside what the library itself has. Nothing is
//! asked on a fast path: the functions that stand for others have a second pointer to the thread's heap, which leads to a sentinel
//! until `none` has said for this thread that nothing is replaced.

use crate::linker;
use core::arch::global_asm;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use pymalloc::internals::thread;

macro_rules! functions {
    ($($function:ident $name:literal;)*) => {
        /// A function that others stand for.
        #[derive(Clone, Copy)]
        pub enum Function {
            $($function,)*
        }

        const COUNT: usize = [$($name),*].len();

        // The first address of a pair is the one that the linker finds; `build.rs` names the same functions, so that it does not stop at the
        // library's own. The second is that of the library's own, by another name.
        global_asm!(
            ".pushsection .data.rel.ro.pymalloc_functions, \"aw\", @progbits",
            ".balign 8",
            ".globl pymalloc_functions",
            ".hidden pymalloc_functions",
            ".type pymalloc_functions, @object",
            "pymalloc_functions:",
            $(concat!(".quad ", $name), concat!(".quad .Lpymalloc_own_", $name),)*
            ".size pymalloc_functions, . - pymalloc_functions",
            ".popsection",
            $(concat!(".set .Lpymalloc_own_", $name, ", ", $name),)*
        );
    };
}

functions! {
    Malloc "malloc";
    Free "free";
    Realloc "realloc";
    AlignedAlloc "aligned_alloc";
    New "_Znwm";
    NewArray "_Znam";
    NewAligned "_ZnwmSt11align_val_t";
    NewArrayAligned "_ZnamSt11align_val_t";
    Delete "_ZdlPv";
    DeleteArray "_ZdaPv";
    DeleteAligned "_ZdlPvSt11align_val_t";
    DeleteArrayAligned "_ZdaPvSt11align_val_t";
}

/// Where a function is in the program, and where the library's own is.
#[repr(C)]
struct Found {
    in_program: usize,
    own: usize,
}

unsafe extern "C" {
    #[link_name = "pymalloc_functions"]
    safe static FUNCTIONS: [Found; COUNT];
}

/// A bit for each function that the program has replaced, and `KNOWN` once that was found out.
static REPLACED: AtomicU32 = AtomicU32::new(0);
const KNOWN: u32 = 1 << 31;
const _: () = assert!(COUNT < 31);

/// Whether the program has replaced any function that others stand for.
#[inline]
pub fn any() -> bool {
    replaced() != KNOWN
}

/// Whether the program has replaced none. Then the fast paths of those that stand for others serve the calling thread from now on.
#[inline]
pub fn none() -> bool {
    let none = !any();
    if none {
        thread::link_derived();
    }
    none
}

/// The program's own function in the place of the library's, if it has one.
#[inline(never)]
pub fn by_program(function: Function) -> Option<*const c_void> {
    let number = function as usize;
    let found = FUNCTIONS.get(number)?;
    (replaced() & 1 << number != 0).then(|| ptr::with_exposed_provenance(found.in_program))
}

#[inline]
fn replaced() -> u32 {
    // Relaxed: every thread finds the same.
    match REPLACED.load(Ordering::Relaxed) {
        0 => find_replaced(),
        replaced => replaced,
    }
}

#[cold]
#[inline(never)]
fn find_replaced() -> u32 {
    let mut replaced = KNOWN;
    for (number, found) in FUNCTIONS.iter().enumerate() {
        if found.in_program != found.own && !linker::is_detour(found.in_program) {
            replaced |= 1 << number;
        }
    }
    REPLACED.store(replaced, Ordering::Relaxed);
    replaced
}
