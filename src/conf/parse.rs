//! Reads the settings from the environment.

use super::mistake::Mistake;
use super::settings::{COLLECTOR, HEAPMAP, find, renamed};
use super::words;
use crate::os;
use crate::report;
use core::ffi::{CStr, c_char};

/// The environment variable, with the sign in front of its value.
const VARIABLE: &[u8] = b"PYMALLOC_CONF=";

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

/// Applies one `key=value`; on a mistake returns what is wrong with it.
#[inline(never)]
fn apply(key: &[u8], value: Option<&[u8]>) -> Result<(), Mistake> {
    let value = value.ok_or(Mistake::NoValue)?;
    match key {
        HEAPMAP => return words::HEAPMAP_PATH.set(value),
        COLLECTOR => return words::COLLECTOR_NAME.set(value),
        _ => {}
    }
    let old = renamed(key);
    let setting = old.or_else(|| find(key)).ok_or(Mistake::Unknown)?;
    match parse_number(value) {
        Some(number) if setting.set(number) => {
            old.map_or(Ok(()), |setting| Err(Mistake::OldName(setting)))
        }
        Some(_) => Err(Mistake::OutOfRange(setting)),
        None => Err(Mistake::NoNumber(setting)),
    }
}

/// Applies a whole variable.
fn parse(text: &[u8]) {
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
                // A long item must not push the reason off the line.
                .bytes(item.get(..64).unwrap_or(item))
                .text("\" ");
            mistake.write(&mut text, key);
            text.send();
        }
    }
    words::publish();
}

/// Reads the settings from an environment: a list of "NAME=value" that ends with a null pointer. Called once, when the library is
/// initialised.
pub fn read_environment(environment: *const *const c_char) {
    if environment.is_null() {
        return;
    }
    let mut next = environment;
    // SAFETY: the list ends with a null pointer. Before `main` no other thread can change it. While a library is loaded later the program
    // may not change it either: the initialisation of any library may call `getenv`.
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
    // Byte by byte: to ask for the length of each entry would be a call into the C library, and touch a page of it.
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
    use crate::report::Text;

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
        assert_eq!(
            told(b"off", None),
            "is for pymalloc run; LD_PRELOAD= takes out what is preloaded"
        );
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
