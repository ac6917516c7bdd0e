//! The program's own functions that have replaced the C library's, for those of ours that stand for them (`replaced`).
//!
//! What must hold: a block is freed by the functions that made it. So an aligned block comes from the program only if it has both `free`
//! and `aligned_alloc`.

use crate::replaced::{Function, by_program};
use core::ffi::c_void;
use core::mem;

/// A block of the program's `malloc`, if it has one.
pub fn malloc(size: usize) -> Option<*mut c_void> {
    type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
    let malloc = by_program(Function::Malloc)?;
    // SAFETY: the function of this name has this type.
    Some(unsafe { mem::transmute::<*const c_void, Malloc>(malloc)(size) })
}

/// A block, resized by the program's `realloc`, if it has one.
///
/// # Safety
/// As `realloc`.
pub unsafe fn realloc(block: *mut c_void, size: usize) -> Option<*mut c_void> {
    type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
    let realloc = by_program(Function::Realloc)?;
    // SAFETY: as above; passed on from the caller.
    Some(unsafe { mem::transmute::<*const c_void, Realloc>(realloc)(block, size) })
}

/// A block of the program's `aligned_alloc`, if it has both that and a `free`. (The other functions for aligned blocks go to no
/// function of the program: the C library's do not, and the program's own may be made of them.)
pub fn aligned(align: usize, size: usize) -> Option<*mut c_void> {
    type Aligned = unsafe extern "C" fn(usize, usize) -> *mut c_void;
    by_program(Function::Free)?;
    let aligned_alloc = by_program(Function::AlignedAlloc)?;
    // SAFETY: as above.
    Some(unsafe { mem::transmute::<*const c_void, Aligned>(aligned_alloc)(align, size) })
}

/// The program's `free`, if it frees blocks of such an alignment, which is 0 where none was given.
pub fn free_of(align: usize) -> Option<*const c_void> {
    let is_made_there = align == 0 || by_program(Function::AlignedAlloc).is_some();
    by_program(Function::Free).filter(|_| is_made_there)
}
