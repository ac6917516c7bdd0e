//! Signals: those that a thread holds back, and a handler for one.

use super::call::system_call;
use super::errno::keep_errno;
use core::ffi::c_int;
use core::ptr;

/// Signals, a bit each.
#[derive(Clone, Copy)]
pub struct Signals(u64);

impl Signals {
    const fn of(signal: c_int) -> u64 {
        1 << (signal - 1)
    }

    /// Those that a write can send, for a file that is too long and for a pipe that nobody reads.
    pub const OF_WRITES: Signals = Signals(Signals::of(libc::SIGXFSZ) | Signals::of(libc::SIGPIPE));

    /// All but the two that the C library keeps for itself: by them it changes the user of every thread, and cancels one.
    pub const ALL: Signals = Signals(!(Signals::of(32) | Signals::of(33)));

    /// Changes which signals the calling thread holds back, and returns which it held back before.
    fn change(self, how: c_int) -> Signals {
        let mut before = 0u64;
        let arguments = [
            how as usize,
            &raw const self.0 as usize,
            &raw mut before as usize,
            size_of::<u64>(),
        ];
        // SAFETY: reads one set and writes the other.
        let _ = unsafe { system_call(libc::SYS_rt_sigprocmask, arguments) };
        Signals(before)
    }

    /// Holds these back in the calling thread, beside those that it does. Returns which those are.
    pub fn hold(self) -> Signals {
        self.change(libc::SIG_BLOCK)
    }

    /// Holds back these in the calling thread, and no others.
    pub fn hold_only(self) {
        self.change(libc::SIG_SETMASK);
    }
}

/// Lets a signal call `handler`, on the alternate stack of the thread that gets it, if there is one; system calls that it
/// interrupts go on. False when there is no such signal, or it cannot be caught.
pub fn handle_signal(signal: usize, handler: extern "C" fn(c_int)) -> bool {
    // SAFETY: a zeroed action is one with an empty mask; the handler is never unloaded and does what a handler may.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        keep_errno(|| libc::sigaction(signal as c_int, &action, ptr::null_mut())) == 0
    }
}
