//! Sleeps, and waits for a word to change.

use super::call::system_call;
use core::ffi::c_int;
use core::ptr;
use core::sync::atomic::AtomicU32;

pub(super) fn timespec(milliseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    }
}

/// Sleeps for `milliseconds`; less if a signal comes.
pub fn sleep(milliseconds: u64) {
    let time = timespec(milliseconds);
    // SAFETY: reads the structure.
    let _ = unsafe { system_call(libc::SYS_nanosleep, [&raw const time as usize, 0]) };
}

/// Makes a `futex` call for a word of this process; without a `time` it waits as long as it takes.
fn futex(word: &AtomicU32, operation: c_int, value: u32, time: *const libc::timespec) {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    let arguments = [
        word.as_ptr() as usize,
        operation as usize,
        value as usize,
        time as usize,
    ];
    // SAFETY: the word outlives the call. The time, if there is one, is read.
    let _ = unsafe { system_call(libc::SYS_futex, arguments) };
}

/// Waits while `word` is `value`, for at most `milliseconds`, until `wake` is called for it. It may return early.
pub fn wait(word: &AtomicU32, value: u32, milliseconds: u64) {
    futex(word, libc::FUTEX_WAIT, value, &timespec(milliseconds));
}

/// Sleeps while `word` is `value`, until `wake` is called for it. It may return early.
pub fn sleep_while(word: &AtomicU32, value: u32) {
    futex(word, libc::FUTEX_WAIT, value, ptr::null());
}

/// Wakes a thread that waits for `word`. Safe in a signal handler.
pub fn wake(word: &AtomicU32) {
    futex(word, libc::FUTEX_WAKE, 1, ptr::null());
}
