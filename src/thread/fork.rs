//! `fork`: the library and the C library are brought to rest before it, so that the child finds both whole.
//!
//! What it owns: the handlers that the C library calls before `fork` and behind it.
//!
//! The C library calls the handlers first, and then takes locks of its own, some of which are held by threads that allocate. So ours would be held
//! while it waits for a thread that waits for ours. What must hold: no lock that it takes after the handlers can be another thread's that
//! waits for one of ours. Its locks, one by one (glibc 2.17 to 2.41):
//!
//! - *The list of streams*, behind the handlers in a process of several threads. `fflush(NULL)` and the end of the process hold it while they wait
//!   for a stream, whose reader may be in `realloc`. So it is taken here, before any lock of ours; it is recursive, and the C library takes it
//!   once more. A thread that has it already, and forks from a stream's own function, takes it a third time.
//! - *Single streams*: `fork` takes none. A thread that holds one and waits for us goes on after the fork.
//! - *The configuration of name services*, behind the handlers, since 2.34, for a moment. A thread that reads `/etc/nsswitch.conf` holds it
//!   and allocates: at the first look-up of a user or host, and when the file has changed. No function takes it for others. A fork in these
//!   very microseconds hangs, as with every `malloc` that is not the C library's own.
//! - *The list of handlers*: until 2.35 held all the time; since then given back while a handler runs, and taken again after. To register a handler
//!   allocates under it from the 49th handler on: another such gap.
//! - *The loader's*: `fork` takes none of them. `dlsym`, below, takes one, when nothing is held yet.
//! - *Locales, time zone, resolver, exit handlers*: `fork` takes none of them. A child may find one taken, whatever its `malloc`.
//! - *The C library's own heap*: unused, and so free at any time.
//!
//! In the other direction there is nothing: the library calls no function of the C library that takes a lock while it holds one of its own.

use super::current::own;
use crate::c_library;
use crate::heap::heaps;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Registers the fork handlers, once. Before `main` no other library has registered its own yet (`process::start`): handlers that run
/// before a fork run in reverse order, and those of others may allocate. If the library is opened later, others may come first, and there
/// may be several threads.
pub fn handle_forks() {
    // With the settings, on a page that every process has.
    #[unsafe(link_section = ".data.start")]
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Relaxed: only the first call goes on, whichever it is. A fork that another thread begins before that one is done is not prepared for.
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handlers stay as long as the object that they are in, from which the C library knows when to forget them.
        unsafe {
            c_library::handle_forks(
                Some(before_fork),
                Some(after_in_parent),
                Some(after_in_child),
            );
        }
    }
}

/// Whether the list of streams is held for the fork that is under way. Written and read while the locks of the library are held for it.
static HOLDS_STREAMS: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn before_fork() {
    let holds = streams::hold();
    end_life();
    heaps::hold_for_fork();
    // Relaxed: the locks order it.
    HOLDS_STREAMS.store(holds, Ordering::Relaxed);
}

unsafe extern "C" fn after_in_parent() {
    let held = HOLDS_STREAMS.load(Ordering::Relaxed);
    // SAFETY: the C library calls this in the thread that `before_fork` ran in.
    unsafe { heaps::release_after_fork(own(), false) };
    begin_life();
    if held {
        streams::release();
    }
}

unsafe extern "C" fn after_in_child() {
    let held = HOLDS_STREAMS.load(Ordering::Relaxed);
    // SAFETY: as above, in the child's copy of it.
    unsafe { heaps::release_after_fork(own(), true) };
    begin_life();
    if held {
        streams::reset();
    }
}

/// The calling thread's mutex leaves its list. The heap stays its own, as one that no other thread takes.
fn end_life() {
    if let Some(heap) = own() {
        heap.life.end();
    }
}

/// The forking thread has its heap again, by the number that it has here. Over the fork it holds no mutex: glibc
/// before 2.25 leaves it on the thread's list in the child, where it would be once more from now on.
fn begin_life() {
    if let Some(heap) = own() {
        heap.life.begin();
    }
}

