//! The system's sizes: of pages, and of names of sockets.

use super::process::told_by_kernel;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The longest name of a socket that is no file, in bytes.
pub const SOCKET_NAME: usize = 107;

/// 4 KiB pages are the smallest that exist on the systems this builds for.
pub const SMALLEST_PAGE: usize = 4096;

static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// The system's page size in bytes: 4, 16 or 64 KiB. Read once.
#[inline]
pub fn page_size() -> usize {
    // Relaxed: every thread would store the same number, and nothing else hangs on it.
    match PAGE_SIZE.load(Ordering::Relaxed) {
        0 => read_page_size(),
        size => size,
    }
}

#[cold]
#[inline(never)]
fn read_page_size() -> usize {
    let size = told_by_kernel(libc::AT_PAGESZ);
    let size = match size.is_power_of_two() {
        true => size,
        false => SMALLEST_PAGE,
    };
    PAGE_SIZE.store(size, Ordering::Relaxed);
    size
}

/// `size` rounded up to whole pages; `None` when that overflows.
#[inline]
pub fn round_to_pages(size: usize) -> Option<usize> {
    let mask = page_size() - 1;
    Some(size.checked_add(mask)? & !mask)
}
