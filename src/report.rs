//! Text for people, made without allocating: a line in a buffer on the stack, written with `write(2)`.
//!
//! A line is written whole, by one call where the system takes it, so that lines of several threads do not mix.
//! What does not fit into the buffer is cut off, never overrun.

use crate::os;

/// The longest line that the library writes, in bytes.
const LONGEST: usize = 256;

const STDERR: i32 = 2;

/// A line that is being put together.
pub struct Line {
    bytes: [u8; LONGEST],
    used: usize,
}

impl Line {
    /// An empty line.
    pub const fn empty() -> Self {
        Line {
            bytes: [0; LONGEST],
            used: 0,
        }
    }

    /// A line that opens with the library's name, as every message of the library does.
    pub fn message() -> Self {
        Line::empty().text("pymalloc: ")
    }

    #[inline(never)]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            // The last place is kept for the line feed.
            if self.used < LONGEST - 1 {
                self.bytes[self.used] = *byte;
                self.used += 1;
            }
        }
        self
    }

    #[inline(never)]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// A number in decimal, right-aligned in `width` columns.
    #[inline(never)]
    pub fn number_in(mut self, number: usize, width: usize) -> Self {
        let mut digits = [b' '; 20];
        let mut at = digits.len();
        let mut rest = number;
        while at > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        for _ in digits.len() - at..width {
            self = self.text(" ");
        }
        self.bytes(&digits[at..])
    }

    #[inline(never)]
    pub fn number(self, number: usize) -> Self {
        self.number_in(number, 0)
    }

    /// An address as C's `%p` prints it.
    pub fn address(mut self, address: usize) -> Self {
        self = self.text("0x");
        let digits = (usize::BITS - address.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            self = self.bytes(&[b"0123456789abcdef"[address >> (4 * digit) & 15]]);
        }
        self
    }

    /// Writes the line to a file descriptor.
    pub fn write_to(mut self, descriptor: i32) {
        self.bytes[self.used] = b'\n';
        os::write_all(descriptor, &self.bytes[..=self.used]);
    }

    /// Writes the line to stderr.
    pub fn write(self) {
        self.write_to(STDERR)
    }

    /// What the line holds so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses() {
        let line = Line::empty()
            .number(0)
            .text(" ")
            .number(usize::MAX)
            .number_in(42, 5)
            .text(" ")
            .address(0)
            .text(" ")
            .address(0x7ffc_0010);
        assert_eq!(
            line.as_bytes(),
            b"0 18446744073709551615   42 0x0 0x7ffc0010"
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut line = Line::empty();
        for _ in 0..LONGEST {
            line = line.text("ab");
        }
        assert_eq!(line.as_bytes().len(), LONGEST - 1);
    }
}
