//! Misuse by the program: one line that names the call, the pointer and what is wrong, then SIGABRT.

use crate::os;
use crate::report;

/// The call that was given a bad pointer. A number where it is the parameter of a function whose fast path has no register to
/// spare for it.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Call {
    Free,
    FreeSized,
    FreeAlignedSized,
    Realloc,
    ReallocArray,
    UsableSize,
    Delete,
}

impl Call {
    /// The call whose number, by `as u8`, this is.
    pub const fn from_number(number: u8) -> Call {
        assert!(number <= Call::Delete as u8);
        // SAFETY: the calls have the numbers up to that of the last.
        unsafe { core::mem::transmute::<u8, Call>(number) }
    }

    /// Its name, and whether it gives the block up.
    fn told(self) -> (&'static str, bool) {
        match self {
            Call::Free => ("free", true),
            Call::FreeSized => ("free_sized", true),
            Call::FreeAlignedSized => ("free_aligned_sized", true),
            Call::Realloc => ("realloc", false),
            Call::ReallocArray => ("reallocarray", false),
            Call::UsableSize => ("malloc_usable_size", false),
            Call::Delete => ("operator delete", true),
        }
    }
}

/// What is wrong with a pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing of ours is there.
    Foreign,
    /// It points into a block, but not to its start.
    Interior,
    /// The block was freed before.
    AlreadyFree,
    /// Its pool has not handed that memory out yet.
    NeverAllocated,
    /// It points into an arena, but to no pool and no run.
    Unallocated,
}

impl Fault {
    fn text(self, frees: bool) -> &'static str {
        match self {
            Fault::Foreign => "invalid pointer: not from this allocator",
            Fault::Interior => "invalid pointer: not the start of a block",
            Fault::AlreadyFree if frees => "double free: the block is already free",
            Fault::AlreadyFree => "invalid pointer: the block is already free",
            Fault::NeverAllocated => "invalid pointer: this memory was never handed out",
            Fault::Unallocated if frees => {
                "invalid pointer or double free: no block is allocated here (any more)"
            }
            Fault::Unallocated => "invalid pointer: no block is allocated here (any more)",
        }
    }
}

/// Says what is wrong and ends the process.
#[cold]
#[inline(never)]
pub fn end(call: Call, pointer: *const u8, fault: Fault) -> ! {
    let (name, frees) = call.told();
    report::message(&mut report::line())
        .text(name)
        .text("(")
        .address(pointer as usize)
        .text("): ")
        .text(fault.text(frees))
        .send();
    os::abort()
}
