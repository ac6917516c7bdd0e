//! The settings that are texts: the file for snapshots of the heap, and the socket of the collector.

use super::mistake::Mistake;
use crate::os;
use crate::report::Text;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Room for the path of a file, with the zero byte at its end.
pub const PATH: usize = libc::PATH_MAX as usize;

/// A setting that is a text, as it was given. Its length lies elsewhere: see `HEAPMAP_LENGTH`.
pub(super) struct Words<const ROOM: usize> {
    bytes: UnsafeCell<[u8; ROOM]>,
    /// How long it is, while the settings are read.
    given: AtomicUsize,
}

// SAFETY: the one thread that initialises the library writes it, while the settings are read. There are other threads then if `dlopen`
// loads the library: they read no byte before `publish`, and none is written after it.
unsafe impl<const ROOM: usize> Sync for Words<ROOM> {}

pub(super) static HEAPMAP_PATH: Words<PATH> = Words::new();
pub(super) static COLLECTOR_NAME: Words<{ COLLECTOR_ROOM }> = Words::new();
/// Room for the name of a socket.
const COLLECTOR_ROOM: usize = os::SOCKET_NAME;

/// Their lengths; 0 for one that was not given. Every process reads these at its end: they lie with the settings, on a resident page.
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
    pub(super) fn set(&self, text: &[u8]) -> Result<(), Mistake> {
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

/// Shows the texts that were given, once all settings are read.
pub(super) fn publish() {
    HEAPMAP_PATH.publish(&HEAPMAP_LENGTH);
    COLLECTOR_NAME.publish(&COLLECTOR_LENGTH);
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
    // The sink fails if it sees a part without the end: the path did not fit.
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
