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
//! | a closed plugin | leaves, unless it asked to stay | stays |
//! | list of streams | held over a fork (`thread::fork`) | no function holds it |
//!
//! A program that is linked against musl's static library cannot be asked at its start, so that a build for musl knows.

use core::ffi::c_char;

/// A list of "NAME=value" that ends with a null pointer.
pub type Environment = *const *const c_char;

/// A function that the C library calls around a fork.
pub type Handler = Option<unsafe extern "C" fn()>;

pub use library::{environment, handle_forks, stay_loaded};

#[cfg(not(target_env = "musl"))]
mod library {
    use super::*;
    use core::arch::global_asm;
    use core::ffi::{CStr, c_void};
    use core::mem;
    use core::ptr;

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
        /// Whose handlers they are: an address in the object that the library is in, when that can be unloaded. It is in the compiler's start files,
        /// and holds its own address.
        #[link_name = "__dso_handle"]
        safe static OBJECT: [u8; size_of::<usize>()];
    }

    /// The start of a `struct link_map`.
    #[repr(C)]
    struct Object {
        base: usize,
        /// The file; empty for the program itself.
        path: *const c_char,
    }

    type Dladdr1 =
        unsafe extern "C" fn(*const c_void, *mut libc::Dl_info, *mut *const Object, i32) -> i32;
    type Dlopen = unsafe extern "C" fn(*const c_char, i32) -> *mut c_void;

    /// Has the dynamic linker keep the plugin that the static library is in, if it is in one. When a host closes it, the end of each thread that
    /// allocated there still calls the library; by settings a signal, a thread of its own and the end of the process do too.
    ///
    /// The shared library asks for the same when it is linked (build.rs), which also lays the name above elsewhere. The caller holds no lock.
    pub fn stay_loaded() {
        /// What `dladdr1` is asked for: the object around an address.
        const AROUND: i32 = 2;
        if usize::from_ne_bytes(OBJECT) != (&raw const OBJECT).addr() {
            return;
        }
        let (dladdr1, dlopen) = (look_up(c"dladdr1"), look_up(c"dlopen"));
        if dladdr1.is_null() || dlopen.is_null() {
            // A static program; or musl, which unloads nothing.
            return;
        }
        let mut object = ptr::null();
        // SAFETY: the functions of these names have these types. The first fills both places when it finds the object; that, and so the path, is there
        // as long as its constructors run. The object is loaded already: nothing is opened.
        unsafe {
            let dladdr1 = mem::transmute::<*mut c_void, Dladdr1>(dladdr1);
            let mut info = mem::zeroed();
            if dladdr1((&raw const OBJECT).cast(), &mut info, &mut object, AROUND) != 0
                && *(*object).path != 0
            {
                let dlopen = mem::transmute::<*mut c_void, Dlopen>(dlopen);
                dlopen(
                    (*object).path,
                    libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE,
                );
            }
        }
    }

    /// What a name leads to. The caller holds no lock.
    fn look_up(name: &CStr) -> *mut c_void {
        // SAFETY: a C string.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    }

    /// The environment at the start of the process. `given` is what the C library gave a constructor.
    pub fn environment(given: Environment) -> Environment {
        if REGISTER.is_some() {
            return given;
        }
        let place: *mut c_void = look_up(c"environ");
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
            unsafe { register(before, in_parent, in_child, (&raw const OBJECT).cast()) };
            return;
        }
        let found = look_up(c"pthread_atfork");
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

    /// musl unloads nothing.
    pub fn stay_loaded() {}

    /// Has the C library call these before each fork, and behind it in the parent and in the child.
    ///
    /// # Safety
    /// The handlers must be functions of the object that the library is in.
    pub unsafe fn handle_forks(before: Handler, in_parent: Handler, in_child: Handler) {
        // SAFETY: passed on from the caller.
        unsafe { libc::pthread_atfork(before, in_parent, in_child) };
    }
}
