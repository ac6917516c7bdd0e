//! C++'s `operator new` and `operator delete`, in all their forms, by their mangled names (Itanium C++ ABI, 64 bits).
//!
//! When there is no memory a form of `new` hands over to the next definition of itself, that of the C++ library, which
//! allocates through `malloc`, fails as well, and then does what the standard asks for: it runs the new-handler and throws
//! `std::bad_alloc`, or returns null. The exception passes through the frame of the function here, which holds
//! nothing that would need to be undone.

use crate::alloc;
use crate::fault::Call;
use crate::os;
use crate::report;
use core::ffi::{CStr, c_void};
use core::mem;

/// The next definition of a function, in the order of the dynamic linker's search.
#[cold]
fn next_definition(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if next.is_null() {
        report::message(&mut report::line())
            .text("operator new: out of memory, and no C++ library to say so")
            .send();
        os::abort()
    }
    next
}

/// Calls the next definition of `$name` unless `$block` is a block.
macro_rules! or_next_definition {
    ($block:expr, $name:ident($($argument:ident: $type:ty),*)) => {{
        let block: *mut u8 = $block;
        if !block.is_null() {
            return block.cast();
        }
        const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("an identifier has no zero byte"),
        };
        type Form = unsafe extern "C" fn($($type),*) -> *mut c_void;
        // SAFETY: the same symbol has the same type wherever it is defined.
        unsafe { mem::transmute::<*mut c_void, Form>(next_definition(NAME))($($argument),*) }
    }};
}

/// The address of a `std::nothrow_t`, which says nothing.
type Nothrow = *const c_void;

macro_rules! new {
    ($($name:ident($($other:ident: $type:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(size: usize $(, $other: $type)*) -> *mut c_void {
            #[inline(never)]
            extern "C" fn beyond_bins(size: usize $(, $other: $type)*) -> *mut c_void {
                or_next_definition!(
                    alloc::allocate_beyond_bins(size),
                    $name(size: usize $(, $other: $type)*)
                )
            }
            alloc::allocate_or(size, |size| beyond_bins(size $(, $other)*))
        }
    )*};
}

new! {
    _Znwm();
    _Znam();
    _ZnwmRKSt9nothrow_t(nothrow: Nothrow);
    _ZnamRKSt9nothrow_t(nothrow: Nothrow);
}

macro_rules! new_aligned {
    ($($name:ident($($other:ident: $type:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(size: usize, align: usize $(, $other: $type)*) -> *mut c_void {
            // The C++ library rounds the size up to the alignment and does not look for overflow: it must not get
            // there, and this much fails as well.
            let size = size.min(isize::MAX as usize & !(align - 1));
            or_next_definition!(
                alloc::allocate_aligned(size, align),
                $name(size: usize, align: usize $(, $other: $type)*)
            )
        }
    )*};
}

new_aligned! {
    _ZnwmSt11align_val_t();
    _ZnamSt11align_val_t();
    _ZnwmSt11align_val_tRKSt9nothrow_t(nothrow: Nothrow);
    _ZnamSt11align_val_tRKSt9nothrow_t(nothrow: Nothrow);
}

// Sizes, alignments and `nothrow` say nothing that is not known, and lie in registers where nobody looks. Without them all forms are
// the same function, of which the library has one.
macro_rules! delete {
    ($($name:ident;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(block: *mut c_void) {
            // SAFETY: passed on from the caller.
            unsafe { alloc::free::<{ Call::Delete as u8 }>(block.cast()) }
        }
    )*};
}

delete! {
    _ZdlPv;
    _ZdaPv;
    _ZdlPvm;
    _ZdaPvm;
    _ZdlPvRKSt9nothrow_t;
    _ZdaPvRKSt9nothrow_t;
    _ZdlPvSt11align_val_t;
    _ZdaPvSt11align_val_t;
    _ZdlPvmSt11align_val_t;
    _ZdaPvmSt11align_val_t;
    _ZdlPvSt11align_val_tRKSt9nothrow_t;
    _ZdaPvSt11align_val_tRKSt9nothrow_t;
}
