//! System calls: the only place that maps, unmaps and purges memory, and that opens, reads and writes files.
//!
//! - `call`: how a call is made, past the C library's functions, which the program may have put its own in the place of;
//! - `clock`: clocks, without a call;
//! - `socket`: a connection to another program.
//!
//! Every wrapper leaves `errno` as it found it: only the exported functions may set it, and only
//! when they fail. No wrapper allocates.
//!
//! Of the C library's functions that the library does use, some allocate, or run functions of the program: `pthread_key_create`,
//! `pthread_setspecific`, `pthread_atfork`, `pthread_create`, `sigaction`, `fwrite` and those of the dynamic linker. What must hold: none is called under a lock of the
//! library, nor before what the call would need to allocate is in its place.

mod call;
mod clock;
#[cfg(not(loom))]
pub mod socket;

use call::{system_call, system_call_of_six};
use core::ffi::{CStr, c_int, c_long};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Bytes that the name of a socket may have which is no file.
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
    // SAFETY: `getauxval` only reads the vector the kernel passed at start.
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize;
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

/// Nanoseconds since some start, to a few milliseconds: the cheapest clock there is.
pub fn coarse_clock() -> u64 {
    clock::read(libc::CLOCK_MONOTONIC_COARSE)
}

/// Nanoseconds since some start, as exactly as the system knows.
pub fn exact_clock() -> u64 {
    clock::read(libc::CLOCK_MONOTONIC)
}

fn timespec(milliseconds: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    }
}

/// Sleeps for so long, or somewhat less.
pub fn sleep(milliseconds: u64) {
    let time = timespec(milliseconds);
    // SAFETY: reads the structure.
    let _ = unsafe { system_call(libc::SYS_nanosleep, [&raw const time as usize, 0, 0, 0]) };
}

/// Maps `size` bytes of zeroed memory for the library's own use, near `hint` if that is free (null: anywhere). `None` when the system
/// refuses. Unless it counts all memory (`vm.overcommit_memory` is 2) it does not ask itself whether there can be as much.
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
    let address = unsafe { system_call_of_six(libc::SYS_mmap, arguments) }.ok()?;
    NonNull::new(address as *mut u8)
}

/// Maps `size` bytes for the library's own use at a multiple of `align` (a power of two, at least a page).
pub fn map_aligned(hint: *mut u8, size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned_with(hint, size, align, libc::MAP_NORESERVE)
}

/// The same for a block of the program's. The system refuses what it never could keep: that is its policy (`vm.overcommit_memory`), so that the
/// program learns of it now, and not by its end.
pub fn map_block(size: usize, align: usize) -> Option<NonNull<u8>> {
    map_aligned_with(ptr::null_mut(), size, align, 0)
}

/// Whether the system would map a block of so many bytes.
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
    unsafe { system_call(libc::SYS_munmap, [address as usize, size, 0, 0]) }.is_ok()
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
    let arguments = [address as usize, size, advice as usize, 0];
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

/// Writes all of `bytes` to a file descriptor, as far as it takes them. Returns 0, or the errno of the failure.
#[inline(never)]
pub fn write_all(descriptor: i32, mut bytes: &[u8]) -> i32 {
    while !bytes.is_empty() {
        let arguments = [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0];
        // SAFETY: the slice is readable for its length.
        match unsafe { system_call(libc::SYS_write, arguments) } {
            Ok(0) => return libc::EIO,
            Ok(written) => bytes = bytes.get(written..).unwrap_or(&[]),
            Err(libc::EINTR) => {}
            Err(error) => return error,
        }
    }
    0
}

/// An open file.
struct File(usize);

/// Below the 1,024 that a process may have by default, and above what most have at a time.
const FAR_DESCRIPTOR: usize = 900;

impl File {
    /// Opens a file, or makes it for its owner alone. Returns the errno of a failure.
    fn open(path: &CStr, flags: i32) -> Result<File, i32> {
        let arguments = [
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            (flags | libc::O_CLOEXEC) as usize,
            0o600,
        ];
        // SAFETY: the path is a C string.
        let file = unsafe { system_call(libc::SYS_openat, arguments) }.map(File)?;
        Ok(file.out_of_the_way())
    }

    /// Takes a number that the program does not come by: not that of a standard stream which it has closed, nor one that it closes,
    /// with all others, as a daemon does, and then has for a file of its own.
    fn out_of_the_way(self) -> File {
        let from = |least| self.call(libc::SYS_fcntl, libc::F_DUPFD_CLOEXEC as usize, least);
        match from(FAR_DESCRIPTOR).or_else(|_| from(libc::STDERR_FILENO as usize + 1)) {
            Ok(number) => File(number),
            Err(_) => self,
        }
    }

