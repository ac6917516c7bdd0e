//! Waiting for a lock: a moment on the processor, then asleep in the kernel until whoever holds the lock gives it back.
//!
//! What it owns: a word of each lock that says whether somebody may be asleep. The lock's own word belongs to the mutex.
//!
//! ```text
//!   the waiter                                   the holder
//!     tries, pauses, tries again, a few times
//!     announces itself: word = SOME                unlocks
//!     tries once more                              takes the word: word = NONE
//!     sleeps, but not unless word is still SOME    if it was SOME: wakes one
//!     announces itself again, tries, ...
//! ```
//!
//! A waiter that sleeps takes no processor, so that a holder that lost its own, or that has a lower priority, can run.
//!
//! Why nobody sleeps for ever. Both sides write the word by a read-modify-write, of which one comes first:
//! - The announcement comes first: the holder finds SOME, and wakes one. Should the announcer not be asleep yet, the kernel, which compares the word
//!   again before it lets it sleep, finds NONE and sends it back to try.
//! - The holder comes first: the announcement reads what the holder wrote (or a later write that continues its release sequence), and so acquires the
//!   unlocking that went before. The try that follows fails only if yet another thread holds the lock, and that one takes the word after its own
//!   unlocking; the same two cases hold for it.
//!
//! A thread that was woken announces itself before it tries. Others may be asleep of which the word says nothing any more: so it wakes the next when it
//! gives the lock back. Once nobody is left this costs one call that wakes nobody.
//!
//! Unlocking is a store, which another processor may see only after it has answered a later load: a plain load of the word
//! would miss an announcement. The read-modify-write is the barrier in between. A fence and a load would do too, and take longer on x86-64
//! (`docs/experiments.md`).
//!
//! Not by `FUTEX_LOCK_PI`, which lends the holder the priority of the waiter. The word would have to be the holder's thread number: every
//! lock would have to look it up, and `fork` to replace it. The lock could not be the mutex that it is. And each woken thread would get
//! the lock handed over, at a switch of threads each time. No critical section takes longer than microseconds, or makes a system call, but
//! for the clock where that is one (`retain::now`). So a thread of a priority in between holds up a waiter only while it keeps the
//! processor from the holder, as with the C library's mutexes.
//!
//! A lock is never unmapped, so that its word is there when the lock has been another's for long.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};

/// Nobody is asleep that has not been woken.
const NONE: u32 = 0;
/// Somebody may be.
const SOME: u32 = 1;

/// How often a waiter tries again before it announces itself, after 1, 2, 4 and 8 pauses: together some 600 ns on x86-64 since 2015 (40 ns
/// each), 150 ns on older ones. A critical section takes about 100 ns, to sleep and be woken some microseconds. None in the model, which
/// would only grow.
const TRIES: u32 = if cfg!(loom) { 0 } else { 4 };

pub struct Waiters {
    word: AtomicU32,
    #[cfg(loom)]
    kernel: model::Kernel,
}

impl Waiters {
    #[cfg(not(loom))]
    pub const fn none() -> Self {
        Waiters {
            word: AtomicU32::new(NONE),
        }
    }

