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

/// The largest number of bytes, which tells the settings that take bytes.
const BYTES: usize = isize::MAX as usize;

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
    pub fn place(&self) -> &AtomicUsize {
        &self.value
    }

    /// The value in force.
    #[inline]
    pub fn get(&self) -> usize {
        // Relaxed: a plain number, written when the library is initialised and read wherever it is needed, before that too.
        self.value.load(Ordering::Relaxed)
    }
}

/// Bytes of freed mappings that are kept for reuse. 4 MiB: half of what the memory promise
/// leaves, so that a loop of large temporaries does not fault its pages anew each time.
pub static MAPPING_CACHE: Setting = Setting::new("mapping_cache", 4 << 20, BYTES);

/// Wholly empty arenas that are kept. One, as in CPython, so that a program at the edge
/// of an arena does not map and unmap it again and again.
pub static EMPTY_ARENAS: Setting = Setting::new("empty_arenas", 1, 1);

/// Bytes that may stay resident in pools and arenas without a live block, however small the process: with the cache of mappings
/// that makes the 8 MiB of the promise.
pub static RESIDENT_BUDGET: Setting = Setting::new("resident_budget", 4 << 20, BYTES);

/// What may stay beside them, as a part of what is in use: an eighth. 0 for nothing.
pub static BUDGET_PART: Setting = Setting::new("budget_part", 8, 1 << 20);

/// Whether memory that was given back and soon asked for again is retained the next time.
pub static RETAIN: Setting = Setting::new("retain", 1, 1);

/// Whether a thread gives back what is retained when the program does nothing.
pub static BACKGROUND_PURGE: Setting = Setting::new("background_purge", 0, 1);

/// Whether the statistics are written to stderr when the program exits.
pub static STATS_AT_EXIT: Setting = Setting::new("stats_at_exit", 0, 1);

/// The number of the signal that the statistics, and a snapshot of the heap, are written on; 0 for none.
pub static STATS_SIGNAL: Setting = Setting::new("stats_signal", 0, SIGNALS);

/// The largest number of a signal, SIGRTMAX. A signal that cannot be caught is found out when it is asked for.
const SIGNALS: usize = 64;

/// Milliseconds from one snapshot of the heap to the next; 0 for none. At most 24 days, so that sums of times cannot overflow.
pub static HEAPMAP_EVERY: Setting = Setting::new("heapmap_every", 0, i32::MAX as usize);

/// The number of the process that waits at its exit until the collector has done its work; 0 for none.
pub static COLLECTOR_WAIT: Setting = Setting::new("collector_wait", 0, i32::MAX as usize);

static SETTINGS: [&Setting; 10] = [
    &MAPPING_CACHE,
    &EMPTY_ARENAS,
    &RESIDENT_BUDGET,
    &BUDGET_PART,
    &RETAIN,
    &BACKGROUND_PURGE,
    &STATS_AT_EXIT,
    &STATS_SIGNAL,
    &HEAPMAP_EVERY,
    &COLLECTOR_WAIT,
];

/// Room for the path of a file, with the zero byte at its end.
pub const PATH: usize = libc::PATH_MAX as usize;
/// The environment variable, and what separates it from its value.
const VARIABLE: &[u8] = b"PYMALLOC_CONF=";
/// The keys of the settings that are no numbers.
const HEAPMAP: &[u8] = b"heapmap";
const COLLECTOR: &[u8] = b"collector";

/// A setting that is a text, as it was given. How long it is lies elsewhere: see `HEAPMAP_LENGTH`.
struct Words<const ROOM: usize> {
    bytes: UnsafeCell<[u8; ROOM]>,
    /// How long it is, while the settings are read.
    given: AtomicUsize,
}

// SAFETY: written while the settings are read, by the one thread that initialises the library. Others, which are there when it is loaded by `dlopen`, read
// no byte before `publish`, and none is written after it.
unsafe impl<const ROOM: usize> Sync for Words<ROOM> {}

