//! C++'s `operator new` and `operator delete`, in all their forms, by their mangled names (Itanium C++ ABI, 64 bits).
//!
//! A form may stand for another one, or for `malloc` or `free`. If the program has replaced that one, the form goes through the program's
//! (`replaced`): its fast path finds nothing then.
//!
//! When there is no memory a form of `new` hands over to the definition of itself in the C++ library of its caller. That one
//! allocates through `malloc`, fails as well, and then does what the standard asks for: it runs the new-handler and throws
//! `std::bad_alloc`, or returns null. The exception passes through the frame of the function here, which holds
//! nothing that would need to be undone.

use crate::linker;
use crate::replaced::{self, Function};
use crate::through;
use core::ffi::{CStr, c_void};
use core::mem;
use core::ptr::NonNull;
use pymalloc::internals::alloc;
use pymalloc::internals::fault::Call;
use pymalloc::internals::os;
use pymalloc::internals::report;
use pymalloc::internals::thread;

/// The address of a `std::nothrow_t`, which says nothing.
type Nothrow = *const c_void;

/// A form of `operator new`.
struct New {
    name: &'static CStr,
    /// The form in the C++ library that reports that there is no memory. The one for arrays would jump to the plain one, which is ours
    /// again, and lose the caller's address.
    plain_name: &'static CStr,
    /// The operators that it stands for, the nearest first.
    stands_for: &'static [Function],
    aligned: bool,
    /// Whether it returns null where others throw.
    nothrow: bool,
}

/// What a form was called with. The alignment is 0 where none was given.
#[derive(Clone, Copy)]
struct Wanted {
    size: usize,
    align: usize,
    nothrow: Nothrow,
}

impl New {
    /// What the fast path does not serve, for a caller at an address of the program.
    #[inline(never)]
    fn elsewhere(&self, wanted: Wanted, caller: usize) -> *mut c_void {
        let block = match replaced::none() {
            true if self.aligned => {
                alloc::allocate_aligned_beyond_bins(wanted.size, wanted.align).cast()
            }
            true => alloc::allocate_beyond_bins(wanted.size).cast(),
            false => match self.through_operator(wanted, caller) {
                Some(result) => return result,
                None => self.through_malloc(wanted),
            },
        };
        match block.is_null() {
            true => self.fail(wanted, caller),
            false => block,
        }
    }

    /// Goes through the program's form that this one stands for, if there is one.
    #[cold]
    fn through_operator(&self, wanted: Wanted, caller: usize) -> Option<*mut c_void> {
        let functions = self.stands_for.iter();
        let operator = functions.copied().find_map(replaced::by_program)?;
        // Only the C++ library can catch what the program's form throws: its own definition of this form goes through the program's too.
        let catching = match self.nothrow {
            true => definition(self.name, caller),
            false => None,
        };
        // SAFETY: the program's form takes the size, and the alignment if this one does.
        Some(catching.map_or_else(
            || unsafe { call(operator, wanted.size, wanted.align, wanted.nothrow) },
            |definition| hand_over(definition, wanted),
        ))
    }

    /// Allocates as a C++ library's form does: by the C library's functions, which may be the program's own.
    #[cold]
    fn through_malloc(&self, wanted: Wanted) -> *mut c_void {
        match self.aligned {
            true => through::aligned(wanted.align, wanted.size)
                .unwrap_or_else(|| alloc::allocate_aligned(wanted.size, wanted.align).cast()),
            // A block of its own for a size of 0, of which the program's function may have none.
            false => through::malloc(wanted.size.max(1))
                .unwrap_or_else(|| alloc::allocate(wanted.size).cast()),
        }
    }

    /// There is no memory.
    #[cold]
    #[inline(never)]
    fn fail(&self, wanted: Wanted, caller: usize) -> *mut c_void {
        match definition(self.plain_name, caller) {
            Some(definition) => hand_over(definition, wanted),
            // Nobody can have set a new-handler.
            None if self.nothrow => core::ptr::null_mut(),
            None => {
                report::message(&mut report::line())
                    .text("operator new: out of memory, and no C++ library to say so")
                    .send();
                os::abort()
            }
        }
    }
}

