//! The C library's names. Each is its `pymalloc_*` twin, to which the documentation of `own` applies; those that stand for others go through
//! the program's, if it has replaced these.

use crate::own::*;
use crate::replaced;
use crate::through;
use core::ffi::{c_int, c_void};
use core::mem;
use pymalloc::internals::alloc;
use pymalloc::internals::fault::Call;
use pymalloc::internals::thread;

macro_rules! same_as {
    ($($name:ident = $twin:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the same contract.
            #[allow(unused_unsafe, reason = "some of the twins are safe")]
            unsafe { $twin($($argument),*) }
        }
    )*};
}

same_as! {
    malloc = allocate(size: usize) -> *mut c_void;
    free = release(ptr: *mut c_void);
    calloc = allocate_zeroed(count: usize, size: usize) -> *mut c_void;
    realloc = resize(ptr: *mut c_void, size: usize) -> *mut c_void;
    posix_memalign = pymalloc_posix_memalign(memptr: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    aligned_alloc = pymalloc_aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    memalign = pymalloc_memalign(alignment: usize, size: usize) -> *mut c_void;
    valloc = pymalloc_valloc(size: usize) -> *mut c_void;
    pvalloc = pymalloc_pvalloc(size: usize) -> *mut c_void;
    malloc_usable_size = pymalloc_malloc_usable_size(ptr: *mut c_void) -> usize;
    malloc_trim = pymalloc_trim(keep: usize) -> c_int;
    malloc_stats = pymalloc_malloc_stats();
    malloc_info = pymalloc_malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int;
    mallinfo2 = pymalloc_mallinfo2() -> Mallinfo2;
}

macro_rules! frees {
    ($($name:ident($($other:ident),*), $call:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(block: *mut c_void $(, $other: usize)*) {
            $(let _ = $other;)*
            // SAFETY: passed on from the caller.
            unsafe {
                alloc::free_or(thread::slot_table_for_derived(), block.cast(), |block| {
                    free_elsewhere::<{ $call as u8 }>(block)
                })
            }
        }
    )*};
}

frees! {
    cfree(), Call::Free;
    free_sized(size), Call::FreeSized;
    free_aligned_sized(alignment, size), Call::FreeAlignedSized;
}

/// What the fast path of a function that stands for `free` does not serve.
#[inline(never)]
fn free_elsewhere<const CALL: u8>(block: *mut u8) {
    type Free = unsafe extern "C" fn(*mut u8);
    let of_program = match replaced::none() {
        true => None,
        false => through::free_of(0),
    };
    match of_program {
        // SAFETY: the function of this name has this type.
        Some(free) => unsafe { mem::transmute::<*const c_void, Free>(free)(block) },
        None => alloc::free_elsewhere::<CALL>(block),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, size: usize) -> *mut c_void {
    // SAFETY: the same contract.
    unsafe {
        if replaced::any()
            && let Some(total) = count.checked_mul(size)
            && let Some(resized) = through::realloc(block, total)
        {
            return resized;
        }
        pymalloc_reallocarray(block, count, size)
    }
}

/// The C library's older `struct mallinfo`.
#[repr(C)]
struct Mallinfo {
    fields: [c_int; 10],
}

/// `mallinfo2` with fields that wrap around above 2 GiB, as they do in the C library.
#[unsafe(no_mangle)]
extern "C" fn mallinfo() -> Mallinfo {
    let info = summary();
    let Mallinfo2 {
        arena,
        ordblks,
        smblks,
        hblks,
        hblkhd,
        usmblks,
        fsmblks,
        uordblks,
        fordblks,
        keepcost,
    } = info;
    Mallinfo {
        fields: [
            arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost,
        ]
        .map(|field| field as c_int),
    }
}

/// Accepts every parameter and changes nothing: what it tunes in the C library does not exist here. Returns 1, which means
/// success; a program that fails without its tuning should not.
#[unsafe(no_mangle)]
extern "C" fn mallopt(_parameter: c_int, _value: c_int) -> c_int {
    1
}
