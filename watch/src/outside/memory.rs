//! Reads the memory of another process: `process_vm_readv`, or `/proc/PID/mem` where that call is forbidden (some containers).

use super::Error;
use pymalloc::internals::os;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// The most ranges that one call of the system takes (IOV_MAX).
const MOST_RANGES: usize = 1024;

/// A range to be read.
pub struct Range<'a> {
    pub from: usize,
    pub to: &'a mut [u8],
    /// Whether it was read, all of it.
    pub read: bool,
}

impl<'a> Range<'a> {
    pub fn new(from: usize, to: &'a mut [u8]) -> Self {
        Range {
            from,
            to,
            read: false,
        }
    }
}

/// Resident bytes.
pub struct Resident {
    pub all: usize,
    /// Of files, and of memory that is shared.
    pub files: usize,
}

pub struct Memory {
    pub pid: i32,
    /// Opened when `process_vm_readv` was refused.
    file: OnceLock<File>,
}

impl Memory {
    pub fn of(pid: i32) -> Self {
        Memory {
            pid,
            file: OnceLock::new(),
        }
    }

    /// Bytes of the process that are resident.
    pub fn resident(&self) -> Result<Resident, Error> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid))?;
        let bytes = |field| {
            let pages = text
                .split(' ')
                .nth(field)
                .and_then(|pages| pages.parse().ok());
            pages.unwrap_or(0) * os::page_size()
        };
        Ok(Resident {
            all: bytes(1),
            files: bytes(2),
        })
    }

    /// Reads all ranges that are there. An error is one of the process, not of a range.
    pub fn read(&self, ranges: &mut [Range]) -> Result<(), Error> {
        if let Some(file) = self.file.get() {
            return read_from_file(file, ranges);
        }
        match self.read_directly(ranges) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                let file = File::open(format!("/proc/{}/mem", self.pid))?;
                read_from_file(self.file.get_or_init(|| file), ranges)
            }
            result => Ok(result?),
        }
    }

    /// Reads one range. False when it is not there.
    pub fn read_one(&self, from: usize, to: &mut [u8]) -> Result<bool, Error> {
        let mut range = [Range::new(from, to)];
        self.read(&mut range)?;
        Ok(range[0].read)
    }

    fn read_directly(&self, ranges: &mut [Range]) -> io::Result<()> {
        let mut next = 0;
        while next < ranges.len() {
            let end = ranges.len().min(next + MOST_RANGES);
            let part = &mut ranges[next..end];
            let vector = |start: *mut u8, length| libc::iovec {
                iov_base: start.cast(),
                iov_len: length,
            };
            let local: Vec<_> = part
                .iter_mut()
                .map(|range| vector(range.to.as_mut_ptr(), range.to.len()))
                .collect();
            let remote: Vec<_> = part
                .iter()
                .map(|range| vector(range.from as *mut u8, range.to.len()))
                .collect();
            let count = part.len() as libc::c_ulong;
            // SAFETY: the call writes the local ranges only, which are slices that this borrows mutably.
            let read = unsafe {
                libc::process_vm_readv(self.pid, local.as_ptr(), count, remote.as_ptr(), count, 0)
            };
            let mut left = match usize::try_from(read) {
                Ok(read) => read,
                Err(_) => match io::Error::last_os_error() {
                    error if error.raw_os_error() == Some(libc::EFAULT) => 0,
                    error => return Err(error),
                },
            };
            for range in part.iter_mut() {
                next += 1;
                match left.checked_sub(range.to.len()) {
                    Some(rest) => left = rest,
                    // The one that is not there; those behind it were not tried.
                    None => break,
                }
                range.read = true;
            }
        }
        Ok(())
    }
}

fn read_from_file(file: &File, ranges: &mut [Range]) -> Result<(), Error> {
    for range in ranges {
        match file.read_exact_at(range.to, range.from as u64) {
            Ok(()) => range.read = true,
            // The address space is gone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::Gone),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
