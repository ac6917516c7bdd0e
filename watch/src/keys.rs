//! The keys that are pressed: reads the terminal, waits no longer than asked, and notices when the terminal goes away.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How long the rest of a key's sequence may take to come. After that its escape counts as a key by itself.
const REST: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Letter(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    Escape,
    /// Control and C, which is no signal while the view is drawn; or the terminal is gone.
    End,
}

pub struct Keys {
    terminal: File,
}

impl Keys {
    pub fn open() -> io::Result<Self> {
        let name = match io::stdin().is_terminal() {
            true => "/dev/stdin",
            false => "/dev/tty",
        };
        Ok(Keys {
            terminal: File::open(name)?,
        })
    }

    /// The keys that are pressed now or next. None once `patience` is over, or after a signal.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Vec<Key>> {
        let mut bytes = Vec::new();
        let mut patience = patience;
        while self.is_ready(patience)? {
            let mut room = [0; 256];
            match self.terminal.read(&mut room) {
                Ok(0) => return Ok(vec![Key::End]),
                Ok(count) => bytes.extend_from_slice(&room[..count]),
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(vec![Key::End]),
                Err(error) => return Err(error),
            }
            if !ends_within_sequence(&bytes) {
                break;
            }
            patience = REST;
        }
        Ok(keys_in(&bytes))
    }

    fn is_ready(&self, patience: Duration) -> io::Result<bool> {
        let mut wanted = libc::pollfd {
            fd: self.terminal.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: one structure, which is there.
        match unsafe { libc::poll(&mut wanted, 1, milliseconds) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
                error => Err(error),
            },
            ready => Ok(ready > 0),
        }
    }
}

/// The length of the key's sequence that `bytes` begin with, the first of which is an escape. `None` if its last byte is still to come.
fn end_of_sequence(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        // Digits and semicolons, and then a letter or a tilde.
        b'[' => Some(
            3 + bytes[2..]
                .iter()
                .position(|byte| matches!(byte, 0x40..=0x7e))?,
        ),
        b'O' => bytes.get(2).map(|_| 3),
        _ => Some(1),
    }
}

fn ends_within_sequence(bytes: &[u8]) -> bool {
    let last = bytes.iter().rposition(|byte| *byte == 0x1b);
    last.is_some_and(|last| end_of_sequence(&bytes[last..]).is_none())
}

fn keys_in(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some(first) = bytes.first() {
        let length = match first {
            0x1b => end_of_sequence(bytes).unwrap_or(1),
            _ => 1,
        };
        let (sequence, rest) = bytes.split_at(length);
        bytes = rest;
        keys.extend(match sequence {
            b"\x1b" => Some(Key::Escape),
            b"\x03" => Some(Key::End),
            b"\x1b[A" | b"\x1bOA" => Some(Key::Up),
            b"\x1b[B" | b"\x1bOB" => Some(Key::Down),
            b"\x1b[C" | b"\x1bOC" => Some(Key::Right),
            b"\x1b[D" | b"\x1bOD" => Some(Key::Left),
            b"\x1b[H" | b"\x1bOH" | b"\x1b[1~" => Some(Key::Home),
            b"\x1b[5~" => Some(Key::PageUp),
            b"\x1b[6~" => Some(Key::PageDown),
            [letter @ b' '..=b'~'] => Some(Key::Letter(char::from(*letter))),
            _ => None,
        });
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_keys() {
        assert_eq!(
            keys_in(b"s\x1b[A\x1bOB\x1b[6~\x1b[1;5Cq"),
            [
                Key::Letter('s'),
                Key::Up,
                Key::Down,
                Key::PageDown,
                Key::Letter('q')
            ]
        );
        assert_eq!(keys_in(b"\x1b"), [Key::Escape]);
        assert_eq!(
            keys_in(b"\x1bp\x03"),
            [Key::Escape, Key::Letter('p'), Key::End]
        );
        // Letters of other alphabets mean nothing.
        assert_eq!(keys_in("é".as_bytes()), []);
        for unfinished in [&b"\x1b"[..], b"p\x1b[", b"\x1b[1;5", b"\x1bO"] {
            assert!(ends_within_sequence(unfinished), "{unfinished:?}");
        }
        for finished in [&b""[..], b"p", b"\x1b[A", b"\x1bOAx", b"\x1bx"] {
            assert!(!ends_within_sequence(finished), "{finished:?}");
        }
    }
}
