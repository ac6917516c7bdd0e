//! Retaining: memory that was given back and soon asked for again stays the next time.
//!
//! What it owns: the rule, for one kind of memory (free slots, pages inside pools, mappings), and `RETAINED`, the sum of all kinds. Each
//! kind has a `Retained` behind its own lock. Nothing here reads the clock by itself but `now`.
//!
//! Giving a page back and faulting it in again costs a program about as much as `TURN_NANOSECONDS`. If that happens
//! so often that it takes more than a quarter of the time, the page is worth keeping. So bytes that come back within four times their
//! cost are *wanted*. There are two ways to keep them:
//!
//! - *Lazily*: the system may take the pages at any moment (`MADV_FREE`). Until it does they serve again without a fault. One
//!   repetition is enough for this way.
//! - *Resident*: for nothing at all, but they are taken from everyone else. It needs `REPETITIONS`, and all kinds together may retain
//!   no more than `budget::retained` says.
//!
//! Wanted bytes that stay unused for a fifth of a second, or for as long as it took to want them, are forgotten. There is no timer: an idle process keeps
//! them until it works again.
//!
//! When more is given back in one go than may be retained, everything is forgotten. Should the program grow like that again, the little
//! that would have stayed saves few of its faults.
//!
//! What must hold: `give_back` is told only of bytes that would have stayed, had more been wanted. Otherwise the wanted bytes grow with every
//! turn. `RETAINED` is the sum of `resident` of all kinds.

use crate::budget::{self, RETAINED_MOST, RETAINED_PART};
use crate::conf;
use crate::os;
use crate::sync::SharedWord;
use core::sync::atomic::Ordering;

/// The cost of giving a page of 4 KiB back and faulting it in again: two microseconds, more on a virtual machine. Measure a
/// loop of `madvise(MADV_DONTNEED)` and a write.
const TURN_NANOSECONDS: u64 = 2000;
/// A quarter of the time may go into such turns. With a tenth, `make demo` leaves 13 MiB more, and is no faster.
const PATIENCE: u64 = 4;
/// However few bytes it was, a turn within this time counts as soon: a few ticks of the coarse clock.
const SOON_NANOSECONDS: u64 = 10_000_000;

/// Wanted memory is not forgotten before it was unused for so long, however little it is: a slow or busy machine may take this long
/// between two needs. With a second, `make demo` leaves 14 MiB more. With the `horizon` of a few megabytes instead, programs that use
/// buffers of 1 to 24 MiB fault twice as many pages on a busy machine (`mappings.c reused`).
const FORGET_NANOSECONDS: u64 = 200_000_000;

/// Wanted bytes must be asked for again this many times over before any of them stay resident. Once proves nothing: a buffer that a
/// program fills twice is often never filled again. With 4, `large` of `make bench` takes a tenth more time.
const REPETITIONS: usize = 2;

/// The most that one call gives up of each kind (64 MiB), however many bytes are about to be mapped. It takes some 6 ms. The system takes
/// lazy memory anyway once it has no other. Measure `malloc` of a gibibyte where 400 MiB are retained: without this, 35 ms.
pub const MOST_AT_ONCE: usize = 64 << 20;

/// See `Retained::observe_in_turn`. Reading the clock takes a tenth as long as taking or releasing a pool.
const TURNS: u8 = 8;

/// A moment, in nanoseconds since some start.
pub type Moment = u64;

/// The present, to a few milliseconds. It may step back: in a process that was moved to another machine, or forked into another
/// time namespace. Some callers hold a lock. Where the kernel has no function for it (`os::clock`) this is a system call, the only one
/// under a lock. It waits for nothing, and takes as long as the lock is held otherwise.
pub fn now() -> Moment {
    os::coarse_clock()
}

/// How long a turn of `bytes` may take and still count as soon.
fn horizon(bytes: usize) -> u64 {
    let pages = (bytes / os::SMALLEST_PAGE) as u64;
    SOON_NANOSECONDS + pages * (TURN_NANOSECONDS * PATIENCE)
}

/// How long `bytes` must be unused to be forgotten.
fn until_forgotten(bytes: usize) -> u64 {
    horizon(bytes).max(FORGET_NANOSECONDS)
}

/// Bytes of all kinds that may stay resident because they are retained.
pub static RETAINED: SharedWord = SharedWord::named("bytes retained");
/// Bytes of all kinds that are wanted, so that a process that wants none need not ask each.
static WANTED: SharedWord = SharedWord::named("bytes wanted");

