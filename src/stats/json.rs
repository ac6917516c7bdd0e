//! The JSON object of `pymalloc_stats_json`.

use super::{Counted, figures};
use crate::os;
use crate::report::Text;

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
