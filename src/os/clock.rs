//! Clocks without a system call, and without the C library's `clock_gettime`: the program may have replaced that.
//!
//! The kernel maps a small library of its own, the vDSO, into every process. Its function for clocks is looked up by hand, once. Where
//! there is none (under some tools, or on another kind of processor) the system call serves. What must hold: nothing is read beyond the
//! tables of that library, and nothing that their sizes do not cover.

use super::call::system_call;
use super::process::told_by_kernel;
use core::ffi::c_int;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym, timespec};

type Function = unsafe extern "C" fn(libc::clockid_t, *mut timespec) -> c_int;

/// What the function is called there.
#[cfg(target_arch = "aarch64")]
const NAME: &[u8] = b"__kernel_clock_gettime\0";
#[cfg(not(target_arch = "aarch64"))]
const NAME: &[u8] = b"__vdso_clock_gettime\0";

/// Entries of the dynamic section that are read.
const END: i64 = 0;
const NAMES: i64 = 5;
const SYMBOLS: i64 = 6;
const SIZE_OF_NAMES: i64 = 10;

/// One of them.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

/// Nanoseconds since some start, to a few milliseconds: the cheapest clock there is.
pub fn coarse_clock() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds since some start, as exactly as the system knows.
pub fn exact_clock() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970.
pub fn time_of_day() -> u64 {
    read(libc::CLOCK_REALTIME) / 1_000_000
}

/// Nanoseconds that a clock shows. 0 where it fails.
#[inline(never)]
fn read(id: libc::clockid_t) -> u64 {
    let mut time = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let place = &raw mut time;
    match function() {
        // SAFETY: the kernel's function, which writes the structure.
        Some(function) => unsafe {
            function(id, place);
        },
        None => {
            // SAFETY: writes the structure.
            let _ = unsafe { system_call(libc::SYS_clock_gettime, [id as usize, place as usize]) };
        }
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The kernel's function, looked up at the first call.
#[inline]
fn function() -> Option<Function> {
    /// For one that was looked for and is not there: no function has this address.
    const NONE: usize = 1;
    static FOUND: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: every thread would store the same address, and what is there was there before the process.
    let found = match FOUND.load(Ordering::Relaxed) {
        0 => {
            let found = look_up().unwrap_or(NONE);
            FOUND.store(found, Ordering::Relaxed);
            found
        }
        found => found,
    };
    // SAFETY: the address of the function of this name, which has this type in every kernel.
    (found != NONE).then(|| unsafe { mem::transmute::<usize, Function>(found) })
}

/// The address of the function in the kernel's library.
#[cold]
#[inline(never)]
fn look_up() -> Option<usize> {
    let base = told_by_kernel(libc::AT_SYSINFO_EHDR);
    if base == 0 {
        return None;
    }
    // SAFETY: the kernel's library is mapped there as it is in its file, and never unmapped. It is well formed: the dynamic linker relies on it.
    unsafe {
        let header = &*(base as *const Elf64_Ehdr);
        let first = (base + header.e_phoff as usize) as *const Elf64_Phdr;
        let segments = core::slice::from_raw_parts(first, header.e_phnum as usize);
        let of_kind = |kind| segments.iter().find(move |segment| segment.p_type == kind);
        let loaded = of_kind(libc::PT_LOAD)?;
        // Addresses in its tables are as they were linked.
        let shift = (base + loaded.p_offset as usize).wrapping_sub(loaded.p_vaddr as usize);
        let mut entry = (base + of_kind(libc::PT_DYNAMIC)?.p_offset as usize) as *const Dynamic;
        let (mut names, mut symbols, mut size_of_names) = (0, 0, 0);
        while (*entry).tag != END {
            let value = (*entry).value;
            match (*entry).tag {
                NAMES => names = shift.wrapping_add(value),
                SYMBOLS => symbols = shift.wrapping_add(value),
                SIZE_OF_NAMES => size_of_names = value,
                _ => {}
            }
            entry = entry.add(1);
        }
        // No entry tells how many symbols there are. Linkers put the names behind them, so that there are no more than fit in between;
        // what else lies there has hardly a name that is this one.
        let count = names.saturating_sub(symbols) / size_of::<Elf64_Sym>();
        let symbols = core::slice::from_raw_parts(ptr::without_provenance(symbols), count);
        let names = core::slice::from_raw_parts(ptr::without_provenance(names), size_of_names);
        find(symbols, names).map(|value| shift.wrapping_add(value))
    }
}

/// The value of the symbol of the function, where it is defined.
fn find(symbols: &[Elf64_Sym], names: &[u8]) -> Option<usize> {
    let is_it = |symbol: &&Elf64_Sym| {
        let name = names.get(symbol.st_name as usize..);
        symbol.st_shndx != 0 && name.is_some_and(|name| name.starts_with(NAME))
    };
    symbols
        .iter()
        .find(is_it)
        .map(|symbol| symbol.st_value as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn the_kernels_function_is_found_and_goes_on() {
        assert!(look_up().is_some());
        let before = read(libc::CLOCK_MONOTONIC);
        std::thread::sleep(std::time::Duration::from_millis(2));
        let passed = read(libc::CLOCK_MONOTONIC) - before;
        assert!((2_000_000..2_000_000_000).contains(&passed), "{passed}");
    }

    /// As where there is no such library: under an emulator.
    #[test]
    fn what_the_kernel_did_not_tell_is_zero_and_sets_no_errno() {
        crate::os::set_errno(4321);
        assert_eq!(told_by_kernel(1 << 20), 0);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(4321));
    }

    #[test]
    fn a_clock_that_is_not_there_shows_nothing() {
        assert_eq!(read(1 << 20), 0);
    }
}
