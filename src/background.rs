//! The optional background thread: it gives back what was learned while the program does nothing, and writes statistics and
//! snapshots of the heap when a signal asks for them, or at intervals.
//!
//! There is none unless `conf::BACKGROUND_PURGE`, `conf::STATS_SIGNAL` or `conf::HEAPMAP_EVERY` says so: the bound on resident memory
//! needs no thread. It sleeps until there is something to do, takes no signal, and allocates nothing.

use crate::conf;
use crate::heap;
use crate::heapmap;
use crate::os;
use crate::report;
use crate::stats;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Between two looks at what was learned: a few times the shortest stretch after which something counts as unused.
const PURGE_MILLISECONDS: usize = 100;

/// The longest sleep, in milliseconds: a day. Then it looks, and sleeps again.
const LONGEST: u64 = 24 * 3600 * 1000;

/// Signals that have asked for statistics, since the start.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// The signal's handler: leaves everything to the thread.
extern "C" fn ask(_: c_int) {
    // Relaxed: nothing else is handed over.
    ASKED.fetch_add(1, Ordering::Relaxed);
    os::wake(&ASKED);
}

/// Something that is done at intervals.
struct Task {
    /// Milliseconds; 0 for never.
    interval: u64,
    next: u64,
}

impl Task {
    fn every(milliseconds: usize, now: u64) -> Self {
        let interval = milliseconds as u64;
        Task {
            interval,
            next: match interval {
                0 => u64::MAX,
                _ => now + interval,
            },
        }
    }

    /// Whether it is time. What was missed is not made up for.
    fn is_due(&mut self, now: u64) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }
}

fn now() -> u64 {
    os::coarse_clock() / 1_000_000
}

extern "C" fn run(asked: *mut c_void) -> *mut c_void {
    let mut answered = asked as usize as u32;
    let purge = conf::BACKGROUND_PURGE.get() * PURGE_MILLISECONDS;
    let mut purge = Task::every(purge, now());
    let mut snapshot = Task::every(conf::HEAPMAP_EVERY.get(), now());
    loop {
        let next = purge.next.min(snapshot.next);
        os::wait(&ASKED, answered, next.saturating_sub(now()).min(LONGEST));
        // Relaxed: as in `ask`.
        let asked = ASKED.load(Ordering::Relaxed);
        if asked != answered {
            answered = asked;
            stats::print(&stats::collect().of_this_process());
            heapmap::append(false);
        }
        if purge.is_due(now()) {
            heap::mind_learned();
        }
        if snapshot.is_due(now()) {
            heapmap::append(false);
        }
    }
}

/// The signals of faults.
const FAULTS: [i32; 4] = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];

/// Starts the thread in this process and in every child that is forked from it, if it has anything to do. One line says what
/// fails.
pub fn start_if_set() {
    let mut needed = conf::BACKGROUND_PURGE.get() != 0;
    let signal = conf::STATS_SIGNAL.get();
    if signal != 0 {
        // A fault would come again and again, as its handler returns to where it was.
        let is_fault = FAULTS.contains(&(signal as i32));
        match !is_fault && os::handle_signal(signal, ask) {
            true => needed = true,
            false => report::message(&mut report::line())
                .text("stats_signal=")
                .number(signal)
                .text(" is no signal that can be caught, or that of a fault")
                .send(),
        }
    }
    if conf::HEAPMAP_EVERY.get() != 0 {
        match conf::heapmap_setting() {
            [_, ..] => needed = true,
            [] => report::message(&mut report::line())
                .text("heapmap_every is set, but no heapmap=PATH to write to")
                .send(),
        }
    }
    if needed {
        start();
        // SAFETY: the handler is a function of this library.
        unsafe { libc::pthread_atfork(None, None, Some(start)) };
    }
}

extern "C" fn start() {
    // Relaxed: as in `ask`. Read here, so that no signal from now on is missed.
    let asked = ASKED.load(Ordering::Relaxed) as usize as *mut c_void;
    // The thread inherits what is held back.
    let before = os::Signals::ALL.hold();
    let mut thread = 0;
    // SAFETY: the call fills the number; the thread needs nothing of this frame.
    let failed = unsafe {
        let error = libc::pthread_create(&mut thread, ptr::null(), run, asked);
        if error == 0 {
            libc::pthread_detach(thread);
        }
        error != 0
    };
    before.hold_only();
    if failed {
        report::message(&mut report::line())
            .text("the background thread cannot be started")
            .send();
    }
}
