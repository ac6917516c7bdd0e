//! Maps, unmaps, resizes and purges memory.
//!
//! What must hold: a wrapper touches only what its caller owns, and where the system refuses, the memory is as it was.

use super::call::system_call;
use super::sizes::page_size;
use core::ffi::c_int;
use core::ptr::{self, NonNull};

/// Maps `size` bytes of zeroed memory for the library's own use, near `hint` if that is free (null: anywhere). `None` when the system
/// refuses. It counts the bytes against its limit only where `vm.overcommit_memory` is 2.
pub fn map(hint: *mut u8, size: usize) -> Option<NonNull<u8>> {
    map_with(hint, size, libc::MAP_NORESERVE)
}

#[inline(never)]
fn map_with(hint: *mut u8, size: usize, more_flags: c_int) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | more_flags;
    const NO_FILE: usize = usize::MAX;
    let arguments = [
        hint as usize,
        size,
        protection as usize,
        flags as usize,
        NO_FILE,
        0,
    ];
    // SAFETY: a new private mapping without MAP_FIXED replaces nothing that exists.
    let address = unsafe { system_call(libc::SYS_mmap, arguments) }.ok()?;
    NonNull::new(address as *mut u8)
}

/// Maps `size` bytes for the library's own use at a multiple of `align` (a power of two, at least a page).
pub fn map_aligned(hint: *mut u8, size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned_with(hint, size, align, libc::MAP_NORESERVE)
}

/// The same for a block of the program's. The system refuses more than it could ever keep, as its policy says (`vm.overcommit_memory`):
/// better now than by ending the program later.
pub fn map_block(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned_with(ptr::null_mut(), size, align, 0)
}

/// Whether the system would map a block of `size` bytes.
pub fn could_map_block(size: usize) -> bool {
    // SAFETY: just mapped here, not handed to anyone.
    let goes = |address: NonNull<u8>| unsafe { try_unmap(address.as_ptr(), size) };
    size == 0 || map_with(ptr::null_mut(), size, 0).is_some_and(goes)
}

/// Maps `size` bytes at the multiple of `align` below an address that was free a moment ago, or the one below that, for when there is no
/// room for more than that (a limit of addresses, or of locked memory).
#[cold]
fn map_near(address: usize, size: usize, align: usize, more_flags: c_int) -> Option<NonNull<u8>> {
    let below = address & !(align - 1);
    for hint in [below, below.wrapping_sub(align)] {
        let mapped = map_with(hint as *mut u8, size, more_flags)?;
        if mapped.as_ptr() as usize & (align - 1) == 0 {
            return Some(mapped);
        }
        // SAFETY: just mapped here, not handed to anyone.
        unsafe { unmap(mapped.as_ptr(), size) };
    }
    None
}

fn map_aligned_with(
    hint: *mut u8,
    size: usize,
    align: usize,
    more_flags: c_int,
) -> Option<NonNull<u8>> {
    let first = map_with(hint, size, more_flags)?;
    if first.as_ptr() as usize & (align - 1) == 0 {
        return Some(first);
    }
    // SAFETY: just mapped here, not handed to anyone.
    unsafe { unmap(first.as_ptr(), size) };
    let around = size.checked_add(align - page_size())?;
    let Some(whole) = map_with(ptr::null_mut(), around, more_flags) else {
        return map_near(first.as_ptr() as usize, size, align, more_flags);
    };
    let whole = whole.as_ptr();
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
#[inline(never)]
pub unsafe fn try_unmap(address: *mut u8, size: usize) -> bool {
    // SAFETY: the caller owns the range.
    unsafe { system_call(libc::SYS_munmap, [address as usize, size]) }.is_ok()
}

/// Unmaps a range at the edge of its mapping.
///
/// # Safety
/// As `try_unmap`.
unsafe fn unmap(address: *mut u8, size: usize) {
    // SAFETY: passed on from the caller.
    let _ = unsafe { try_unmap(address, size) };
}

/// Tells the system what is to become of a range. False when it refuses.
///
/// # Safety
/// As what is told.
unsafe fn advise(address: *mut u8, size: usize, advice: c_int) -> bool {
    let arguments = [address as usize, size, advice as usize];
    // SAFETY: passed on from the caller.
    unsafe { system_call(libc::SYS_madvise, arguments) }.is_ok()
}

/// Gives the pages back and keeps the addresses: they read as zeroes from now on. False when the
/// system refuses (locked memory): the contents are then unchanged.
///
/// # Safety
/// The range must be whole pages mapped by this file, and in nobody's use.
#[inline(never)]
pub unsafe fn purge(address: *mut u8, size: usize) -> bool {
    debug_assert!(address as usize & (page_size() - 1) == 0 && size & (page_size() - 1) == 0);
    // SAFETY: the caller owns the range.
    unsafe { advise(address, size, libc::MADV_DONTNEED) }
}

/// Lets the system take the pages of a range at any moment until they are written again. Until it does they stay as they are. False
/// when it refuses (locked memory, a kernel older than Linux 4.5): nothing has changed then.
///
/// # Safety
/// As `purge`.
#[inline(never)]
pub unsafe fn free_lazily(address: *mut u8, size: usize) -> bool {
    // SAFETY: the caller owns the range.
    unsafe { advise(address, size, libc::MADV_FREE) }
}

/// Asks the system to back a range by small pages only. It is a hint: a kernel without huge pages refuses, to no harm.
pub fn no_huge_pages(address: *mut u8, size: usize) {
    // SAFETY: changes no contents.
    let _ = unsafe { advise(address, size, libc::MADV_NOHUGEPAGE) };
}

/// Resizes a mapping, moving it where it must; the pages themselves are moved, not copied.
/// The errno when the system refuses, which leaves the mapping unchanged: `ENOMEM` when it has no memory or no more mappings,
/// `EFAULT` when it sees several mappings in the range.
///
/// # Safety
/// The range must be mapped by this file and owned by the caller.
pub unsafe fn remap(
    address: *mut u8,
    old_size: usize,
    new_size: usize,
) -> Result<NonNull<u8>, i32> {
    let arguments = [
        address as usize,
        old_size,
        new_size,
        libc::MREMAP_MAYMOVE as usize,
    ];
    // SAFETY: the caller owns the range; MREMAP_MAYMOVE never lands on another mapping.
    let moved = unsafe { system_call(libc::SYS_mremap, arguments) }?;
    NonNull::new(moved as *mut u8).ok_or(libc::ENOMEM)
}

/// Whether the word at an address can be read: its page may be protected, or not there. The call is one that a filter of system calls
/// knows. It would move the threads that wait for the word, of which there are none, but reads the word first. True where there is no
/// such call.
#[inline(never)]
pub fn is_readable(address: *const usize) -> bool {
    let operation = (libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as usize;
    let word = address as usize;
    // SAFETY: the system checks what it reads, and wakes and moves nobody.
    let read = unsafe { system_call(libc::SYS_futex, [word, operation, 0, 0, word, 0]) };
    read != Err(libc::EFAULT)
}
