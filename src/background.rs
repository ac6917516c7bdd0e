//! The optional background purge: a thread that gives back what was learned when the program does nothing.
//!
//! Off unless `conf::BACKGROUND_PURGE` says otherwise: the bound on resident memory needs no thread, but what was learned beyond it
//! is minded on the slow paths only, which an idle process does not take. The thread sleeps, looks, and sleeps
//! again. It takes no signal and allocates nothing.

use crate::conf;
use crate::heap;
use crate::os;
use crate::report::Line;
use core::ffi::c_void;
use core::ptr;

/// Between two looks: a few times the shortest stretch after which something counts as unused.
const PAUSE_MILLISECONDS: u64 = 100;

extern "C" fn run(_: *mut c_void) -> *mut c_void {
    loop {
        os::sleep(PAUSE_MILLISECONDS);
        heap::mind_learned();
    }
}

/// Starts the thread in this process and in every child that is forked from it, if that is set. Where that fails, one line
/// says so.
pub fn start_if_set() {
    if conf::BACKGROUND_PURGE.get() == 0 {
        return;
    }
    start();
    // SAFETY: the handler is a function of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(start)) };
}

extern "C" fn start() {
    // SAFETY: plain C structures that the calls fill; the thread needs nothing of this frame.
    let failed = unsafe {
        let (mut all, mut before) = (core::mem::zeroed(), core::mem::zeroed());
        libc::sigfillset(&mut all);
        // The thread inherits the mask.
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let mut thread = 0;
        let error = libc::pthread_create(&mut thread, ptr::null(), run, ptr::null_mut());
        if error == 0 {
            libc::pthread_detach(thread);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        error != 0
    };
    if failed {
        Line::message()
            .text("the thread for background_purge cannot be started")
            .write();
    }
}
