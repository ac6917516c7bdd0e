//! What happens once in a process: initialisation before `main`, statistics and a snapshot of the heap at its end.
//!
//! The library allocates from the first call on, which can come before this initialisation (the dynamic linker
//! allocates); until then the default settings hold.

use crate::background;
use crate::c_library;
use crate::collector::{self, Event};
use crate::conf;
use crate::heapmap;
use crate::os;
use crate::stats;
use crate::thread;
use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether this program lays the structures of another process over its own (`pymalloc-watch`): then nothing below is for it.
static LOOKS_OUTSIDE: AtomicBool = AtomicBool::new(false);

/// To be called before `start`: settings, threads and what is written at exit would be those of the other process.
pub fn look_outside() {
    // Relaxed, as below: both run before there is a second thread.
    LOOKS_OUTSIDE.store(true, Ordering::Relaxed);
}

/// The C library runs it before `main`. The shared library is initialised before every other one (`-z initfirst`), since a fork handler
/// registered before ours would run while ours holds the locks. If `dlopen` loads it, other threads may already run, and even allocate
/// from it. The C library itself may not be initialised yet, so that the environment is taken from the arguments.
extern "C" fn start(
    _count: c_int,
    _arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    if LOOKS_OUTSIDE.load(Ordering::Relaxed) {
        return;
    }
    c_library::stay_loaded();
    thread::handle_forks();
    conf::read_environment(c_library::environment(environment));
    if collector::listens() {
        collector::tell(Event::Start);
        os::at_exit(end_with);
    }
    heapmap::check();
    background::start_if_set();
}

/// Run by the C library at exit, after what the program itself registered.
extern "C" fn end() {
    let prints = conf::STATS_AT_EXIT.get() != 0;
    if prints || !conf::heapmap_setting().is_empty() {
        // To write here must not change how the program ends.
        os::Signals::OF_WRITES.hold();
    }
    if prints {
        stats::print(&stats::collect().of_this_process());
    }
    heapmap::append(true);
}

/// Run by the C library last of all, when there is a collector.
extern "C" fn end_with(status: c_int, _: *mut c_void) {
    // It draws all that is there when it is told of the end. In a program that the library is linked into, `end` comes later.
    heapmap::append(true);
    collector::tell(Event::End(status));
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;
