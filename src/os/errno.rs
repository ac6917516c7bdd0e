//! The calling thread's `errno`.

fn errno_location() -> *mut i32 {
    // SAFETY: returns the calling thread's own location, valid as long as the thread.
    unsafe { libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub fn set_errno(value: i32) {
    // SAFETY: the location is valid and belongs to this thread.
    unsafe { *errno_location() = value }
}

/// Makes a call of the C library's that sets `errno`, and leaves that as it was.
pub fn keep_errno<R>(call: impl FnOnce() -> R) -> R {
    // SAFETY: the location is valid and belongs to this thread.
    let before = unsafe { *errno_location() };
    let result = call();
    set_errno(before);
    result
}
