//! The settings that are numbers.
//!
//! What must hold: a setting that had another name before is still known by that (`renamed`).

use core::sync::atomic::{AtomicUsize, Ordering};

/// The keys of the settings that are texts.
pub(super) const HEAPMAP: &[u8] = b"heapmap";
pub(super) const COLLECTOR: &[u8] = b"collector";

/// Bytes of the longest name of a setting.
const KEY: usize = "background_purge".len();

/// The largest value of a setting that takes bytes: the mark of such a setting.
pub(super) const BYTES: usize = isize::MAX as usize;

/// A number that the user can set.
pub struct Setting {
    /// The name, filled up with zeroes. Not a text that lies elsewhere, which would need a relocation.
    key: [u8; KEY],
    value: AtomicUsize,
    pub(super) largest: usize,
}

/// See `layout`.
pub const LAYOUT: u64 = crate::layout::layout! {
    Setting { key, value, largest }
};

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

    /// Its name.
    pub(super) fn name(&self) -> &[u8] {
        let length = self.key.iter().take_while(|byte| **byte != 0).count();
        self.key.get(..length).unwrap_or(&self.key)
    }

    /// Takes another value, if that is not too large. Only for the thread that reads the settings.
    pub(super) fn set(&self, number: usize) -> bool {
        let fits = number <= self.largest;
        if fits {
            // Relaxed: see `get`.
            self.value.store(number, Ordering::Relaxed);
        }
        fits
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

pub(super) static SETTINGS: [&Setting; 10] = [
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

/// The setting of a name.
pub(super) fn find(key: &[u8]) -> Option<&'static Setting> {
    let mut padded = [0; KEY];
    padded.get_mut(..key.len())?.copy_from_slice(key);
    SETTINGS.iter().copied().find(|known| known.key == padded)
}

/// The setting that had another name before.
pub(super) fn renamed(key: &[u8]) -> Option<&'static Setting> {
    match key {
        b"slack" => Some(&RESIDENT_BUDGET),
        b"slack_part" => Some(&BUDGET_PART),
        b"learning" => Some(&RETAIN),
        _ => None,
    }
}
