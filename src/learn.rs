//! What was learned: memory that was given back and soon asked for again is kept the next time.
//!
//! What it owns: the rule, for one kind of memory (free slots, pages inside pools, mappings). Each kind has a `Learned` behind its
//! own lock. Nothing here reads the clock by itself but `now`.
//!
//! Giving a page back and faulting it in again costs a program about as much as `TURN_NANOSECONDS`. If that happens
//! so often that it takes more than a quarter of the time, the page is worth keeping. So what comes back within four times its cost
//! counts as *asked again*, and that much more is kept from then on. What stays unused for the same time is forgotten. There is
//! no timer: an idle process keeps what it has learned until it works again.
//!
//! What must hold: `give_back` is told only of what would have stayed, had more been kept. Otherwise what is kept grows with every turn.

use crate::conf;
use crate::os;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What it costs to give a page of 4 KiB back and to fault it in again: two microseconds, more on a virtual machine. Measure a
/// loop of `madvise(MADV_DONTNEED)` and a write.
const TURN_NANOSECONDS: u64 = 2000;
/// A quarter of the time may go into such turns. With a tenth, `make demo` leaves 13 MiB more, and is no faster.
const PATIENCE: u64 = 4;
/// Whatever the amount, this long ago is still soon: a few ticks of the coarse clock.
const SOON_NANOSECONDS: u64 = 10_000_000;

/// See `Learned::observe_in_turn`. The clock takes as long as a tenth of what an arena does to take or release a pool.
const TURNS: u8 = 8;

/// A moment, in nanoseconds since some start.
pub type Moment = u64;

/// The present, to a few milliseconds. It may step back: in a process that was moved to another machine, or forked into another
/// time namespace.
pub fn now() -> Moment {
    os::coarse_clock()
}

/// How long a turn of so many bytes may take ago to count as soon.
fn horizon(bytes: usize) -> u64 {
    let pages = (bytes / os::SMALLEST_PAGE) as u64;
    SOON_NANOSECONDS + pages * (TURN_NANOSECONDS * PATIENCE)
}

/// Bytes kept of all kinds, so that a process that has learned nothing need not ask each.
pub static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Bytes of all kinds that are kept beyond what may stay anyway.
pub fn kept_bytes() -> usize {
    // Relaxed: a figure that others change meanwhile.
    KEPT.load(Ordering::Relaxed)
}

pub struct Learned {
    /// Bytes to keep beyond what may stay anyway.
    kept: usize,
    /// Bytes given back and not asked for again yet.
    returned: usize,
    returned_at: Moment,
    /// The least that was kept and unused since `since`.
    least_unused: usize,
    since: Moment,
    /// What was unused when that was last told, and when: nothing happened since.
    latest_unused: usize,
    latest: Moment,
    /// Calls of `observe_in_turn`.
    turns: u8,
}

impl Learned {
    pub const fn nothing() -> Self {
        Learned {
            kept: 0,
            returned: 0,
            returned_at: 0,
            least_unused: usize::MAX,
            since: 0,
            latest_unused: 0,
            latest: 0,
            turns: 0,
        }
    }

    fn change_kept(&mut self, kept: usize) {
        if kept == self.kept {
            return;
        }
        // Relaxed, both: an account.
        KEPT.fetch_add(kept, Ordering::Relaxed);
        KEPT.fetch_sub(self.kept, Ordering::Relaxed);
        self.kept = kept;
    }

    /// Bytes to keep beyond what may stay anyway.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// So many bytes went back to the system.
    #[inline(never)]
    pub fn give_back(&mut self, bytes: usize, now: Moment) {
        if bytes == 0 || conf::LEARNING.get() == 0 {
            return;
        }
        self.forget_late(now);
        self.returned += bytes;
        self.returned_at = now;
    }

    /// So many bytes that are not resident are asked for. `now` is called only if something was given back.
    #[inline]
    pub fn ask(&mut self, bytes: usize, now: impl FnOnce() -> Moment) {
        if bytes != 0 && self.returned != 0 {
            self.ask_at(bytes, now());
        }
    }

    #[inline(never)]
    fn ask_at(&mut self, bytes: usize, now: Moment) {
        self.forget_late(now);
        let again = bytes.min(self.returned);
        if again == 0 {
            return;
        }
        self.returned -= again;
        if self.kept == 0 {
            self.since = now;
        }
        self.change_kept(self.kept + again);
        self.least_unused = 0;
        self.latest_unused = 0;
        self.latest = now;
    }