/// A form in a C++ library: the one that the caller was linked with, since it could not catch an exception of another; else the one that
/// the whole program uses, or any that is loaded.
fn definition(name: &CStr, caller: usize) -> Option<NonNull<c_void>> {
    const LIBRARIES: [&CStr; 3] = [c"libstdc++.so.6", c"libc++.so.1", c"libc++abi.so.1"];
    let mut libraries = LIBRARIES.into_iter();
    linker::definition_for(caller, name)
        .or_else(|| linker::next_definition(name))
        .or_else(|| libraries.find_map(|library| linker::definition_in(library, name)))
}

fn hand_over(definition: NonNull<c_void>, wanted: Wanted) -> *mut c_void {
    let Wanted {
        size,
        align,
        nothrow,
    } = wanted;
    // SAFETY: a definition of the very form that was called, or of one with the same arguments.
    unsafe { call(definition.as_ptr(), size, align, nothrow) }
}

/// Calls a form of `operator new` with all the arguments that any form has. Those that this one lacks lie in registers that it does not read.
///
/// # Safety
/// The function must be a form of `operator new`. Without alignment in its arguments `align` is 0.
unsafe fn call(
    function: *const c_void,
    size: usize,
    align: usize,
    nothrow: Nothrow,
) -> *mut c_void {
    type Plain = unsafe extern "C" fn(usize, Nothrow) -> *mut c_void;
    type Aligned = unsafe extern "C" fn(usize, usize, Nothrow) -> *mut c_void;
    // SAFETY: passed on from the caller.
    unsafe {
        match align {
            0 => mem::transmute::<*const c_void, Plain>(function)(size, nothrow),
            _ => mem::transmute::<*const c_void, Aligned>(function)(size, align, nothrow),
        }
    }
}

/// Defines the function `$name` that goes on as `$goes_on` with the address of its caller for a fourth argument. A jump leads to it,
/// so that the caller's address is where the call put it.
macro_rules! with_caller {
    ($name:ident, $goes_on:path) => {
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        extern "C" fn $name(_: usize, _: usize, _: Nothrow) -> *mut c_void {
            core::arch::naked_asm!("mov rcx, [rsp]", "jmp {goes_on}", goes_on = sym $goes_on)
        }
        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        extern "C" fn $name(_: usize, _: usize, _: Nothrow) -> *mut c_void {
            core::arch::naked_asm!("mov x3, x30", "b {goes_on}", goes_on = sym $goes_on)
        }
        // Elsewhere the caller's own C++ library is not told from others.
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        extern "C" fn $name(size: usize, second: usize, third: Nothrow) -> *mut c_void {
            $goes_on(size, second, third, 0)
        }
    };
}

/// Whether there is an argument.
macro_rules! has {
    () => {
        false
    };
    ($argument:ident) => {
        true
    };
}

macro_rules! name {
    ($name:ident) => {
        match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("an identifier has no zero byte"),
        }
    };
}

macro_rules! new {
    ($($name:ident($($nothrow:ident)?) stands for $stands_for:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(size: usize $(, $nothrow: Nothrow)?) -> *mut c_void {
            const FORM: New = New {
                name: name!($name),
                plain_name: [c"_Znwm", c"_ZnwmRKSt9nothrow_t"][has!($($nothrow)?) as usize],
                stands_for: &$stands_for,
                aligned: false,
                nothrow: has!($($nothrow)?),
            };
            extern "C" fn go_on(size: usize, nothrow: usize, _: Nothrow, caller: usize) -> *mut c_void {
                let nothrow = core::ptr::with_exposed_provenance(nothrow);
                FORM.elsewhere(Wanted { size, align: 0, nothrow }, caller)
            }
            with_caller!(elsewhere, go_on);
            let second = [$($nothrow.expose_provenance(),)? 0][0];
            alloc::allocate_from(thread::current_for_derived, size, |size| {
                elsewhere(size, second, core::ptr::null())
            })
        }
    )*};
}

new! {
    _Znwm() stands for [];
    _Znam() stands for [Function::New];
    _ZnwmRKSt9nothrow_t(nothrow) stands for [Function::New];
    _ZnamRKSt9nothrow_t(nothrow) stands for [Function::NewArray, Function::New];
}

