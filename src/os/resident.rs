//! Resident bytes and pages, as the system tells.

use super::call::system_call;
use super::file::read_start;
use super::sizes::page_size;

/// The first number in a text, in decimal; 0 if there is none.
fn number_in(text: &[u8]) -> usize {
    text.iter()
        .skip_while(|byte| !byte.is_ascii_digit())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + (digit - b'0') as usize)
}

/// Bytes of the whole process that are resident. 0 where the system does not tell.
pub fn resident_bytes() -> usize {
    let mut buffer = [0; 64];
    let told = read_start(c"/proc/self/statm", &mut buffer);
    let behind_first = told.splitn(2, |byte| *byte == b' ').nth(1);
    behind_first.map_or(0, number_in) * page_size()
}

/// The most bytes of the whole process that were resident at a time since its program began. 0 where the system does not tell.
#[inline(never)]
pub fn most_resident_bytes() -> usize {
    let mut buffer = [0; 2048];
    let told = read_start(c"/proc/self/status", &mut buffer);
    let name = b"VmHWM:";
    let at = told.windows(name.len()).position(|found| found == name);
    at.and_then(|at| told.get(at..)).map_or(0, number_in) * 1024
}

/// Tells of each page of a range whether it is resident: bit 0 of a byte. False, and nothing is told, if not all of it is mapped.
pub fn resident_pages(address: usize, told: &mut [u8]) -> bool {
    let size = told.len() * page_size();
    let arguments = [address, size, told.as_mut_ptr() as usize];
    // SAFETY: reads the page tables, and writes a byte a page.
    unsafe { system_call(libc::SYS_mincore, arguments) }.is_ok()
}