    /// Makes a call whose first argument is the file, and the others are numbers.
    fn call(&self, number: c_long, second: usize, third: usize) -> Result<usize, i32> {
        // SAFETY: the callers name calls that touch no memory.
        unsafe { system_call(number, [self.0, second, third, 0]) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = self.call(libc::SYS_close, 0, 0);
    }
}

/// A file that is appended to, for one process at a time.
pub struct AppendedFile {
    file: File,
    /// Bytes that it had when it was opened; `None` when others may have added some since.
    size: Option<usize>,
}

/// Milliseconds that a process waits for another to be done with a file: that one may have been stopped in the middle.
const PATIENCE: u32 = 5000;

impl AppendedFile {
    /// Opens the file, or makes it for its owner alone, and waits, though not for ever, until no other process has it open like
    /// this. A path that ends in a symbolic link is refused, and so is a pipe that nobody reads. Returns the errno of a failure.
    pub fn open(path: &CStr) -> Result<Self, i32> {
        const HOW: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
        let file = File::open(path, HOW | libc::O_NOCTTY | libc::O_NONBLOCK)?;
        // Only `open` was not to wait.
        let flags = (libc::F_SETFL as usize, libc::O_APPEND as usize);
        let _ = file.call(libc::SYS_fcntl, flags.0, flags.1);
        let mut size = None;
        for _ in 0..PATIENCE {
            match file.call(libc::SYS_flock, (libc::LOCK_EX | libc::LOCK_NB) as usize, 0) {
                Err(libc::EWOULDBLOCK) => sleep(1),
                Err(_) => break,
                Ok(_) => {
                    size = file.call(libc::SYS_lseek, 0, libc::SEEK_END as usize).ok();
                    break;
                }
            }
        }
        if size.is_some_and(|size| ends_inside_a_line(path, size)) {
            // Whoever wrote there was killed in the middle.
            write_all(file.0 as i32, b"\n");
        }
        Ok(AppendedFile { file, size })
    }

    pub fn descriptor(&self) -> i32 {
        self.file.0 as i32
    }

    /// Ends it; after a failure as it was when it was opened.
    pub fn close(self, failed: bool) {
        if let (true, Some(size)) = (failed, self.size) {
            let _ = self.file.call(libc::SYS_ftruncate, size, 0);
        }
        // A child that was forked meanwhile has the file open too, and with it the lock.
        let _ = self.file.call(libc::SYS_flock, libc::LOCK_UN as usize, 0);
    }
}

/// Why a file cannot be appended to, as far as that can be told while it is neither opened nor made: an errno, or 0.
#[inline(never)]
pub fn why_not_written(path: &CStr) -> i32 {
    let (mut byte, here) = (0u8, libc::AT_FDCWD as usize);
    let name = path.as_ptr() as usize;
    let may = |name: usize, how: i32| {
        // SAFETY: the callers name C strings.
        unsafe { system_call(libc::SYS_faccessat, [here, name, how as usize, 0]) }
    };
    // SAFETY: reads the path, and writes a byte.
    let link = unsafe {
        system_call(
            libc::SYS_readlinkat,
            [here, name, &raw mut byte as usize, 1],
        )
    };
    if link.is_ok() {
        return libc::ELOOP;
    }
    if File::open(path, libc::O_PATH | libc::O_DIRECTORY).is_ok() {
        return libc::EISDIR;
    }
    match may(name, libc::W_OK) {
        Ok(_) => 0,
        Err(libc::ENOENT) => {
            let mut folder = [0u8; libc::PATH_MAX as usize];
            let bytes = path.to_bytes();
            let end = bytes.iter().rposition(|byte| *byte == b'/');
            // "." for a path without a folder, "/" for a file in the root.
            let start = match end {
                None => &b"."[..],
                Some(end) => bytes.get(..end.max(1)).unwrap_or(&[]),
            };
            if let Some(place) = folder.get_mut(..start.len()) {
                place.copy_from_slice(start);
            }
            match may(folder.as_ptr() as usize, libc::W_OK | libc::X_OK) {
                Ok(_) => 0,
                Err(error) => error,
            }
        }
        Err(error) => error,
    }
}

/// Whether the byte in front of `end` is there and does not end a line.
fn ends_inside_a_line(path: &CStr, end: usize) -> bool {
    let mut byte = b'\n';
    // Should the path lead to something else by now, it must not be waited for.
    const HOW: i32 = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
    if let (Some(place), Ok(file)) = (end.checked_sub(1), File::open(path, HOW)) {
        let arguments = [file.0, &raw mut byte as usize, 1, place];
        // SAFETY: the byte is writable.
        let _ = unsafe { system_call(libc::SYS_pread64, arguments) };
    }
    byte != b'\n'
}

/// Reads the start of a file into `buffer`. Returns what there is of it: nothing when it cannot be read.
#[inline(never)]
pub fn read_start<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let mut used = 0;
    if let Ok(file) = File::open(path, libc::O_RDONLY) {
        while let Some(rest @ [_, ..]) = buffer.get_mut(used..) {
            let arguments = [file.0, rest.as_mut_ptr() as usize, rest.len(), 0];
            // SAFETY: the rest of the buffer is writable for its length.
            match unsafe { system_call(libc::SYS_read, arguments) } {
                Ok(0) | Err(_) => break,
                Ok(read) => used += read,
            }
        }
    }
    buffer.get(..used).unwrap_or(&[])
}

