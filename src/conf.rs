//! Settings: `PYMALLOC_CONF="key=value,..."`, read once before `main`.
//!
//! A setting is one row of `SETTINGS`. What is unknown or malformed gets one warning line and its default; the
//! other settings of the same variable still count. A program that runs with more rights than its user
//! (set-uid) ignores the variable. Until the variable is read, and when there is none, the defaults hold.

use crate::os;
use crate::report::{self, Text};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the longest name of a setting.
const KEY: usize = "background_purge".len();

/// A number that the user can set.
pub struct Setting {
    /// The name, filled up with zeroes. Not a text that lies elsewhere, which would need a relocation.
    key: [u8; KEY],
    value: AtomicUsize,
    largest: usize,
}

impl Setting {
    const fn new(key: &str, default: usize, largest: usize) -> Self {
        let mut padded = [0; KEY];
        let (name, _) = padded.split_at_mut(key.len());
        name.copy_from_slice(key.as_bytes());
        Setting {
            key: padded,
            value: AtomicUsize::new(default),
            largest,
        }
    }

    /// Where in a setting its value is.
    pub const VALUE: usize = core::mem::offset_of!(Setting, value);

    /// The value itself, for who replaces it.
    #[cfg(feature = "watch")]
    pub fn place(&self) -> &AtomicUsize {
        &self.value
    }

    /// The value in force.
    #[inline]
    pub fn get(&self) -> usize {
        // Relaxed: a plain number, written before `main` and read wherever it is needed.
        self.value.load(Ordering::Relaxed)
    }
}

/// Bytes of freed mappings that are kept for reuse. 4 MiB: half of the slack that the memory promise
/// leaves, so that a loop of large temporaries does not fault its pages anew each time.
pub static MAPPING_CACHE: Setting = Setting::new("mapping_cache", 4 << 20, isize::MAX as usize);

/// Wholly empty arenas that are kept. One, as in CPython, so that a program at the edge
/// of an arena does not map and unmap it again and again.
pub static EMPTY_ARENAS: Setting = Setting::new("empty_arenas", 1, 1);

/// Bytes that may stay resident in pools and arenas without a live block, however small the process: with the cache of mappings
/// that makes the 8 MiB of the promise.
pub static SLACK: Setting = Setting::new("slack", 4 << 20, isize::MAX as usize);

/// What may stay beside them, as a part of what is in use: an eighth. 0 for nothing.
pub static SLACK_PART: Setting = Setting::new("slack_part", 8, 1 << 20);

/// Whether memory that was given back and soon asked for again is kept the next time.
pub static LEARNING: Setting = Setting::new("learning", 1, 1);

/// Whether a thread gives back what was learned when the program does nothing.
pub static BACKGROUND_PURGE: Setting = Setting::new("background_purge", 0, 1);

/// Whether the statistics are written to stderr when the program exits.
pub static STATS_AT_EXIT: Setting = Setting::new("stats_at_exit", 0, 1);

/// The number of the signal that the statistics, and a snapshot of the heap, are written on; 0 for none.
pub static STATS_SIGNAL: Setting = Setting::new("stats_signal", 0, SIGNALS);

/// The largest number of a signal, SIGRTMAX. A signal that cannot be caught is found out when it is asked for.
const SIGNALS: usize = 64;

/// Milliseconds from one snapshot of the heap to the next; 0 for none. At most 24 days, so that sums of times cannot overflow.
pub static HEAPMAP_EVERY: Setting = Setting::new("heapmap_every", 0, i32::MAX as usize);

static SETTINGS: [&Setting; 9] = [
    &MAPPING_CACHE,
    &EMPTY_ARENAS,
    &SLACK,
    &SLACK_PART,
    &LEARNING,
    &BACKGROUND_PURGE,
    &STATS_AT_EXIT,
    &STATS_SIGNAL,
    &HEAPMAP_EVERY,
];

/// Room for the path of a file, with the zero byte at its end.
pub const PATH: usize = libc::PATH_MAX as usize;
/// The environment variable, and what separates it from its value.
const VARIABLE: &[u8] = b"PYMALLOC_CONF=";
/// The key of the one setting that is no number.
const HEAPMAP: &[u8] = b"heapmap";

/// The setting `heapmap`, as it was given.
struct HeapmapPath {
    bytes: UnsafeCell<[u8; PATH]>,
}

// SAFETY: written before `main`, while there is one thread.
unsafe impl Sync for HeapmapPath {}

static HEAPMAP_PATH: HeapmapPath = HeapmapPath {
    bytes: UnsafeCell::new([0; PATH]),
};
/// How long that is, 0 if it was not given. Every process asks for it at its end: it lies with the settings, on a page that is there.
#[unsafe(link_section = ".data.start")]
static HEAPMAP_LENGTH: AtomicUsize = AtomicUsize::new(0);

impl HeapmapPath {
    fn get(&self) -> &[u8] {
        // Relaxed, here and below: as in `Setting::get`.
        let used = HEAPMAP_LENGTH.load(Ordering::Relaxed);
        // SAFETY: nobody writes it any more.
        unsafe { &*self.bytes.get() }.get(..used).unwrap_or(&[])
    }