static HEAPMAP_PATH: Words<PATH> = Words::new();
static COLLECTOR_NAME: Words<{ COLLECTOR_ROOM }> = Words::new();
/// Room for the name of a socket.
const COLLECTOR_ROOM: usize = os::SOCKET_NAME;

/// How long that is, 0 if it was not given. Every process asks for it at its end: it lies with the settings, on a page that is there.
#[unsafe(link_section = ".data.start")]
static HEAPMAP_LENGTH: AtomicUsize = AtomicUsize::new(0);
#[unsafe(link_section = ".data.start")]
static COLLECTOR_LENGTH: AtomicUsize = AtomicUsize::new(0);

impl<const ROOM: usize> Words<ROOM> {
    const fn new() -> Self {
        Words {
            bytes: UnsafeCell::new([0; ROOM]),
            given: AtomicUsize::new(0),
        }
    }

    fn get(&self, length: &AtomicUsize) -> &[u8] {
        // Acquire: with `publish`.
        let used = length.load(Ordering::Acquire);
        // SAFETY: nobody writes what was published.
        unsafe { &*self.bytes.get() }.get(..used).unwrap_or(&[])
    }

    /// Takes a text, behind which there is room for a zero byte.
    fn set(&self, text: &[u8]) -> Result<(), Mistake> {
        if text.is_empty() {
            return Err(Mistake::Nothing);
        }
        // SAFETY: only the thread that reads the settings is here, and nothing is published yet.
        let bytes = unsafe { &mut *self.bytes.get() };
        match bytes.get_mut(..text.len()) {
            Some(place) if text.len() < ROOM => place.copy_from_slice(text),
            _ => return Err(Mistake::TooLong),
        }
        // Relaxed, here and below: the same thread reads it.
        self.given.store(text.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Shows to all threads what was given, once all settings are read.
    fn publish(&self, length: &AtomicUsize) {
        // Release: the bytes.
        length.store(self.given.load(Ordering::Relaxed), Ordering::Release);
    }
}

/// The setting `collector`: the name of a socket; empty if it was not given.
pub fn collector() -> &'static [u8] {
    COLLECTOR_NAME.get(&COLLECTOR_LENGTH)
}

/// The setting `heapmap` as it was given; empty if it was not.
pub fn heapmap_setting() -> &'static [u8] {
    HEAPMAP_PATH.get(&HEAPMAP_LENGTH)
}

/// The file that snapshots of the heap are appended to, `%p` replaced by the process id, put together in `room`. `None` when
/// there is no room for it.
#[inline(never)]
pub fn heapmap(room: &mut [u8; PATH]) -> Option<&CStr> {
    // Only a path that ends in time ends with the one call.
    let mut text = Text::new(room, |_, bytes| i32::from(bytes.last() != Some(&0)), 0);
    let mut rest = heapmap_setting();
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

/// A decimal number with an optional suffix for a power of 1,024: k, m or g, and behind that b or ib, whatever their case.
#[inline(never)]
fn parse_number(text: &[u8]) -> Option<usize> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, suffix) = (text.get(..count)?, text.get(count..)?);
    let shift = match suffix {
        [] => 0,
        [unit, behind @ ..] => {
            if ![&b""[..], b"b", b"ib"]
                .iter()
                .any(|known| behind.eq_ignore_ascii_case(known))
            {
                return None;
            }
            match unit.to_ascii_lowercase() {
                b'k' => 10,
                b'm' => 20,
                b'g' => 30,
                _ => return None,
            }
        }
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: usize = 0;
    for digit in digits {
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

/// What a setting is called that had another name before.
fn renamed(key: &[u8]) -> Option<&'static Setting> {
    match key {
        b"slack" => Some(&RESIDENT_BUDGET),
        b"slack_part" => Some(&BUDGET_PART),
        b"learning" => Some(&RETAIN),
        _ => None,
    }
}

/// How many bytes of the longer of two names are not at the start or the end of both, capital letters aside: few when one was mistyped in
/// one place.
#[inline(never)]
fn apart(name: &[u8], known: &[u8]) -> usize {
    let mut common = 0;
    let shorter = name.len().min(known.len());
    while common < shorter && name[common].eq_ignore_ascii_case(&known[common]) {
        common += 1;
    }
    let (mut name_end, mut known_end) = (name.len(), known.len());
    while name_end > common && known_end > common {
        (name_end, known_end) = (name_end - 1, known_end - 1);
        if !name[name_end].eq_ignore_ascii_case(&known[known_end]) {
            (name_end, known_end) = (name_end + 1, known_end + 1);
            break;
        }
    }
    name_end.max(known_end) - common
}

/// The known name that is meant by another, if one is alike.
#[inline(never)]
fn nearest(name: &[u8]) -> Option<&'static [u8]> {
    // As far as half of it they have nothing to do with each other.
    let (mut least, mut nearest) = (name.len() / 2 + 1, None);
    for number in 0..=SETTINGS.len() {
        let known = SETTINGS
            .get(number)
            .map_or(HEAPMAP, |setting| setting.name());
        let apart = apart(name, known);
        if apart < least {
            (least, nearest) = (apart, Some(known));
        }
    }
    nearest
}

