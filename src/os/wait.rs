//! Sleeps, and waits for a word to change.

use super::call::system_call;
use core::sync::atomic::AtomicU32;

pub(super) fn timespec(milliseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    }
}

/// Sleeps for so many milliseconds; less if a signal comes.
pub fn sleep(milliseconds: u64) {
    let time = timespec(milliseconds);
    // SAFETY: reads the structure.
    let _ = unsafe { system_call(libc::SYS_nanosleep, [&raw const time as usize, 0]) };
}

/// Waits while `word` is `value`, for so many milliseconds at most, until `wake` is called for it. It may return early.
pub fn wait(word: &AtomicU32, value: u32, milliseconds: u64) {
    let time = timespec(milliseconds);
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let arguments = [
        word.as_ptr() as usize,
        operation,
        value as usize,
        &raw const time as usize,
    ];
    // SAFETY: the word outlives the call, and the time is read.
    let _ = unsafe { system_call(libc::SYS_futex, arguments) };
}

/// Sleeps while `word` is `value`, until `wake` is called for it. It may return early.
pub fn sleep_while(word: &AtomicU32, value: u32) {
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    const NO_LIMIT: usize = 0;
    let arguments = [word.as_ptr() as usize, operation, value as usize, NO_LIMIT];
    // SAFETY: the word outlives the call.
    let _ = unsafe { system_call(libc::SYS_futex, arguments) };
}

/// Wakes a thread that waits for `word`. Safe in a signal handler.
pub fn wake(word: &AtomicU32) {
    let operation = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the word is only an address here.
    let _ = unsafe { system_call(libc::SYS_futex, [word.as_ptr() as usize, operation, 1]) };
}
