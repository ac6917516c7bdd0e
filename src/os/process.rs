//! The process: its number, its rights, its end.

use super::call::system_call;
use super::errno::keep_errno;
use core::ffi::{c_int, c_ulong};
use core::ptr;

/// The number of the process.
pub fn process_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { system_call(libc::SYS_getpid, []) }.unwrap_or(0) as u32
}

/// The number of the process that made this one.
pub fn parent_id() -> u32 {
    // SAFETY: as above.
    unsafe { system_call(libc::SYS_getppid, []) }.unwrap_or(0) as u32
}

/// What the kernel told the process at its start; 0 where it did not tell, of which the C library's function makes an `errno`.
#[inline(never)]
pub(super) fn told_by_kernel(what: c_ulong) -> usize {
    // SAFETY: the function only reads the vector that the kernel passed.
    keep_errno(|| unsafe { libc::getauxval(what) } as usize)
}

/// Whether the program runs with more rights than its user: the environment must not be trusted.
pub fn is_privileged() -> bool {
    told_by_kernel(libc::AT_SECURE) != 0
}

/// Lets `handler` be called when the program ends in an orderly way, with its exit status: after all that is registered later. False where the C
/// library has no such thing.
pub fn at_exit(handler: extern "C" fn(c_int, *mut libc::c_void)) -> bool {
    type Handler = extern "C" fn(c_int, *mut libc::c_void);
    type OnExit = unsafe extern "C" fn(Handler, *mut libc::c_void) -> c_int;
    // Looked for here: as a name of the library it would cost every process a search for it when it starts.
    // SAFETY: the name is a C string.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"on_exit".as_ptr()) };
    if function.is_null() {
        return false;
    }
    // SAFETY: this is the type of `on_exit`; the handler is never unloaded.
    unsafe {
        core::mem::transmute::<*mut libc::c_void, OnExit>(function)(handler, ptr::null_mut()) == 0
    }
}

/// Ends the process by SIGABRT.
pub fn abort() -> ! {
    // SAFETY: takes nothing and does not return.
    unsafe { libc::abort() }
}