/// Bytes of all kinds that may stay resident because they are retained.
pub fn retained_bytes() -> usize {
    // Relaxed, here and below: a figure that others change meanwhile.
    RETAINED.load(Ordering::Relaxed)
}

/// The most bytes that were ever held for the program, whatever is free of them: see `raises_the_peak`.
static MOST_HELD: SharedWord = SharedWord::named("most bytes held");

/// A peak is higher than the one before if it exceeds this by more than so much of it (1/32): needs that come again are never quite the
/// same. Without it twenty spikes of 100 MiB give up, and fault in again, a quarter of what they retain.
const PEAK_PART: usize = 32;

/// Whether `held` bytes, all that may be resident, are a new peak.
fn is_new_peak(held: usize) -> bool {
    // Relaxed, here and below: an account.
    let most = MOST_HELD.load(Ordering::Relaxed);
    held > most + most / PEAK_PART
}

/// Whether `held` bytes, all that may be resident, raise the peak of the process. To be called before new memory is touched. True only
/// if something is wanted, or still to be given back (`in_debt`): that must go first, and then `note_held` is told how much is left.
/// Below the peak it may stay: a program whose needs come and go between layers would give up what it wants again at once.
pub fn raises_the_peak(held: usize, in_debt: bool) -> bool {
    if !is_any_wanted() && !in_debt {
        if held > MOST_HELD.load(Ordering::Relaxed) {
            MOST_HELD.fetch_max(held, Ordering::Relaxed);
        }
        return false;
    }
    is_new_peak(held)
}

/// The process holds `held` bytes, though it has given up what it could.
pub fn note_held(held: usize) {
    if is_new_peak(held) {
        MOST_HELD.fetch_max(held, Ordering::Relaxed);
    }
}

/// Whether any kind wants anything.
#[inline]
pub fn is_any_wanted() -> bool {
    WANTED.load(Ordering::Relaxed) != 0
}

pub struct Retained {
    /// Bytes to keep beyond what may stay anyway, lazily or resident.
    wanted: usize,
    /// Those of them that may stay resident.
    resident: usize,
    /// Wanted bytes that served again, since there are some: each time counts.
    repeated: usize,
    /// Whether the kind cannot keep memory lazily.
    resident_only: bool,
    /// Bytes given back and not asked for again yet.
    returned: usize,
    returned_at: Moment,
    /// Bytes given back since any were last asked for again.
    dropped: usize,
    /// The least of the wanted bytes that was unused since `since`, at which something was first wanted.
    least_unused: usize,
    since: Moment,
    /// How much was unused when that was last told, and when: nothing happened since.
    latest_unused: usize,
    latest: Moment,
    /// Calls of `observe_in_turn`.
    turns: u8,
}

impl Retained {
    /// Nothing of a kind that can keep memory lazily. All zeroes, so that statics with it take no place in the file.
    pub const fn nothing() -> Self {
        Retained {
            wanted: 0,
            resident: 0,
            repeated: 0,
            resident_only: false,
            returned: 0,
            returned_at: 0,
            dropped: 0,
            least_unused: 0,
            since: 0,
            latest_unused: 0,
            latest: 0,
            turns: 0,
        }
    }

    /// Nothing of a kind that cannot. It needs no `REPETITIONS`: its turns are many and small.
    pub const fn nothing_resident() -> Self {
        Retained {
            resident_only: true,
            ..Retained::nothing()
        }
    }

    /// Bytes to keep beyond what may stay anyway.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Bytes that may stay resident beyond what may stay anyway.
    pub fn resident(&self) -> usize {
        self.resident
    }

    /// Bytes that may stay if the system may take them at any moment.
    pub fn lazy(&self) -> usize {
        self.wanted - self.resident
    }

    /// The one place where what is wanted changes, and how much of it stays resident while so much is `in_use`.
    #[inline(never)]
    fn change(&mut self, wanted: usize, in_use: usize) {
        // Resident bytes were proven before.
        let proven = self.resident_only
            || self.resident > 0
            || self.repeated >= wanted.saturating_mul(REPETITIONS);
        let others = retained_bytes().saturating_sub(self.resident);
        let room = budget::retained(in_use).saturating_sub(others);
        let resident = if proven { wanted.min(room) } else { 0 };
        let wanted = if self.resident_only { resident } else { wanted };
        if wanted == self.wanted && resident == self.resident {
            return;
        }
        // Relaxed, all: an account. Two kinds that change at once may pass the limit together until one of them changes again.
        RETAINED.fetch_add(resident, Ordering::Relaxed);
        RETAINED.fetch_sub(self.resident, Ordering::Relaxed);
        WANTED.fetch_add(wanted, Ordering::Relaxed);
        WANTED.fetch_sub(self.wanted, Ordering::Relaxed);
        self.wanted = wanted;
        self.resident = resident;
        if wanted == 0 {
            self.repeated = 0;
        }
        debug_assert!(self.resident <= self.wanted);
    }

