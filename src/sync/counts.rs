//! Counts of locks and of shared words, for `scripts/count-locks`. Without the feature `count-locks` only empty functions are here, and no
//! byte of them is in the library.
//!
//! What it owns: how often each lock was taken and found taken, how long it was held and waited for; how often each `SharedWord` was
//! written. Each lock and each word has its own counts. The first use links them into one list, and the end of the process writes a line
//! of JSON for each to stderr.
//!
//! What must hold: the counts of a lock are written by its holder alone. So counting makes no thread wait, and no cache line travel that
//! would not anyway. Those of a word lie beside it for the same reason. Neither is ever unmapped.

#[cfg(all(not(loom), not(feature = "count-locks")))]
pub use off::LockCounts;
#[cfg(any(loom, not(feature = "count-locks")))]
pub use off::WordCounts;
#[cfg(all(not(loom), feature = "count-locks"))]
pub use on::{LockCounts, WordCounts, clock};

#[cfg(any(loom, not(feature = "count-locks")))]
mod off {
    #[cfg(not(loom))]
    pub struct LockCounts;

    #[cfg(not(loom))]
    const _: () = assert!(size_of::<LockCounts>() == 0 && size_of::<WordCounts>() == 0);

    #[cfg(not(loom))]
    impl LockCounts {
        pub const fn none() -> Self {
            LockCounts
        }

        #[inline(always)]
        pub fn taken<T>(&self) {}

        #[inline(always)]
        pub fn refused(&self) {}

        #[inline(always)]
        pub fn released(&self) {}
    }

    pub struct WordCounts;

    impl WordCounts {
        pub const fn of(_name: &'static str) -> Self {
            WordCounts
        }

        #[inline(always)]
        pub fn written(&self) {}
    }
}

#[cfg(all(not(loom), feature = "count-locks"))]
mod on {
    use crate::os;
    use core::any::type_name;
    use core::fmt::{self, Write};
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    /// A lock that was held for longer lost its processor meanwhile, or its holder was stopped: such times are told apart.
    const INTERRUPTED_NANOSECONDS: u64 = 20_000;

    // All of it is relaxed: who writes is told at each field, and it is read at the end of the process.

    /// The counts of one lock. All zeroes: of one that was never used.
    pub struct LockCounts {
        next: AtomicPtr<LockCounts>,
        /// The name of the type that it guards, by which the locks of all heaps are one row.
        name: AtomicPtr<u8>,
        name_length: AtomicU64,
        since: AtomicU64,
        taken: AtomicU64,
        held: AtomicU64,
        interrupted: AtomicU64,
        found_taken: AtomicU64,
        waited: AtomicU64,
        /// By those that try and do not wait. They do not have the lock, so that it is an addition.
        refused: AtomicU64,
    }

    static LOCKS: AtomicPtr<LockCounts> = AtomicPtr::new(ptr::null_mut());

    /// Adds to a count that nobody else writes now.
    fn add(count: &AtomicU64, more: u64) {
        count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    impl LockCounts {
        pub const fn none() -> Self {
            LockCounts {
                next: AtomicPtr::new(ptr::null_mut()),
                name: AtomicPtr::new(ptr::null_mut()),
                name_length: AtomicU64::new(0),
                since: AtomicU64::new(0),
                taken: AtomicU64::new(0),
                held: AtomicU64::new(0),
                interrupted: AtomicU64::new(0),
                found_taken: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }
        }

        /// The calling thread has just got the lock.
        pub fn taken<T>(&self) {
            if self.taken.load(Ordering::Relaxed) == 0 {
                let name = type_name::<T>();
                self.name.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
                self.name_length.store(name.len() as u64, Ordering::Relaxed);
                link(&LOCKS, self, &self.next);
            }
            add(&self.taken, 1);
            self.since.store(clock(), Ordering::Relaxed);
        }

        /// The calling thread, which has the lock now, found it taken and waited for so long.
        pub fn waited(&self, since: u64) {
            add(&self.found_taken, 1);
            add(&self.waited, clock().saturating_sub(since));
        }

        /// Somebody else has it.
        pub fn refused(&self) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }

        /// The calling thread is about to give it back.
        pub fn released(&self) {
            let held = clock().saturating_sub(self.since.load(Ordering::Relaxed));
            match held < scale().ticks(INTERRUPTED_NANOSECONDS) {
                true => add(&self.held, held),
                false => add(&self.interrupted, 1),
            }
        }
    }

    /// The counts of one shared word.
    pub struct WordCounts {
        next: AtomicPtr<WordCounts>,
        name: &'static str,
        written: AtomicU64,
    }

