//! Which pages of a process are resident, by `/proc/PID/pagemap`.
//!
//! What must hold: a page that is not resident is not read, since that could bring it back from the swap. Where the system does not tell (a sandbox), all are
//! taken for resident.

use pymalloc::internals::os;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The bit of an entry that says that the page is in memory.
const PRESENT: u64 = 1 << 63;
/// Bytes of an entry.
const ENTRY: usize = 8;

pub struct Pages {
    map: Option<File>,
    pub size: usize,
}

impl Pages {
    pub fn of(pid: i32) -> Self {
        Pages {
            map: File::open(format!("/proc/{pid}/pagemap")).ok(),
            size: os::page_size(),
        }
    }

    /// Whether each page of a range is resident, the first one first.
    pub fn resident(&self, start: usize, bytes: usize) -> Vec<bool> {
        let count = bytes.div_ceil(self.size);
        let mut entries = vec![0; count * ENTRY];
        let at = (start / self.size * ENTRY) as u64;
        match &self.map {
            Some(map) if map.read_exact_at(&mut entries, at).is_ok() => {}
            _ => return vec![true; count],
        }
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let is_present = |entry: &[u8; ENTRY]| u64::from_ne_bytes(*entry) & PRESENT != 0;
        entries.iter().map(is_present).collect()
    }

    /// Resident bytes of stretches of memory of one size.
    pub fn resident_bytes(&self, starts: &[usize], bytes: usize) -> usize {
        let pages = |start: &usize| self.resident(*start, bytes).into_iter();
        let pages = starts.iter().flat_map(pages).filter(|there| *there);
        pages.count() * self.size
    }
}
