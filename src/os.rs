//! System calls: the only place that maps, unmaps and purges memory or writes to a file descriptor.
//!
//! Every wrapper leaves `errno` as it found it: only the exported functions may set it, and only
//! when they fail. No wrapper allocates.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

/// 4 KiB pages are the smallest that exist on the systems this builds for.
pub const SMALLEST_PAGE: usize = 4096;

/// The system's page size in bytes: 4, 16 or 64 KiB. Read once.
#[inline]
pub fn page_size() -> usize {
    static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: every thread would store the same number, and nothing else hangs on it.
    match PAGE_SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: `getauxval` only reads the vector the kernel passed at start.
            let size = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
            let size = if size.is_power_of_two() {
                size
            } else {
                SMALLEST_PAGE
            };
            PAGE_SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// `size` rounded up to whole pages; `None` when that overflows.
#[inline]
pub fn round_to_pages(size: usize) -> Option<usize> {
    let mask = page_size() - 1;
    Some(size.checked_add(mask)? & !mask)
}

/// Whether the program runs with more rights than its user: the environment must not be trusted.
pub fn is_privileged() -> bool {
    // SAFETY: as above.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn errno_location() -> *mut i32 {
    // SAFETY: returns the calling thread's own location, valid as long as the thread.
    unsafe { libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub fn set_errno(value: i32) {
    // SAFETY: the location is valid and belongs to this thread.
    unsafe { *errno_location() = value }
}

/// Runs `call` and puts `errno` back as it was.
fn keeping_errno<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: the location is valid and belongs to this thread.
    let before = unsafe { *errno_location() };
    let result = call();
    set_errno(before);
    result
}

/// Nanoseconds since some start, to a few milliseconds: the cheapest clock there is. 0 where it fails.
pub fn coarse_clock() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the structure.
    keeping_errno(|| unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) });
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sleeps for so long, or somewhat less.
pub fn sleep(milliseconds: u64) {
    let time = libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    };
    // SAFETY: reads the structure.
    keeping_errno(|| unsafe { libc::nanosleep(&time, ptr::null_mut()) });
}

/// Gives the processor to another thread that can run.
pub fn give_way() {
    // SAFETY: no arguments, no memory.
    keeping_errno(|| unsafe { libc::sched_yield() });
}

/// Maps `size` bytes of zeroed memory, near `hint` if that is free (null: anywhere). `None` when the system refuses.
pub fn map(hint: *mut u8, size: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new private mapping without MAP_FIXED replaces nothing that exists.
    let address = keeping_errno(|| unsafe {
        libc::mmap(
            hint.cast(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    });
    if address == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(address.cast())
}

/// Maps `size` bytes at a multiple of `align` (a power of two, at least a page).
pub fn map_aligned(hint: *mut u8, size: usize, align: usize) -> Option<NonNull<u8>> {
    let first = map(hint, size)?;
    if first.as_ptr() as usize & (align - 1) == 0 {
        return Some(first);
    }
    // SAFETY: just mapped here, not handed to anyone.
    unsafe { unmap(first.as_ptr(), size) };
    let whole = map(ptr::null_mut(), size.checked_add(align - page_size())?)?.as_ptr();
    let before = (whole as usize).wrapping_neg() & (align - 1);
    let behind = align - page_size() - before;
    let start = whole.wrapping_add(before);
    // A refusal leaves untouched pages mapped: address space, not memory, and it does not happen at the
    // edges of a mapping of our own unless the system is out of both.
    if before > 0 {
        // SAFETY: the pages in front of the aligned part, inside the mapping just made.
        unsafe { unmap(whole, before) };
    }
    if behind > 0 {
        // SAFETY: the pages behind the aligned part, inside the mapping just made.
        unsafe { unmap(start.wrapping_add(size), behind) };
    }
    NonNull::new(start)
}

/// Unmaps. False when the system refuses (`vm.max_map_count`: the hole would split a mapping):
/// the memory is then still mapped and unchanged.
///
/// # Safety
/// The range must be mapped by this file and in nobody's use.
#[must_use = "a refusal leaves the memory mapped"]
pub unsafe fn try_unmap(address: *mut u8, size: usize) -> bool {
    // SAFETY: the caller owns the range.
    keeping_errno(|| unsafe { libc::munmap(address.cast(), size) == 0 })
}

/// Unmaps a range at the edge of its mapping.
///
/// # Safety
/// As `try_unmap`.
unsafe fn unmap(address: *mut u8, size: usize) {
    // SAFETY: passed on from the caller.
    let _ = unsafe { try_unmap(address, size) };
}

/// Gives the pages back and keeps the addresses: they read as zeroes from now on. False when the
/// system refuses (locked memory): the contents are then unchanged.
///
/// # Safety
/// The range must be whole pages mapped by this file, and in nobody's use.
pub unsafe fn purge(address: *mut u8, size: usize) -> bool {
    debug_assert!(address as usize & (page_size() - 1) == 0 && size & (page_size() - 1) == 0);
    // SAFETY: the caller owns the range.
    keeping_errno(|| unsafe { libc::madvise(address.cast(), size, libc::MADV_DONTNEED) == 0 })
}

/// Asks the system to back a range by small pages only. It is a hint: a kernel without huge pages refuses, to no harm.
pub fn no_huge_pages(address: *mut u8, size: usize) {
    // SAFETY: changes no contents.
    keeping_errno(|| unsafe { libc::madvise(address.cast(), size, libc::MADV_NOHUGEPAGE) });
}

/// Resizes a mapping, moving it where it must; the pages themselves are moved, not copied.
/// `None` when the system refuses: the mapping is then unchanged.
///
/// # Safety
/// The range must be one whole mapping made by this file and owned by the caller.
pub unsafe fn remap(address: *mut u8, old_size: usize, new_size: usize) -> Option<NonNull<u8>> {
    // SAFETY: the caller owns the range; MREMAP_MAYMOVE never lands on another mapping.
    let moved = keeping_errno(|| unsafe {
        libc::mremap(address.cast(), old_size, new_size, libc::MREMAP_MAYMOVE)
    });
    if moved == libc::MAP_FAILED {
        return None;
    }
    NonNull::new(moved.cast())
}

/// Writes all of `bytes` to a file descriptor, as far as it takes them.
pub fn write_all(descriptor: i32, mut bytes: &[u8]) {
    keeping_errno(|| {
        while !bytes.is_empty() {
            // SAFETY: the slice is readable for its length.
            let written =
                unsafe { libc::write(descriptor, bytes.as_ptr().cast::<c_void>(), bytes.len()) };
            if written > 0 {
                bytes = &bytes[(written as usize).min(bytes.len())..];
            // SAFETY: the location belongs to this thread.
            } else if written == 0 || unsafe { *errno_location() } != libc::EINTR {
                return;
            }
        }
    })
}

/// Ends the process by SIGABRT.
pub fn abort() -> ! {
    // SAFETY: takes nothing and does not return.
    unsafe { libc::abort() }
}