    /// `bytes` went back to the system.
    #[inline(never)]
    pub fn give_back(&mut self, bytes: usize, now: Moment) {
        if bytes == 0 || conf::RETAIN.get() == 0 {
            return;
        }
        self.forget_late(now);
        self.returned += bytes;
        self.returned_at = now;
        self.dropped += bytes;
        if self.dropped > RETAINED_MOST.max(2 * self.wanted) {
            self.dropped = 0;
            self.change(0, 0);
        }
    }

    /// `bytes` that are not resident are asked for. `now` is called only if something was given back.
    #[inline]
    pub fn ask(&mut self, bytes: usize, in_use: usize, now: impl FnOnce() -> Moment) {
        if bytes != 0 && self.returned != 0 {
            self.ask_at(bytes, in_use, now());
        }
    }

    #[inline(never)]
    fn ask_at(&mut self, bytes: usize, in_use: usize, now: Moment) {
        self.forget_late(now);
        let again = bytes.min(self.returned);
        if again == 0 {
            return;
        }
        self.returned -= again;
        self.dropped = 0;
        if self.wanted == 0 {
            self.since = now;
        }
        self.repeated = self.repeated.saturating_add(again);
        self.change(self.wanted + again, in_use);
        self.least_unused = 0;
        self.latest_unused = 0;
        self.latest = now;
    }

    /// `bytes` that were kept lazily serve again.
    #[inline(never)]
    pub fn serve_again(&mut self, bytes: usize, in_use: usize) {
        if self.wanted > 0 && bytes > 0 {
            self.repeated = self.repeated.saturating_add(bytes);
            if self.resident == 0 {
                self.change(self.wanted, in_use);
            }
        }
    }

    /// Bytes given back so long ago no longer count.
    fn forget_late(&mut self, now: Moment) {
        if now.saturating_sub(self.returned_at) > horizon(self.returned) {
            self.returned = 0;
            self.dropped = 0;
        }
    }

    /// `unused` of the wanted bytes are unused now. True when less is wanted from now on. To be called wherever that changes,
    /// and from time to time.
    #[inline(never)]
    pub fn observe(&mut self, unused: usize, in_use: usize, now: Moment) -> bool {
        let horizon = until_forgotten(self.wanted);
        // The need for it is over.
        let idle = now.saturating_sub(self.latest) > horizon && self.latest_unused > 0;
        self.latest_unused = unused;
        self.latest = now;
        self.least_unused = self.least_unused.min(unused);
        let mut forgotten = 0;
        if now.saturating_sub(self.since) > horizon {
            forgotten = self.least_unused;
            self.since = now;
            self.least_unused = unused;
        }
        let before = (self.wanted, self.resident);
        let wanted = if idle {
            0
        } else {
            before.0.saturating_sub(forgotten)
        };
        self.change(wanted, in_use);
        self.wanted < before.0 || self.resident < before.1
    }

    /// As `observe`, for callers that come often: each call counts, but only one in `TURNS` reads the clock.
    #[inline]
    pub fn observe_in_turn(
        &mut self,
        unused: usize,
        in_use: usize,
        now: impl FnOnce() -> Moment,
    ) -> bool {
        self.least_unused = self.least_unused.min(unused);
        // The kind is not idle unless all that time something was unused.
        self.latest_unused = self.latest_unused.min(unused);
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(TURNS) && self.observe(unused, in_use, now())
    }

    /// Wants `bytes` less, lazy ones first: somebody else needs the memory. Only the wanted bytes that are `unused` can go. Returns
    /// how many must.
    #[inline(never)]
    pub fn give_up(&mut self, bytes: usize, unused: usize) -> usize {
        let bytes = bytes.min(unused);
        if bytes == 0 || self.wanted == 0 {
            return 0;
        }
        let wanted = self.wanted.saturating_sub(bytes);
        // Nothing was proven or refuted: what stays is as it was.
        let in_use = self.resident.saturating_mul(RETAINED_PART);
        self.change(wanted, in_use);
        bytes
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.change(0, 0);
        let resident_only = self.resident_only;
        *self = Self::nothing();
        self.resident_only = resident_only;
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
