//! Resident bytes and pages, as the system tells.

use super::call::system_call;
use super::file::read_start;
use super::sizes::page_size;

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
    let arguments = [address, size, told.as_mut_ptr() as usize];
    // SAFETY: reads the page tables, and writes a byte a page.
    unsafe { system_call(libc::SYS_mincore, arguments) }.is_ok()
}
