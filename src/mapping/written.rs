//! How much of a freed mapping was ever written, as far as samples of its pages show.
//!
//! A program writes its blocks from the start, and often not to the end. The part that it has not reached holds no memory.

use crate::os;
use crate::registry::Entry;
use core::ops::Range;

/// An unwritten end of at most this part (1/8) of a mapping counts as written. Few blocks are written to the very last page, and a
/// mapping without its end would fit no block of its size any more.
pub const UNWRITTEN_PART: usize = 8;

/// Samples of a mapping, from its end, and pages of each: they show where the unwritten pages begin. Few, since to ask about each page of
/// 4 MiB takes nine microseconds.
const SAMPLES: usize = 16;
const SAMPLE_PAGES: usize = 8;

/// The most pages that the system is asked about at a time.
const PAGES_AT_ONCE: usize = 512;

/// Bytes of a mapping up to the last page that is resident, as far as samples show; all of them when the system does not tell.
pub fn written_part(entry: &Entry) -> usize {
    let pages = entry.size / os::page_size();
    let (mut end, mut unwritten) = (pages, pages);
    loop {
        let last = last_written(entry, end.saturating_sub(SAMPLE_PAGES)..end);
        if last.is_some() || end == 0 {
            let last = last_written(entry, end..unwritten).or(last);
            return last.map_or(0, |last| (last + 1) * os::page_size());
        }
        unwritten = end;
        end = end.saturating_sub(pages.div_ceil(SAMPLES));
    }
}

/// The last of some pages of a mapping that is resident.
fn last_written(entry: &Entry, pages: Range<usize>) -> Option<usize> {
    let mut told = [0; PAGES_AT_ONCE];
    let mut end = pages.end;
    while end > pages.start {
        let told = &mut told[..(end - pages.start).min(PAGES_AT_ONCE)];
        let start = end - told.len();
        if !os::resident_pages(entry.address + start * os::page_size(), told) {
            return Some(entry.size / os::page_size() - 1);
        }
        if let Some(last) = told.iter().rposition(|page| page & 1 != 0) {
            return Some(start + last);
        }
        end = start;
    }
    None
}