macro_rules! new_aligned {
    ($($name:ident($($nothrow:ident)?) stands for $stands_for:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(size: usize, align: usize $(, $nothrow: Nothrow)?) -> *mut c_void {
            const FORM: New = New {
                name: name!($name),
                plain_name: [c"_ZnwmSt11align_val_t", c"_ZnwmSt11align_val_tRKSt9nothrow_t"]
                    [has!($($nothrow)?) as usize],
                stands_for: &$stands_for,
                aligned: true,
                nothrow: has!($($nothrow)?),
            };
            extern "C" fn go_on(size: usize, align: usize, nothrow: Nothrow, caller: usize) -> *mut c_void {
                // The C++ library rounds the size up to the alignment, and that may overflow. Half of all addresses fails as well.
                let size = size.min(isize::MAX as usize & !(align - 1));
                FORM.elsewhere(Wanted { size, align, nothrow }, caller)
            }
            with_caller!(elsewhere, go_on);
            let nothrow = [$($nothrow,)? core::ptr::null()][0];
            alloc::allocate_aligned_from(thread::current_for_derived, size, align, |size, align| {
                elsewhere(size, align, nothrow)
            })
        }
    )*};
}

new_aligned! {
    _ZnwmSt11align_val_t() stands for [];
    _ZnamSt11align_val_t() stands for [Function::NewAligned];
    _ZnwmSt11align_val_tRKSt9nothrow_t(nothrow) stands for [Function::NewAligned];
    _ZnamSt11align_val_tRKSt9nothrow_t(nothrow) stands for [Function::NewArrayAligned, Function::NewAligned];
}

/// What the fast path of a form of `operator delete` does not serve, which stands for some others, the nearest first. The alignment is 0
/// where none was given.
fn delete_elsewhere(stands_for: &[Function], block: *mut u8, align: usize) {
    if replaced::none() {
        return alloc::free_elsewhere::<{ Call::Delete as u8 }>(block);
    }
    type Delete = unsafe extern "C" fn(*mut u8, usize);
    let operator = stands_for
        .iter()
        .copied()
        .find_map(replaced::by_program)
        .or_else(|| through::free_of(align));
    match operator {
        // SAFETY: the program's form takes the block, and the alignment if this one does; `free` does not look at it.
        Some(operator) => unsafe {
            mem::transmute::<*const c_void, Delete>(operator)(block, align)
        },
        None => alloc::free_elsewhere::<{ Call::Delete as u8 }>(block),
    }
}

// Sizes and `nothrow` say nothing new, and lie in registers that nobody reads. Without them, forms that stand for the same one are the same
// function, and the library has it once.
macro_rules! delete {
    ($($name:ident($($size:ident)? $(; $align:ident)?) stands for $stands_for:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(block: *mut c_void $(, $size: usize)? $(, $align: usize)?) {
            $(let _ = $size;)?
            #[inline(never)]
            extern "C" fn elsewhere(block: *mut u8, align: usize) {
                delete_elsewhere(&$stands_for, block, align);
            }
            let align = [$($align,)? 0][0];
            // SAFETY: passed on from the caller.
            unsafe {
                alloc::free_or(thread::slot_table_for_derived(), block.cast(), |block| {
                    elsewhere(block, align)
                })
            }
        }
    )*};
}

delete! {
    _ZdlPv() stands for [];
    _ZdlPvm() stands for [Function::Delete];
    _ZdlPvRKSt9nothrow_t() stands for [Function::Delete];
    _ZdaPv() stands for [Function::Delete];
    _ZdaPvm() stands for [Function::DeleteArray, Function::Delete];
    _ZdaPvRKSt9nothrow_t() stands for [Function::DeleteArray, Function::Delete];
    _ZdlPvSt11align_val_t(; align) stands for [];
    _ZdlPvmSt11align_val_t(size; align) stands for [Function::DeleteAligned];
    _ZdlPvSt11align_val_tRKSt9nothrow_t(; align) stands for [Function::DeleteAligned];
    _ZdaPvSt11align_val_t(; align) stands for [Function::DeleteAligned];
    _ZdaPvmSt11align_val_t(size; align) stands for [Function::DeleteArrayAligned, Function::DeleteAligned];
    _ZdaPvSt11align_val_tRKSt9nothrow_t(; align) stands for [Function::DeleteArrayAligned, Function::DeleteAligned];
}
