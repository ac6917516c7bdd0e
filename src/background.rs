//! The optional background thread: it gives back what is retained while the program does nothing, and writes statistics and
//! snapshots of the heap when a signal asks for them, or at intervals, at which it tells the collector the figures too.
//!
//! There is none unless `conf::BACKGROUND_PURGE`, `conf::STATS_SIGNAL`, `conf::HEAPMAP_EVERY` or `conf::collector` says so: the bound on
//! resident memory needs no thread. It sleeps until there is something to do, takes no signal, and allocates nothing.

use crate::c_library;
use crate::collector::{self, Event};
use crate::conf;
use crate::heap;
use crate::heapmap;
use crate::os;
use crate::report;
use crate::stats;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

/// Between two decays of retained memory: a few times the shortest stretch after which something counts as unused.
const PURGE_MILLISECONDS: usize = 100;

/// When the collector is first told the figures: soon, since many processes are short. The pauses after that double until they last a
/// second. So what the collector knows is never older than half the life of the process, nor than a second.
const FIRST_FIGURES_MILLISECONDS: usize = 10;
const FIGURES_MILLISECONDS: u64 = 1000;
/// The pause is at least this many times as long as the counting took, which is long in a large heap.
const COUNTING_PART: u64 = 100;

/// The longest sleep, in milliseconds: a day. Then the thread wakes, and sleeps again.
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

    /// Whether it is time. Missed times are not made up for.
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

/// Tells the collector the figures, and sets the time of the next: never, once it is gone.
fn tell_figures(figures: &mut Task) {
    let before = os::exact_clock();
    collector::tell(Event::Figures);
    let least = (os::exact_clock() - before) * COUNTING_PART / 1_000_000;
    figures.interval = (figures.interval * 2).min(FIGURES_MILLISECONDS).max(least);
    figures.next = match collector::listens() {
        true => now() + figures.interval,
        false => u64::MAX,
    };
}

extern "C" fn run(asked: *mut c_void) -> *mut c_void {
    let mut answered = asked as usize as u32;
    let purge = conf::BACKGROUND_PURGE.get() * PURGE_MILLISECONDS;
    let mut purge = Task::every(purge, now());
    let mut snapshot = Task::every(conf::HEAPMAP_EVERY.get(), now());
    let first_figures = collector::listens() as usize * FIRST_FIGURES_MILLISECONDS;
    let mut figures = Task::every(first_figures, now());
    // Snapshots for a collector stop once it is gone.
    let collected = !conf::collector().is_empty();
    loop {
        let next = purge.next.min(snapshot.next).min(figures.next);
        os::wait(&ASKED, answered, next.saturating_sub(now()).min(LONGEST));
        // Relaxed: as in `ask`.
        let asked = ASKED.load(Ordering::Relaxed);
        if asked != answered {
            answered = asked;
            stats::print(&stats::collect().of_this_process());
            heapmap::append(false);
        }
        if purge.is_due(now()) {
            heap::decay();
        }
        if figures.is_due(now()) {
            tell_figures(&mut figures);
        }
        if snapshot.is_due(now()) && (!collected || collector::listens()) {
            heapmap::append(false);
        }
    }
}

/// The signals of faults.
const FAULTS: [i32; 4] = [libc::SIGILL, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV];

/// Starts the thread in this process and in every child that is forked from it, if it has anything to do. One line says what
/// fails.
pub fn start_if_set() {
    let mut needed = conf::BACKGROUND_PURGE.get() != 0 || collector::listens();
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
        unsafe { c_library::handle_forks(None, None, Some(start_in_child)) };
    }
}

extern "C" fn start_in_child() {
    collector::tell(Event::Fork);
    start();
}

fn start() {
    // Relaxed: as in `ask`. Read here, so that no signal from now on is missed.
    let asked = ASKED.load(Ordering::Relaxed) as usize as *mut c_void;
    // The thread inherits what is held back.
    let before = os::Signals::ALL.hold();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the call fills the name of the thread; the thread needs nothing of this frame.
    let failed = unsafe {
        let error = libc::pthread_create(thread.as_mut_ptr(), ptr::null(), run, asked);
        if error == 0 {
            libc::pthread_detach(thread.assume_init());
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