    fn set(&self, path: &[u8]) -> Result<(), &'static str> {
        if path.is_empty() {
            return Err("names no file");
        }
        // SAFETY: there is one thread, and `get` is called later.
        let bytes = unsafe { &mut *self.bytes.get() };
        match bytes.get_mut(..path.len()) {
            Some(place) if path.len() < PATH => place.copy_from_slice(path),
            _ => return Err("is too long a path"),
        }
        HEAPMAP_LENGTH.store(path.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// The setting `heapmap` as it was given; empty if it was not.
pub fn heapmap_setting() -> &'static [u8] {
    HEAPMAP_PATH.get()
}

/// The file that snapshots of the heap are appended to, `%p` replaced by the process id, put together in `room`. `None` when
/// there is no room for it.
#[inline(never)]
pub fn heapmap(room: &mut [u8; PATH]) -> Option<&CStr> {
    // Only a path that ends in time ends with the one call.
    let mut text = Text::new(room, |_, bytes| i32::from(bytes.last() != Some(&0)), 0);
    let mut rest = HEAPMAP_PATH.get();
    while let [first, behind @ ..] = rest {
        rest = match rest {
            [b'%', b'p', behind @ ..] => {
                text.number(os::process_id() as usize);
                behind
            }
            _ => {
                text.bytes(&[*first]);
                behind
            }
        };
    }
    // SAFETY: the text ends with a zero byte, and is in the room when the sink has seen it whole.
    (text.bytes(b"\0").flush() == 0).then(|| unsafe { CStr::from_ptr(room.as_ptr().cast()) })
}

/// A decimal number with an optional suffix k, m or g for a power of 1,024.
fn parse_number(text: &[u8]) -> Option<usize> {
    let (digits, shift) = match text.split_last()? {
        (b'k' | b'K', digits) => (digits, 10),
        (b'm' | b'M', digits) => (digits, 20),
        (b'g' | b'G', digits) => (digits, 30),
        _ => (text, 0),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: usize = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add((digit - b'0') as usize)?;
    }
    number.checked_mul(1 << shift)
}

/// The setting of a name.
fn find(key: &[u8]) -> Option<&'static Setting> {
    let mut padded = [0; KEY];
    padded.get_mut(..key.len())?.copy_from_slice(key);
    SETTINGS.iter().copied().find(|known| known.key == padded)
}

/// Applies one `key=value`; on a mistake returns what is wrong with it.
fn apply(item: &[u8]) -> Result<(), &'static str> {
    let Some(equals) = item.iter().position(|byte| *byte == b'=') else {
        return Err("is not of the form key=value");
    };
    let (key, value) = (&item[..equals], &item[equals + 1..]);
    if key == HEAPMAP {
        return HEAPMAP_PATH.set(value);
    }
    let Some(setting) = find(key) else {
        return Err("is not a setting");
    };
    match parse_number(value) {
        Some(number) if number <= setting.largest => {
            // Relaxed: see `Setting::get`.
            setting.value.store(number, Ordering::Relaxed);
            Ok(())
        }
        Some(_) => Err("is out of range"),
        None => Err("is not a number"),
    }
}

/// Applies a whole variable.
pub fn parse(text: &[u8]) {
    for item in text.split(|byte| *byte == b',') {
        let item = item.trim_ascii();
        if item.is_empty() {
            continue;
        }
        if let Err(reason) = apply(item) {
            report::message(&mut report::line())
                .text("PYMALLOC_CONF: \"")
                // A pasted novel must not push the reason off the line.
                .bytes(item.get(..64).unwrap_or(item))
                .text("\" ")
                .text(reason)
                .text("; the default is used")
                .send();
        }
    }
}

/// Reads the settings from an environment: a list of "NAME=value" that ends with a null pointer. Called once, when the library is
/// initialised.
pub fn read_environment(environment: *const *const c_char) {
    if environment.is_null() {
        return;
    }
    let mut next = environment;
    // SAFETY: called before `main`, while no other thread can change the environment; the list ends with a null pointer.
    while let Some(entry) = unsafe { (*next).as_ref() } {
        // SAFETY: the entries are C strings.
        if let Some(settings) = unsafe { value_of(VARIABLE, entry) } {
            if !os::is_privileged() {
                parse(settings.to_bytes());
            }
            return;
        }
        next = next.wrapping_add(1);
    }
}

/// What is behind `name`, in which no byte is 0, in an entry of the environment that starts with it.
///
/// # Safety
/// A C string.
unsafe fn value_of<'a>(name: &[u8], entry: *const c_char) -> Option<&'a CStr> {
    // Byte by byte, since to ask for the length of each entry would be a call into the C library and a page of it.
    let mut at = entry;
    for byte in name {
        // SAFETY: all bytes before were those of the name, none of which is 0: the string goes on here.
        if unsafe { *at } as u8 != *byte {
            return None;
        }
        at = at.wrapping_add(1);
    }
    // SAFETY: the rest of the string.
    Some(unsafe { CStr::from_ptr(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse_number(b"0"), Some(0));
        assert_eq!(parse_number(b"17k"), Some(17 << 10));
        assert_eq!(parse_number(b"3M"), Some(3 << 20));
        assert_eq!(parse_number(b"2g"), Some(2 << 30));
        for wrong in [
            &b""[..],
            b"k",
            b"-1",
            b"1x",
            b"1 k",
            b"18446744073709551616",
            b"18446744073709551615k",
        ] {
            assert_eq!(parse_number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(apply(b"nonsense"), Err("is not of the form key=value"));
        assert_eq!(apply(b"nonsense=1"), Err("is not a setting"));
        assert_eq!(apply(b"empty_arenas=2"), Err("is out of range"));
        assert_eq!(apply(b"empty_arenas=x"), Err("is not a number"));
        assert_eq!(apply(b"empty_arenas=1"), Ok(()));
    }
}
