//! What happens once in a process: initialisation before `main`, statistics at its end.
//!
//! The library allocates from the first call on, which can come before this initialisation (the dynamic linker
//! allocates); until then the default settings hold.

use crate::conf;
use crate::report::Line;
use crate::stats;
use crate::thread;

/// Run by the C library before `main`, after its own initialisation, while there is one thread.
extern "C" fn start() {
    thread::handle_forks();
    conf::read_environment();
}

/// Run by the C library at exit, after what the program itself registered.
extern "C" fn end() {
    if conf::STATS_AT_EXIT.get() != 0 {
        stats::collect(thread::own()).write(Line::write);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

#[cfg(all(feature = "c-abi", not(test)))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    let line = Line::message().text("internal error");
    match info.location() {
        Some(place) => line
            .text(" at ")
            .text(place.file())
            .text(":")
            .number(place.line() as usize),
        None => line,
    }
    .write();
    crate::os::abort()
}
