//! Takes RTLD_DEEPBIND away: a `dlopen` and a `dlmopen` that clear this one flag and go on to the next definition.
//!
//! A library that is opened with RTLD_DEEPBIND looks for every symbol in itself and in what it needs before it looks in the program. It needs the
//! C library, and so it finds that one's `malloc` and `free`, whatever is preloaded. The first pointer that goes from the program to such a library
//! and is freed there then ends the process. With the flag gone the library finds the preloaded `malloc`, as any other library does.
//!
//! The flag has a purpose, and it is lost: where a plugin and its host bring different functions of one name, the plugin now gets the host's.
//! So this library is put in front of a program only on request, or if the program is known to run without the flag.
//!
//! Owns: the addresses of the next definitions. What must hold:
//! - The C library sees the program as the caller. It takes the caller's RUNPATH and namespace from the return address, so both functions
//!   *jump* to the next one and leave the stack as it was. (On other machines than x86-64 and AArch64 they call it, and that it becomes a jump is
//!   left to the compiler.)
//! - Every other flag, and the other arguments, pass unchanged.
//! - `dlmopen` keeps the flag for other namespaces: nothing is preloaded in there that it could pass by.

#![no_std]

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("RTLD_DEEPBIND is the GNU C library's");

#[cfg(all(not(portable), any(target_arch = "x86_64", target_arch = "aarch64")))]
use core::arch::naked_asm;
use core::ffi::{c_char, c_void};
#[cfg(any(portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// As the C library's `dlfcn.h` has it on both machines.
const RTLD_DEEPBIND: i32 = 8;
const OTHER_FLAGS: i32 = !RTLD_DEEPBIND;
/// `dlsym` searches behind the library that calls it.
const RTLD_NEXT: *mut c_void = ptr::without_provenance_mut(usize::MAX);

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The next definitions, null before the first call. Relaxed: an address is all there is, and whoever does not see it finds the same one.
static NEXT_DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static NEXT_DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

extern "C" fn find_dlopen() -> *mut c_void {
    find(&NEXT_DLOPEN, c"dlopen".as_ptr())
}

extern "C" fn find_dlmopen() -> *mut c_void {
    find(&NEXT_DLMOPEN, c"dlmopen".as_ptr())
}

fn find(next: &AtomicPtr<c_void>, name: *const c_char) -> *mut c_void {
    // SAFETY: `name` ends with a zero byte, and the handle is one that every process has.
    let mut found = unsafe { dlsym(RTLD_NEXT, name) };
    if found.is_null() {
        // Only a program without the C library's own could get here.
        found = opens_nothing as *mut c_void;
    }
    next.store(found, Relaxed);
    found
}

extern "C" fn opens_nothing() -> *mut c_void {
    ptr::null_mut()
}

/// # Safety
/// As for the C library's `dlopen`.
#[cfg(all(target_arch = "x86_64", not(portable)))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(_file: *const c_char, _mode: i32) -> *mut c_void {
    naked_asm!(
        "and esi, {flags}",
        "mov rax, qword ptr [rip + {next}]",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        // The first call. Two pushes and eight bytes make the stack a multiple of 16 again.
        "2:",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {find}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        flags = const OTHER_FLAGS,
        next = sym NEXT_DLOPEN,
        find = sym find_dlopen,
    )
}

/// # Safety
/// As for the C library's `dlmopen`.
#[cfg(all(target_arch = "x86_64", not(portable)))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlmopen(_space: isize, _file: *const c_char, _mode: i32) -> *mut c_void {
    naked_asm!(
        // LM_ID_BASE, the program's own namespace, is 0.
        "test rdi, rdi",
        "jnz 3f",
        "and edx, {flags}",
        "3:",
        "mov rax, qword ptr [rip + {next}]",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        // The first call. Three pushes make the stack a multiple of 16 again.
        "2:",
        "push rdi",
        "push rsi",
        "push rdx",
        "call {find}",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp rax",
        flags = const OTHER_FLAGS,
        next = sym NEXT_DLMOPEN,
        find = sym find_dlmopen,
    )
}

/// # Safety
/// As for the C library's `dlopen`.
#[cfg(all(target_arch = "aarch64", not(portable)))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlopen(_file: *const c_char, _mode: i32) -> *mut c_void {
    naked_asm!(
        "and w1, w1, {flags}",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        // The first call.
        "2:",
        "stp x29, x30, [sp, #-32]!",
        "stp x0, x1, [sp, #16]",
        "bl {find}",
        "mov x16, x0",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "br x16",
        flags = const OTHER_FLAGS,
        next = sym NEXT_DLOPEN,
        find = sym find_dlopen,
    )
}

/// # Safety
/// As for the C library's `dlmopen`.
#[cfg(all(target_arch = "aarch64", not(portable)))]
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn dlmopen(_space: isize, _file: *const c_char, _mode: i32) -> *mut c_void {
    naked_asm!(
        // LM_ID_BASE, the program's own namespace, is 0.
        "cbnz x0, 3f",
        "and w2, w2, {flags}",
        "3:",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        // The first call.
        "2:",
        "stp x29, x30, [sp, #-48]!",
        "stp x0, x1, [sp, #16]",
        "str x2, [sp, #32]",
        "bl {find}",
        "mov x16, x0",
        "ldr x2, [sp, #32]",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #48",
        "br x16",
        flags = const OTHER_FLAGS,
        next = sym NEXT_DLMOPEN,
        find = sym find_dlmopen,
    )
}

/// # Safety
/// As for the C library's `dlopen`.
#[cfg(any(portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(file: *const c_char, mode: i32) -> *mut c_void {
    type Next = unsafe extern "C" fn(*const c_char, i32) -> *mut c_void;
    let known = NEXT_DLOPEN.load(Relaxed);
    let next = if known.is_null() {
        find_dlopen()
    } else {
        known
    };
    // SAFETY: a function of the same type, or one that looks at no argument.
    let next = unsafe { transmute::<*mut c_void, Next>(next) };
    // SAFETY: the caller's arguments, but for a flag that may always be left out.
    unsafe { next(file, mode & OTHER_FLAGS) }
}

/// # Safety
/// As for the C library's `dlmopen`.
#[cfg(any(portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmopen(space: isize, file: *const c_char, mode: i32) -> *mut c_void {
    type Next = unsafe extern "C" fn(isize, *const c_char, i32) -> *mut c_void;
    let known = NEXT_DLMOPEN.load(Relaxed);
    let next = if known.is_null() {
        find_dlmopen()
    } else {
        known
    };
    // LM_ID_BASE, the program's own namespace, is 0.
    let mode = if space == 0 { mode & OTHER_FLAGS } else { mode };
    // SAFETY: a function of the same type, or one that looks at no argument.
    let next = unsafe { transmute::<*mut c_void, Next>(next) };
    // SAFETY: the caller's arguments, but for a flag that may always be left out.
    unsafe { next(space, file, mode) }
}

// Nothing above can panic; a library without std must have one.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
