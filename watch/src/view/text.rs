//! Numbers and names as texts for a person.

/// A part of a whole; 1 of nothing.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 1.0,
        whole => (part as f64 / whole as f64).min(1.0),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number of bytes for a person.
pub fn bytes(bytes: usize) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A number with its thousands apart.
pub(super) fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A name that fits, with room behind it. The end of a long one tells more than its beginning.
pub(super) fn shortened(name: &str, width: usize) -> String {
    let (length, room) = (name.chars().count(), width.saturating_sub(1));
    match length > room {
        true => name.chars().skip(length - room.saturating_sub(2)).fold(
            "..".into(),
            |mut text: String, letter| {
                text.push(letter);
                text
            },
        ),
        false => name.into(),
    }
}

/// A text of another process, or of a file, as one that a terminal can be given: what moves the cursor, or turns the letters round, becomes a question mark.
pub fn printable(text: &str) -> String {
    let is_shown = |letter: char| {
        !letter.is_control()
            && !matches!(letter,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let letters = text.chars();
    letters
        .map(|letter| if is_shown(letter) { letter } else { '?' })
        .collect()
}
