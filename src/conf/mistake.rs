//! Mistakes in a setting, and the line that says so.

use super::settings::{BYTES, HEAPMAP, SETTINGS, Setting};
use crate::report::Text;

/// What is wrong with a setting.
#[derive(Clone, Copy)]
pub(super) enum Mistake {
    NoValue,
    Unknown,
    NoNumber(&'static Setting),
    OutOfRange(&'static Setting),
    Nothing,
    TooLong,
    /// The setting is obeyed, under its old name.
    OldName(&'static Setting),
}

impl Mistake {
    /// Writes what is wrong with a setting of this name, and what is right.
    #[cold]
    pub(super) fn write(self, text: &mut Text, name: &[u8]) {
        match self {
            // The library cannot leave itself out: the process has its malloc by now.
            Mistake::NoValue if name == b"off" => {
                text.text("is for pymalloc run; LD_PRELOAD= takes out what is preloaded")
            }
            Mistake::NoValue => text.text("is not of the form key=value"),
            Mistake::Unknown => match nearest(name) {
                Some(known) => text.text("is not a setting; the nearest is ").bytes(known),
                None => text.text("is not a setting"),
            },
            Mistake::NoNumber(setting) => write_form(setting, text.text("is not a number")),
            Mistake::OutOfRange(setting) => write_form(setting, text.text("is out of range")),
            Mistake::Nothing => text.text("names no file"),
            Mistake::TooLong => text.text("is too long a path"),
            Mistake::OldName(setting) => text
                .text("is obeyed, but is called ")
                .bytes(setting.name())
                .text(" now"),
        };
    }
}

/// Writes what values a setting may have.
fn write_form<'a, 'b>(setting: &Setting, text: &'a mut Text<'b>) -> &'a mut Text<'b> {
    text.text("; write ").bytes(setting.name());
    match setting.largest {
        1 => text.text("=0 or =1"),
        BYTES => text.text("=4m, or so many bytes, k, KiB, MiB, g"),
        largest => text.text("=N, from 0 to ").number(largest),
    };
    text.text("; the default is used")
}

/// How far two names are apart: the bytes of the longer one between their common start and their common end. Few when one was mistyped
/// in one place. Capital letters make no difference.
#[inline(never)]
fn apart(name: &[u8], known: &[u8]) -> usize {
    let alike = |(ours, theirs): &(&u8, &u8)| ours.eq_ignore_ascii_case(theirs);
    let start = name.iter().zip(known).take_while(alike).count();
    // Bytes that are counted at the start are not counted again.
    let longer = name.len().max(known.len());
    let rest = name.len().min(known.len()) - start;
    let backwards = name.iter().rev().zip(known.iter().rev());
    longer - start - backwards.take(rest).take_while(alike).count()
}

/// The known name that is nearest to another, if any is near.
#[inline(never)]
fn nearest(name: &[u8]) -> Option<&'static [u8]> {
    // Names that differ in more than half have nothing to do with each other.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
