//! The JSON object of `pymalloc_stats_json`.

use super::count::Counted;
use super::figures;
use crate::os;
use crate::report::Text;
use core::ffi::CStr;

/// The members that every object of this library begins with.
pub fn write_version(text: &mut Text) {
    text.text("{").member(b"pymalloc");
    text.text(concat!("\"", env!("CARGO_PKG_VERSION"), "\""));
}

/// The member that tells the process.
pub fn write_process(text: &mut Text, pid: u32) {
    text.member(b"pid").number(pid as usize);
}

/// The member that tells the time: seconds since 1970.
#[inline(never)]
pub fn write_time(text: &mut Text) {
    let milliseconds = os::time_of_day() as usize;
    text.member(b"time").number(milliseconds / 1000).text(".");
    text.filled(milliseconds % 1000, 3, b'0');
}

const COMMAND_LINE: &CStr = c"/proc/self/cmdline";
/// As many bytes are read of a command line.
const COMMAND: usize = 512;

/// The member that tells the command: the base name of the program as it was started; with `whole` the start of the command line. Each
/// byte that is not printable ASCII is escaped as one character.
#[inline(never)]
pub fn write_command(text: &mut Text, whole: bool) {
    let mut buffer = [0; COMMAND];
    let mut line: &[u8] = os::read_start(COMMAND_LINE, &mut buffer);
    if let (false, Some(path)) = (whole, line.split(|byte| *byte == 0).next()) {
        line = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    }
    text.member(if whole { b"line" } else { b"command" })
        .text("\"");
    for byte in line {
        match byte {
            // Between the words, and behind the last.
            0 => text.text(" "),
            b'"' | b'\\' | ..=0x1f | 0x7f.. => text.text("\\u00").hex(*byte as usize, 2),
            _ => text.bytes(core::slice::from_ref(byte)),
        };
    }
    text.text("\"");
}

impl Counted {
    /// Writes a JSON object.
    pub fn write_json(&self, text: &mut Text) {
        write_version(text);
        write_process(text, self.pid);
        write_time(text);
        let mut open: &[u8] = b"";
        self.whole.each(&mut |figure| {
            if figure.group != open {
                if !open.is_empty() {
                    text.text("}");
                }
                if !figure.group.is_empty() {
                    text.member(figure.group).text("{");
                }
                open = figure.group;
            }
            text.member(figure.name).number(figure.value);
        });
        if !open.is_empty() {
            text.text("}");
        }
        text.member(b"classes").text("[");
        self.each_row(&mut |row| {
            text.item().text("{");
            figures::each_of(row, &mut |name, value| {
                text.member(name).number(value);
            });
            text.text("}");
        });
        text.text("]}");
    }
}