    /// Tries until `attempt` has the lock.
    #[inline(always)]
    pub fn acquire<R>(&self, attempt: impl Fn() -> Option<R>) -> R {
        match attempt() {
            Some(held) => held,
            None => self.wait(attempt),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait<R>(&self, attempt: impl Fn() -> Option<R>) -> R {
        let mut tries = 0;
        loop {
            self.before_next_try(tries);
            if let Some(held) = attempt() {
                return held;
            }
            tries = (tries + 1).min(TRIES + 1);
        }
    }

    /// Unlocks, and wakes one that sleeps, if any may. `unlock` stores to the lock with release, or more.
    #[inline(always)]
    pub fn release(&self, unlock: impl FnOnce()) {
        unlock();
        // Release: whoever announces itself afterwards acquires the unlocking. What was announced before says only that somebody may be asleep: nothing
        // to acquire.
        if self.word.swap(NONE, Ordering::Release) == SOME {
            self.wake();
        }
    }

    /// What a waiter does between a try that failed and the next.
    #[inline(never)]
    fn before_next_try(&self, tries: u32) {
        if tries < TRIES {
            for _ in 0..1 << tries {
                core::hint::spin_loop();
            }
            return;
        }
        if tries > TRIES {
            self.sleep();
        }
        self.announce();
    }

    fn announce(&self) {
        // Acquire: what was unlocked before the word was taken is seen by the try that follows. The tries before have failed and changed nothing: nothing
        // to release.
        self.word.swap(SOME, Ordering::Acquire);
    }

    /// Sleeps until it is woken, if the word still says that it may.
    fn sleep(&self) {
        #[cfg(not(loom))]
        crate::os::sleep_while(&self.word, SOME);
        #[cfg(loom)]
        self.kernel.sleep_while(&self.word, SOME);
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        #[cfg(not(loom))]
        crate::os::wake(&self.word);
        #[cfg(loom)]
        self.kernel.wake_one();
    }
}

/// Loom explores every order in which threads take a lock that waits by the code above. It fails a run in which all threads are asleep, and one in which
/// two are in the critical section.
#[cfg(loom)]
mod model {
    use super::*;
    use loom::sync::{Condvar, Mutex};

    /// The kernel's queue of sleepers: it compares the word, and lets the thread sleep, as one step.
    pub struct Kernel {
        queue: Mutex<()>,
        woken: Condvar,
    }

    impl Kernel {
        pub fn sleep_while(&self, word: &AtomicU32, value: u32) {
            let queue = self.queue.lock().unwrap();
            // Relaxed: ordered by the queue only, as in the kernel.
            if word.load(Ordering::Relaxed) == value {
                drop(self.woken.wait(queue).unwrap());
            }
        }

        pub fn wake_one(&self) {
            let _queue = self.queue.lock().unwrap();
            self.woken.notify_one();
        }
    }

    #[cfg(test)]
    mod checks {
        use super::*;
        use loom::cell::UnsafeCell;
        use loom::model::Builder;
        use loom::sync::Arc;
        use loom::sync::atomic::AtomicBool;
        use loom::thread;

        /// A lock as `sync::Lock`, whose word changes as that of `spin::SpinMutex` does.
        struct Lock {
            word: AtomicBool,
            waiters: Waiters,
            /// What is locked: how often it was.
            times: UnsafeCell<usize>,
        }

        impl Lock {
            fn new() -> Self {
                let kernel = Kernel {
                    queue: Mutex::new(()),
                    woken: Condvar::new(),
                };
                Lock {
                    word: AtomicBool::new(false),
                    waiters: Waiters {
                        word: AtomicU32::new(NONE),
                        kernel,
                    },
                    times: UnsafeCell::new(0),
                }
            }

            /// As the mutex tries: one compare-and-swap. One that fails is a load, and may find a value that is no more the latest. Loom
            /// gives a compare-and-swap the latest always, so that a load goes before.
            fn attempt(&self) -> Option<()> {
                if self.word.load(Ordering::Relaxed) {
                    return None;
                }
                let locked =
                    self.word
                        .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
                locked.ok().map(|_| ())
            }

            /// Locks, counts, and unlocks.
            fn use_once(&self) {
                self.waiters.acquire(|| self.attempt());
                // SAFETY: loom lets nobody else in meanwhile.
                self.times.with_mut(|times| unsafe { *times += 1 });
                self.waiters
                    .release(|| self.word.store(false, Ordering::Release));
            }
        }

        /// Each of the threads uses the lock `uses` times.
        fn check(threads: usize, uses: usize) {
            let mut builder = Builder::new();
            builder.preemption_bound = builder.preemption_bound.or(Some(3));
            builder.check(move || {
                let lock = Arc::new(Lock::new());
                let others: Vec<_> = (1..threads)
                    .map(|_| {
                        let lock = lock.clone();
                        thread::spawn(move || (0..uses).for_each(|_| lock.use_once()))
                    })
                    .collect();
                (0..uses).for_each(|_| lock.use_once());
                others.into_iter().for_each(|other| other.join().unwrap());
                // SAFETY: as above.
                let times = lock.times.with(|times| unsafe { *times });
                assert_eq!(times, threads * uses);
            });
        }

        #[test]
        fn loom_two_threads_wait_for_each_other() {
            check(2, 2);
        }

        #[test]
        fn loom_three_threads_wait_for_each_other() {
            check(3, 1);
        }
    }
}
