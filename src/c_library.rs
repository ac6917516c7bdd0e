//! The C library, where the GNU one and musl differ. The shared library is built against the GNU C library and serves programs on either: musl
//! ignores the versions of names, and has all other functions that the library calls.
//!
//! What it owns: the one name that tells them apart. `__register_atfork` is in every GNU C library since 2.3.2, and in no musl. It is a
//! weak name, so that a program without it starts all the same.
//!
//! | | GNU C library | musl |
//! | --- | --- | --- |
//! | fork handlers | `__register_atfork`, which `pthread_atfork` of the program's start files calls | `pthread_atfork` |
//! | arguments of constructors | those of `main` | none: what is in their registers means nothing |
//! | the word of a robust mutex that the kernel marks | the first | the second (`heap::life`) |
//! | list of streams | held over a fork (`thread::fork`) | no function holds it |
//!
//! A program that is linked against musl's static library cannot be asked at its start, so that a build for musl knows.

use core::ffi::c_char;

/// A list of "NAME=value" that ends with a null pointer.
pub type Environment = *const *const c_char;

/// A function that the C library calls around a fork.
pub type Handler = Option<unsafe extern "C" fn()>;

pub use library::{environment, handle_forks};

#[cfg(not(target_env = "musl"))]
mod library {
    use super::*;
    use core::arch::global_asm;
    use core::ffi::{CStr, c_void};
    use core::mem;

    type Register = unsafe extern "C" fn(Handler, Handler, Handler, *const c_void) -> i32;
    type PthreadAtfork = unsafe extern "C" fn(Handler, Handler, Handler) -> i32;

    // Stable Rust has no weak names.
    global_asm!(
        ".weak __register_atfork",
        ".pushsection .data.rel.ro.pymalloc_register_atfork, \"aw\", @progbits",
        ".balign 8",
        ".globl pymalloc_register_atfork",
        ".hidden pymalloc_register_atfork",
        ".type pymalloc_register_atfork, @object",
        ".size pymalloc_register_atfork, 8",
        "pymalloc_register_atfork:",
        ".quad __register_atfork",
        ".popsection",
    );

    unsafe extern "C" {
        #[link_name = "pymalloc_register_atfork"]
        safe static REGISTER: Option<Register>;
        /// Whose handlers they are: an address in the object that the library is in, when that can be unloaded.
        #[link_name = "__dso_handle"]
        static OBJECT: c_void;
    }

    /// What a name leads to, in musl. The caller holds no lock.
    fn in_musl(name: &CStr) -> *mut c_void {
        // SAFETY: a C string.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    }

    /// The environment at the start of the process. `given` is what the C library gave a constructor.
    pub fn environment(given: Environment) -> Environment {
        if REGISTER.is_some() {
            return given;
        }
        let place: *mut c_void = in_musl(c"environ");
        match place.is_null() {
            // In a program that is linked with the static GNU C library and does not fork.
            true => given,
            // SAFETY: the variable of this name has this type.
            false => unsafe { place.cast::<Environment>().read() },
        }
    }

    /// Has the C library call these before each fork, and behind it in the parent and in the child. A program that never forks may do without.
    ///
    /// # Safety
    /// The handlers must be functions of the object that the library is in.
    pub unsafe fn handle_forks(before: Handler, in_parent: Handler, in_child: Handler) {
        if let Some(register) = REGISTER {
            // SAFETY: passed on from the caller.
            unsafe { register(before, in_parent, in_child, &raw const OBJECT) };
            return;
        }
        let found = in_musl(c"pthread_atfork");
        if !found.is_null() {
            // SAFETY: the function of this name has this type; passed on from the caller.
            unsafe {
                mem::transmute::<*mut c_void, PthreadAtfork>(found)(before, in_parent, in_child)
            };
        }
    }
}

#[cfg(target_env = "musl")]
mod library {
    use super::*;

    unsafe extern "C" {
        static environ: Environment;
    }

    /// The environment at the start of the process.
    pub fn environment(_: Environment) -> Environment {
        // SAFETY: set by the C library before any constructor runs, and read before there is a second thread.
        unsafe { environ }
    }

    /// Has the C library call these before each fork, and behind it in the parent and in the child.
    ///
    /// # Safety
    /// The handlers must be functions of the object that the library is in.
    pub unsafe fn handle_forks(before: Handler, in_parent: Handler, in_child: Handler) {
        // SAFETY: passed on from the caller.
        unsafe { libc::pthread_atfork(before, in_parent, in_child) };
    }
}
