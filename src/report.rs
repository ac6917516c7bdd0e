//! Text for people and programs, made without allocating: put together in a buffer that the caller lends, and handed to a sink
//! when the buffer is full or flushed.
//!
//! A message is written whole, by one call where the system takes it, so that those of several threads do not mix.
//! After a sink has failed, what follows is dropped.

use crate::os;

/// Room for a message, in bytes: what is longer takes several calls.
const MESSAGE: usize = 256;
/// A buffer of this size is flushed at the end of a line rather than within one (`Text::end_line`).
pub const BUFFER: usize = 1024;
/// No line of a table is longer.
const LONGEST_LINE: usize = 256;

pub const STDERR: i32 = 2;

/// Takes bytes, for what `context` says; returns 0, or an errno.
pub type Sink = fn(context: usize, bytes: &[u8]) -> i32;

/// Text that is being put together.
pub struct Text<'a> {
    buffer: &'a mut [u8],
    used: usize,
    last: u8,
    // A function and its context rather than a closure, whose tables take more room than its work.
    sink: Sink,
    context: usize,
    error: i32,
}

impl<'a> Text<'a> {
    pub fn new(buffer: &'a mut [u8], sink: Sink, context: usize) -> Self {
        Text {
            buffer,
            used: 0,
            last: 0,
            sink,
            context,
            error: 0,
        }
    }

    /// Text for a file descriptor.
    #[inline(never)]
    pub fn to(descriptor: i32, buffer: &'a mut [u8]) -> Self {
        Text::new(
            buffer,
            |descriptor, bytes| os::write_all(descriptor as i32, bytes),
            descriptor as usize,
        )
    }

    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            if self.used == self.buffer.len() {
                self.flush();
            }
            if let Some(place) = self.buffer.get_mut(self.used) {
                *place = *byte;
                self.used += 1;
            }
            self.last = *byte;
        }
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// A number in decimal, right-aligned in `width` columns, of which there are at most 20.
    pub fn number_in(&mut self, number: usize, width: usize) -> &mut Self {
        self.filled(number, width, b' ')
    }

    /// The same, filled up with any byte.
    #[inline(never)]
    pub fn filled(&mut self, number: usize, width: usize, filler: u8) -> &mut Self {
        let mut digits = [filler; 20];
        let mut used = 0;
        let mut rest = number;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            used += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let shown = used.max(width).min(digits.len());
        self.bytes(digits.get(digits.len() - shown..).unwrap_or(&[]))
    }

    #[inline(never)]
    pub fn number(&mut self, number: usize) -> &mut Self {
        self.number_in(number, 0)
    }

    /// A number in hexadecimal, of at least `digits` digits.
    #[inline(never)]
    pub fn hex(&mut self, number: usize, digits: u32) -> &mut Self {
        let needed = (usize::BITS - number.leading_zeros()).div_ceil(4);
        for digit in (0..needed.max(digits)).rev() {
            let nibble = (number >> (4 * digit) & 15) as u8;
            self.bytes(&[nibble + if nibble < 10 { b'0' } else { b'a' - 10 }]);
        }
        self
    }

    /// An address as C's `%p` prints it.
    pub fn address(&mut self, address: usize) -> &mut Self {
        self.text("0x").hex(address, 1)
    }

    /// Begins the next item of a JSON list or object: a comma, unless it is the first.
    #[inline(never)]
    pub fn item(&mut self) -> &mut Self {
        match self.last {
            b'[' | b'{' => self,
            _ => self.text(","),
        }
    }

    /// Begins the next member of a JSON object.
    #[inline(never)]
    pub fn member(&mut self, name: &[u8]) -> &mut Self {
        self.item().text("\"").bytes(name).text("\":")
    }

    /// Ends a line of a table; the sink gets whole lines.
    #[inline(never)]
    pub fn end_line(&mut self) {
        self.text("\n");
        if self.used + LONGEST_LINE > self.buffer.len() {
            self.flush();
        }
    }

    /// Ends a message.
    #[inline(never)]
    pub fn send(&mut self) {
        self.text("\n").flush();
    }

    /// Hands the sink what the buffer holds. Returns 0, or the errno of the first failure so far.
    #[inline(never)]
    pub fn flush(&mut self) -> i32 {
        let bytes = self.buffer.get(..self.used).unwrap_or(&[]);
        if self.error == 0 && !bytes.is_empty() {
            self.error = (self.sink)(self.context, bytes);
        }
        self.used = 0;
        self.error
    }
}

/// Room for a message.
#[inline(never)]
pub fn line() -> [u8; MESSAGE] {
    [0; MESSAGE]
}

/// A line to stderr that opens with the library's name, as every message of the library does. To be ended by `send`.
#[inline(never)]
pub fn message(buffer: &mut [u8; MESSAGE]) -> Text<'_> {
    let mut text = Text::to(STDERR, buffer);
    text.text("pymalloc: ");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn written(size: usize, fill: impl FnOnce(&mut Text)) -> Vec<Vec<u8>> {
        let calls: RefCell<Vec<Vec<u8>>> = RefCell::default();
        let sink = |context: usize, bytes: &[u8]| {
            // SAFETY: the context is that of the call below.
            let calls = unsafe { &*(context as *const RefCell<Vec<Vec<u8>>>) };
            calls.borrow_mut().push(bytes.to_vec());
            0
        };
        let mut buffer = vec![0; size];
        let mut text = Text::new(&mut buffer, sink, &raw const calls as usize);
        fill(&mut text);
        assert_eq!(text.flush(), 0);
        calls.into_inner()
    }

    #[test]
    fn numbers_and_addresses() {
        let calls = written(100, |text| {
            text.number(0)
                .text(" ")
                .number(usize::MAX)
                .number_in(42, 5)
                .filled(7, 3, b'0')
                .text(" ")
                .address(0)
                .text(" ")
                .address(0x7ffc_0010)
                .hex(5, 2);
        });
        assert_eq!(calls, [b"0 18446744073709551615   42007 0x0 0x7ffc001005"]);
    }

    #[test]
    fn what_does_not_fit_goes_on_in_the_next_call() {
        let calls = written(4, |text| {
            text.text("abcdef").text("ghi");
        });
        assert_eq!(calls, [&b"abcd"[..], b"efgh", b"i"]);
    }

    #[test]
    fn items_are_parted_by_commas() {
        let calls = written(3, |text| {
            text.text("[");
            for number in 0..3 {
                text.item().number(number);
            }
            text.text("]");
        });
        assert_eq!(calls.concat(), b"[0,1,2]");
    }

    #[test]
    fn lines_are_not_parted() {
        let line = [b'x'; 200];
        let calls = written(BUFFER, |text| {
            (0..50).for_each(|_| text.bytes(&line).end_line());
        });
        assert_eq!(calls.concat().len(), 50 * (line.len() + 1));
        assert!(calls.len() <= 50 / 3);
        assert!(calls.iter().all(|call| call.ends_with(b"\n")));
    }

    #[test]
    fn nothing_follows_a_failure() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let sink = |_: usize, _: &[u8]| {
            CALLS.fetch_add(1, Ordering::Relaxed);
            28
        };
        let mut buffer = [0; 4];
        let mut text = Text::new(&mut buffer, sink, 0);
        assert_eq!(text.text("much more than four").flush(), 28);
        assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    }
}