/// The C library's list of streams, by functions that it exports for debuggers and the like since 2.2.5. They are looked up at the first
/// fork: a process that never forks looks nothing up. Where they are not found (a program without a dynamic loader), the list is not held.
mod streams {
    use super::*;

    /// A name of the C library that was not looked for yet.
    const UNKNOWN: *mut c_void = ptr::null_mut();

    /// Where a name of the C library is.
    struct Name {
        name: &'static CStr,
        found: AtomicPtr<c_void>,
    }

    /// What a name leads to that the C library does not have.
    static NOTHING: c_char = 0;

    impl Name {
        const fn new(name: &'static CStr) -> Self {
            Name {
                name,
                found: AtomicPtr::new(UNKNOWN),
            }
        }

        /// Where it is. The caller holds no lock, as `dlsym` takes the loader's, and may allocate.
        fn find(&self) -> Option<*mut c_void> {
            // Relaxed, here and below: the same is found each time.
            let mut found = self.found.load(Ordering::Relaxed);
            if found == UNKNOWN {
                // SAFETY: a C string.
                found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) };
                if found.is_null() {
                    found = (&raw const NOTHING).cast_mut().cast();
                }
                self.found.store(found, Ordering::Relaxed);
            }
            (!ptr::eq(found, (&raw const NOTHING).cast())).then_some(found)
        }

        /// Calls the function of that name, if there is one.
        ///
        /// # Safety
        /// The name must be that of a function that takes and returns nothing, and may be called now.
        unsafe fn call(&self) {
            if let Some(function) = self.find() {
                // SAFETY: passed on from the caller.
                unsafe { mem::transmute::<*mut c_void, extern "C" fn()>(function)() }
            }
        }
    }

    static LOCK: Name = Name::new(c"_IO_list_lock");
    static UNLOCK: Name = Name::new(c"_IO_list_unlock");
    static RESET: Name = Name::new(c"_IO_list_resetlock");
    /// A byte that is not 0 while the process has a single thread, since 2.32.
    static SINGLE: Name = Name::new(c"__libc_single_threaded");

    /// Where the C library before 2.32 has what it says there: an `int` in the structure that `pthread_self` points to, 0 until there is a
    /// second thread. No such version will be made any more. `fork` itself reads it, in the 2.31 of either processor. `make test-old-glibc` shows it.
    const SEVERAL_BEFORE_2_32: Option<usize> = match () {
        () if cfg!(target_arch = "x86_64") => Some(24),
        () if cfg!(target_arch = "aarch64") => Some(0),
        () => None,
    };

    /// Whether the C library knows of one thread only. Its own `fork` decides by that whether to make the list nobody's in the child. The caller
    /// has found that it is the GNU C library.
    fn has_one_thread() -> bool {
        if let Some(byte) = SINGLE.find() {
            // SAFETY: a byte that the C library has there. Another thread may change it only when there is another.
            return unsafe { byte.cast::<c_char>().read_volatile() != 0 };
        }
        SEVERAL_BEFORE_2_32.is_some_and(|place| {
            // SAFETY: as said there, of the calling thread.
            let several = unsafe {
                (libc::pthread_self() as *const c_int)
                    .byte_add(place)
                    .read_volatile()
            };
            several == 0
        })
    }

    /// Takes the list, waits for it if need be. False where that is not possible, or nobody else could have it: the C library
    /// itself leaves it alone then, in the child too.
    pub fn hold() -> bool {
        if UNLOCK.find().is_none() || RESET.find().is_none() || has_one_thread() {
            return false;
        }
        // SAFETY: the function takes the list's lock, which is recursive.
        unsafe { LOCK.call() };
        LOCK.find().is_some()
    }

    /// Gives the list back, in the parent.
    pub fn release() {
        // SAFETY: this thread has taken it, in `hold`.
        unsafe { UNLOCK.call() };
    }

    /// Makes the list nobody's, in the child. The C library has done so already, if it took it before the fork.
    pub fn reset() {
        // SAFETY: the child has one thread, and `hold` has taken the list in its parent.
        unsafe { RESET.call() };
    }
}