    /// What was given back so long ago no longer counts.
    fn forget_late(&mut self, now: Moment) {
        if now.saturating_sub(self.returned_at) > horizon(self.returned) {
            self.returned = 0;
        }
    }

    /// Of what is kept, so many bytes are unused now. True when less is kept from now on. To be called wherever that changes,
    /// and from time to time.
    #[inline(never)]
    pub fn observe(&mut self, unused: usize, now: Moment) -> bool {
        let horizon = horizon(self.kept);
        // Whatever it was that wanted it again is over.
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
        let before = self.kept;
        self.change_kept(match idle {
            true => 0,
            false => before.saturating_sub(forgotten),
        });
        self.kept < before
    }

    /// As `observe`, for who comes by often: all of it counts, but the clock is asked one time in `TURNS`.
    #[inline]
    pub fn observe_in_turn(&mut self, unused: usize, now: impl FnOnce() -> Moment) -> bool {
        self.least_unused = self.least_unused.min(unused);
        // Who comes by in between is not idle unless all that time something was unused.
        self.latest_unused = self.latest_unused.min(unused);
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(TURNS) && self.observe(unused, now())
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.change_kept(0);
        *self = Self::nothing();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1 << 20;
    const SECOND: Moment = 1_000_000_000;

    #[test]
    fn what_is_asked_for_again_soon_is_kept() {
        let mut learned = Learned::nothing();
        learned.ask(MEGABYTE, || unreachable!());
        learned.give_back(100 * MEGABYTE, SECOND);
        learned.ask(60 * MEGABYTE, || SECOND + SECOND / 50);
        assert_eq!(learned.kept(), 60 * MEGABYTE);
        learned.ask(60 * MEGABYTE, || SECOND + SECOND / 20);
        assert_eq!(learned.kept(), 100 * MEGABYTE);
        learned.ask(60 * MEGABYTE, || unreachable!());
        assert_eq!(learned.kept(), 100 * MEGABYTE);
    }

    #[test]
    fn what_is_asked_for_late_is_not() {
        let mut learned = Learned::nothing();
        learned.give_back(MEGABYTE, SECOND);
        learned.ask(MEGABYTE, || 2 * SECOND);
        assert_eq!(learned.kept(), 0);
        // The more it is, the longer is soon.
        learned.give_back(1000 * MEGABYTE, 2 * SECOND);
        learned.ask(MEGABYTE, || 4 * SECOND);
        assert_eq!(learned.kept(), MEGABYTE);
    }

    #[test]
    fn what_stays_unused_is_forgotten() {
        let mut learned = Learned::nothing();
        learned.give_back(100 * MEGABYTE, SECOND);
        learned.ask(100 * MEGABYTE, || SECOND);
        // In use at least once in each stretch of time: kept.
        let mut time = SECOND;
        for _ in 0..30 {
            time += SECOND / 10;
            assert!(!learned.observe(0, time));
            assert!(!learned.observe(100 * MEGABYTE, time));
        }
        assert_eq!(learned.kept(), 100 * MEGABYTE);
        // 30 of it are not in use at any time.
        for step in 0..20 {
            time += SECOND / 10;
            let least = learned.kept() - 70 * MEGABYTE;
            learned.observe(if step % 2 == 0 { least } else { learned.kept() }, time);
        }
        assert_eq!(learned.kept(), 70 * MEGABYTE);
        // Nothing happens for a while.
        assert!(learned.observe(0, time + 2 * SECOND));
        assert_eq!(learned.kept(), 0);
    }

    #[test]
    fn what_was_used_between_two_looks_at_the_clock_counts() {
        let mut learned = Learned::nothing();
        learned.give_back(100 * MEGABYTE, SECOND);
        learned.ask(100 * MEGABYTE, || SECOND);
        for step in 1..=3 {
            learned.observe(100 * MEGABYTE, SECOND + step * SECOND / 10);
        }
        for unused in [100, 40, 100] {
            learned.observe_in_turn(unused * MEGABYTE, || unreachable!());
        }
        for step in 4..=6 {
            let mut looks = 0;
            for _ in 0..TURNS {
                learned.observe_in_turn(100 * MEGABYTE, || {
                    looks += 1;
                    SECOND + step * SECOND / 10
                });
            }
            assert_eq!(looks, 1);
        }
        assert_eq!(learned.kept(), 60 * MEGABYTE);
        // Eight turns may take longer than what counts as idle.
        for step in 1..100 {
            learned.observe_in_turn(step % 2 * 60 * MEGABYTE, || {
                2 * SECOND + step as Moment * SECOND / 20
            });
        }
        assert_eq!(learned.kept(), 60 * MEGABYTE);
    }
}