/// What is wrong with a setting.
#[derive(Clone, Copy)]
enum Mistake {
    NoValue,
    Unknown,
    NoNumber(&'static Setting),
    OutOfRange(&'static Setting),
    Nothing,
    TooLong,
    /// None at all: it is obeyed.
    OldName(&'static Setting),
}

impl Mistake {
    /// Writes what is wrong with a setting of this name, and what is right.
    #[cold]
    fn write(self, text: &mut Text, name: &[u8]) {
        match self {
            Mistake::NoValue => text.text("is not of the form key=value"),
            Mistake::Unknown => match nearest(name) {
                Some(known) => text.text("is not a setting; the nearest is ").bytes(known),
                None => text.text("is not a setting"),
            },
            Mistake::NoNumber(setting) => setting.write_form(text.text("is not a number")),
            Mistake::OutOfRange(setting) => setting.write_form(text.text("is out of range")),
            Mistake::Nothing => text.text("names no file"),
            Mistake::TooLong => text.text("is too long a path"),
            Mistake::OldName(setting) => text
                .text("is obeyed, but is called ")
                .bytes(setting.name())
                .text(" now"),
        };
    }
}

impl Setting {
    fn name(&self) -> &[u8] {
        let length = self.key.iter().take_while(|byte| **byte != 0).count();
        self.key.get(..length).unwrap_or(&self.key)
    }

    /// Writes what values there are.
    fn write_form<'a, 'b>(&self, text: &'a mut Text<'b>) -> &'a mut Text<'b> {
        text.text("; write ").bytes(self.name());
        match self.largest {
            1 => text.text("=0 or =1"),
            BYTES => text.text("=4m, or so many bytes, k, KiB, MiB, g"),
            largest => text.text("=N, from 0 to ").number(largest),
        };
        text.text("; the default is used")
    }
}

/// Applies one `key=value`; on a mistake returns what is wrong with it.
#[inline(never)]
fn apply(key: &[u8], value: Option<&[u8]>) -> Result<(), Mistake> {
    let value = value.ok_or(Mistake::NoValue)?;
    match key {
        HEAPMAP => return HEAPMAP_PATH.set(value),
        COLLECTOR => return COLLECTOR_NAME.set(value),
        _ => {}
    }
    let old = renamed(key);
    let setting = old.or_else(|| find(key)).ok_or(Mistake::Unknown)?;
    match parse_number(value) {
        Some(number) if number <= setting.largest => {
            // Relaxed: see `Setting::get`.
            setting.value.store(number, Ordering::Relaxed);
            old.map_or(Ok(()), |setting| Err(Mistake::OldName(setting)))
        }
        Some(_) => Err(Mistake::OutOfRange(setting)),
        None => Err(Mistake::NoNumber(setting)),
    }
}

/// Applies a whole variable.
pub fn parse(text: &[u8]) {
    for item in text.split(|byte| *byte == b',') {
        let item = item.trim_ascii();
        if item.is_empty() {
            continue;
        }
        let mut parts = item.splitn(2, |byte| *byte == b'=');
        let key = parts.next().unwrap_or(item).trim_ascii();
        if let Err(mistake) = apply(key, parts.next().map(<[u8]>::trim_ascii)) {
            let mut line = report::line();
            let mut text = report::message(&mut line);
            text.text("PYMALLOC_CONF: \"")
                // A pasted novel must not push the reason off the line.
                .bytes(item.get(..64).unwrap_or(item))
                .text("\" ");
            mistake.write(&mut text, key);
            text.send();
        }
    }
    HEAPMAP_PATH.publish(&HEAPMAP_LENGTH);
    COLLECTOR_NAME.publish(&COLLECTOR_LENGTH);
}

/// Reads the settings from an environment: a list of "NAME=value" that ends with a null pointer. Called once, when the library is
/// initialised.
pub fn read_environment(environment: *const *const c_char) {
    if environment.is_null() {
        return;
    }
    let mut next = environment;
    // SAFETY: the list ends with a null pointer. Before `main` no other thread can change it; for a library that is loaded later the program may not do so
    // meanwhile, as with `getenv`, which the initialisation of any library may call.
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
    fn units_have_longer_names() {
        for text in [
            &b"4m"[..],
            b"4M",
            b"4mb",
            b"4MB",
            b"4MiB",
            b"4mib",
            b"4096k",
            b"4096KiB",
        ] {
            assert_eq!(parse_number(text), Some(4 << 20), "{text:?}");
        }
        assert_eq!(parse_number(b"1GiB"), parse_number(b"1g"));
        for wrong in [&b"4b"[..], b"4ib", b"4mi", b"4mbb", b"4tb", b"4 mb", b"mb"] {
            assert_eq!(parse_number(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_nearest_name() {
        for (name, known) in [
            (&b"residentbudget"[..], &b"resident_budget"[..]),
            (b"RESIDENT_BUDGET", b"resident_budget"),
            (b"stats_on_exit", b"stats_at_exit"),
            (b"heap_map", b"heapmap"),
            (b"heapmap_ever", b"heapmap_every"),
            (b"backgroundpurge", b"background_purge"),
        ] {
            assert_eq!(nearest(name), Some(known));
        }
        for far in [&b""[..], b"nonsense", &[b'x'; 100]] {
            assert_eq!(nearest(far), None);
        }
    }

    fn told(key: &[u8], value: Option<&[u8]>) -> String {
        let mut room = [0; 256];
        let mut text = Text::new(&mut room, |_, _| 0, 0);
        if let Err(mistake) = apply(key, value) {
            mistake.write(&mut text, key);
        }
        text.flush();
        let used = room.iter().take_while(|byte| **byte != 0).count();
        String::from_utf8_lossy(&room[..used]).into_owned()
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(told(b"nonsense", None), "is not of the form key=value");
        assert_eq!(told(b"nonsense", Some(b"1")), "is not a setting");
        assert_eq!(
            told(b"budgetpart", Some(b"1")),
            "is not a setting; the nearest is budget_part"
        );
        let range = told(b"empty_arenas", Some(b"2"));
        assert!(
            range.starts_with("is out of range; write empty_arenas=0 or =1"),
            "{range}"
        );
        let number = told(b"stats_signal", Some(b"x"));
        assert!(
            number.starts_with("is not a number; write stats_signal=N, from 0 to 64"),
            "{number}"
        );
        let bytes = told(b"resident_budget", Some(b"4 mb"));
        assert!(
            bytes.starts_with("is not a number; write resident_budget=4m"),
            "{bytes}"
        );
        assert_eq!(told(b"empty_arenas", Some(b"1")), "");
        assert_eq!(
            told(b"slack_part", Some(b"8")),
            "is obeyed, but is called budget_part now"
        );
        assert!(told(b"learning", Some(b"x")).starts_with("is not a number; write retain=0"));
    }
}