/// Bytes of the whole process that are resident. 0 where the system does not tell.
pub fn resident_bytes() -> usize {
    let mut buffer = [0; 64];
    let (mut field, mut pages) = (0, 0);
    for byte in read_start(c"/proc/self/statm", &mut buffer) {
        match byte {
            b'0'..=b'9' if field == 1 => pages = pages * 10 + (byte - b'0') as usize,
            b' ' => field += 1,
            _ => {}
        }
    }
    pages * page_size()
}

/// The most bytes of the whole process that were resident at a time since its program began. 0 where the system does not tell.
#[inline(never)]
pub fn most_resident_bytes() -> usize {
    let mut buffer = [0; 2048];
    let told = read_start(c"/proc/self/status", &mut buffer);
    let name = b"VmHWM:";
    let Some(at) = told.windows(name.len()).position(|found| found == name) else {
        return 0;
    };
    let mut kibibytes = 0;
    for byte in told.iter().skip(at + name.len()) {
        match byte {
            b'0'..=b'9' => kibibytes = kibibytes * 10 + (*byte - b'0') as usize,
            b'\n' => break,
            _ => {}
        }
    }
    kibibytes * 1024
}

/// Tells of each page of a range whether it is resident: bit 0 of a byte. False, and nothing is told, if not all of it is mapped.
pub fn resident_pages(address: usize, told: &mut [u8]) -> bool {
    let size = told.len() * page_size();
    let arguments = [address, size, told.as_mut_ptr() as usize, 0];
    // SAFETY: reads the page tables, and writes a byte a page.
    unsafe { system_call(libc::SYS_mincore, arguments) }.is_ok()
}

/// Whether the word at an address can be read: the page may be protected or not there. By a call that a filter of system calls knows: it
/// would move those who wait for the word, of whom there are none, and reads it first. Where there is no such call: true.
#[inline(never)]
pub fn is_readable(address: *const usize) -> bool {
    let operation = (libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as usize;
    let word = address as usize;
    // SAFETY: the system checks what it reads, and wakes and moves nobody.
    let read = unsafe { system_call_of_six(libc::SYS_futex, [word, operation, 0, 0, word, 0]) };
    read != Err(libc::EFAULT)
}

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

/// The number of the process.
pub fn process_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { system_call(libc::SYS_getpid, [0; 4]) }.unwrap_or(0) as u32
}

/// The number of the process that made this one.
pub fn parent_id() -> u32 {
    // SAFETY: as above.
    unsafe { system_call(libc::SYS_getppid, [0; 4]) }.unwrap_or(0) as u32
}

/// Milliseconds since 1970.
pub fn time_of_day() -> u64 {
    clock::read(libc::CLOCK_REALTIME) / 1_000_000
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
    let _ = unsafe { system_call(libc::SYS_futex, [word.as_ptr() as usize, operation, 1, 0]) };
}

/// Lets a signal call `handler`, on the alternate stack of the thread that gets it, if there is one; system calls that it
/// interrupts go on. False when there is no such signal, or it cannot be caught.
pub fn handle_signal(signal: usize, handler: extern "C" fn(c_int)) -> bool {
    // SAFETY: a zeroed action is one with an empty mask; the handler is never unloaded and does what a handler may. The errno's location
    // is this thread's own.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        let before = *errno_location();
        let handled = libc::sigaction(signal as c_int, &action, ptr::null_mut()) == 0;
        set_errno(before);
        handled
    }
}

/// Lets `handler` be called when the program ends in an orderly way, with its exit status: after all that is registered later. False where the C
/// library has no such thing.
pub fn at_exit(handler: extern "C" fn(c_int, *mut libc::c_void)) -> bool {
    type Handler = extern "C" fn(c_int, *mut libc::c_void);
    type OnExit = unsafe extern "C" fn(Handler, *mut libc::c_void) -> c_int;
    // Looked for here: as a name of the library it would cost every process a search for it when it starts.
    // SAFETY: the name is a C string.
    let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"on_exit".as_ptr()) };
    if function.is_null() {
        return false;
    }
    // SAFETY: this is the type of `on_exit`; the handler is never unloaded.
    unsafe {
        core::mem::transmute::<*mut libc::c_void, OnExit>(function)(handler, ptr::null_mut()) == 0
    }
}

/// Ends the process by SIGABRT.
pub fn abort() -> ! {
    // SAFETY: takes nothing and does not return.
    unsafe { libc::abort() }
}