    static WORDS: AtomicPtr<WordCounts> = AtomicPtr::new(ptr::null_mut());

    impl WordCounts {
        pub const fn of(name: &'static str) -> Self {
            WordCounts {
                next: AtomicPtr::new(ptr::null_mut()),
                name,
                written: AtomicU64::new(0),
            }
        }

        /// The calling thread writes the word.
        pub fn written(&self) {
            if self.written.fetch_add(1, Ordering::Relaxed) == 0 {
                link(&WORDS, self, &self.next);
            }
        }
    }

    /// Puts something into a list that only grows. Once for each.
    fn link<T>(list: &AtomicPtr<T>, new: &T, next: &AtomicPtr<T>) {
        let new = ptr::from_ref(new).cast_mut();
        let mut first = list.load(Ordering::Relaxed);
        loop {
            next.store(first, Ordering::Relaxed);
            // Release: whoever walks over the list finds what it leads to.
            match list.compare_exchange(first, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => first = other,
            }
        }
    }

    // Time.

    /// Ticks of the processor, which take no call and no memory.
    #[cfg(target_arch = "x86_64")]
    pub fn clock() -> u64 {
        // SAFETY: every processor of this kind has the instruction.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn clock() -> u64 {
        os::exact_clock()
    }

    /// What a tick is, found out once by a look at both clocks, a millisecond apart.
    struct Scale {
        ticks_in_a_millisecond: u64,
    }

    impl Scale {
        fn ticks(&self, nanoseconds: u64) -> u64 {
            nanoseconds * self.ticks_in_a_millisecond / 1_000_000
        }

        fn nanoseconds(&self, ticks: u64) -> u64 {
            (ticks as u128 * 1_000_000 / self.ticks_in_a_millisecond.max(1) as u128) as u64
        }
    }

    fn scale() -> Scale {
        static FOUND: AtomicU64 = AtomicU64::new(0);
        if FOUND.load(Ordering::Relaxed) == 0 {
            let (ticks, time) = (clock(), os::exact_clock());
            let mut passed = 0;
            while passed < 1_000_000 {
                passed = os::exact_clock() - time;
            }
            let found = (clock() - ticks) * 1_000_000 / passed;
            FOUND.store(found.max(1), Ordering::Relaxed);
        }
        Scale {
            ticks_in_a_millisecond: FOUND.load(Ordering::Relaxed),
        }
    }

    // The end of the process.

    /// A line that is being made, on the stack: nothing here allocates.
    struct Line {
        bytes: [u8; 512],
        length: usize,
    }

    impl Write for Line {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = self.length + text.len();
            let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
            place.copy_from_slice(text.as_bytes());
            self.length = end;
            Ok(())
        }
    }

    fn write_line(text: fmt::Arguments) {
        let mut line = Line {
            bytes: [0; 512],
            length: 0,
        };
        if line.write_fmt(text).is_ok() {
            os::write_all(2, &line.bytes[..line.length]);
        }
    }

    extern "C" fn write_counts() {
        let scale = scale();
        // Acquire: see `link`.
        let mut next = LOCKS.load(Ordering::Acquire);
        // SAFETY: locks and words are never unmapped.
        while let Some(lock) = unsafe { next.as_ref() } {
            next = lock.next.load(Ordering::Relaxed);
            let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
            // SAFETY: a name of a type, as `taken` found it.
            let name = unsafe {
                core::str::from_utf8_unchecked(core::slice::from_raw_parts(
                    lock.name.load(Ordering::Relaxed),
                    count(&lock.name_length) as usize,
                ))
            };
            write_line(format_args!(
                "{{\"lock\": \"{name}\", \"taken\": {}, \"held\": {}, \"interrupted\": {}, \"found_taken\": {}, \"waited\": {}, \"refused\": {}}}\n",
                count(&lock.taken),
                scale.nanoseconds(count(&lock.held)),
                count(&lock.interrupted),
                count(&lock.found_taken),
                scale.nanoseconds(count(&lock.waited)),
                count(&lock.refused),
            ));
        }
        let mut next = WORDS.load(Ordering::Acquire);
        // SAFETY: as above.
        while let Some(word) = unsafe { next.as_ref() } {
            next = word.next.load(Ordering::Relaxed);
            let written = word.written.load(Ordering::Relaxed);
            write_line(format_args!(
                "{{\"word\": \"{}\", \"written\": {written}}}\n",
                word.name
            ));
        }
    }

    #[used]
    #[unsafe(link_section = ".fini_array")]
    static AT_END: extern "C" fn() = write_counts;
}
