//! Opens, reads and writes files.
//!
//! What must hold: a descriptor of the library's is out of the program's way, and no program that is started gets it.

use super::call::system_call;
use super::wait::sleep;
use core::ffi::{CStr, c_long};

/// Writes all of `bytes` to a file descriptor, as far as it takes them. Returns 0, or the errno of the failure.
#[inline(never)]
pub fn write_all(descriptor: i32, mut bytes: &[u8]) -> i32 {
    while !bytes.is_empty() {
        let arguments = [descriptor as usize, bytes.as_ptr() as usize, bytes.len()];
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

/// An open file, or a socket.
pub(super) struct File(usize);

/// Below the 1,024 that a process may have by default, and above what most have at a time.
const FAR_DESCRIPTOR: usize = 900;

impl File {
    /// What a call has just opened.
    pub(super) fn from_number(number: usize) -> File {
        File(number)
    }

    pub(super) fn number(&self) -> usize {
        self.0
    }

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
    pub(super) fn out_of_the_way(self) -> File {
        let from = |least| self.call(libc::SYS_fcntl, libc::F_DUPFD_CLOEXEC as usize, least);
        match from(FAR_DESCRIPTOR).or_else(|_| from(libc::STDERR_FILENO as usize + 1)) {
            Ok(number) => File(number),
            Err(_) => self,
        }
    }

    /// Makes a call whose first argument is the file, and the others are numbers.
    pub(super) fn call(&self, number: c_long, second: usize, third: usize) -> Result<usize, i32> {
        // SAFETY: the callers name calls that touch no memory.
        unsafe { system_call(number, [self.0, second, third]) }
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
            let arguments = [file.0, rest.as_mut_ptr() as usize, rest.len()];
            // SAFETY: the rest of the buffer is writable for its length.
            match unsafe { system_call(libc::SYS_read, arguments) } {
                Ok(0) | Err(_) => break,
                Ok(read) => used += read,
            }
        }
    }
    buffer.get(..used).unwrap_or(&[])
}
