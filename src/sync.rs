//! Atomics and the lock: the only place that knows whether loom or the machine provides them.
//!
//! `Lock` guards everything that several threads change together (arenas, mappings,
//! abandoned pools, the lists of a heap). Critical sections are short and never call out
//! to anything that could allocate. It can be held across `fork`.
//!
//! Lock order, outermost first: heap registry, a heap's lists, abandoned pools,
//! mappings, arenas, what pools have learned. No thread holds the lists of two heaps.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
pub use spinning::{Guard, Lock};

#[cfg(loom)]
pub use modelled::{Guard, Lock};

#[cfg(not(loom))]
mod spinning {
    use spin::RelaxStrategy;
    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// Tries a little, then gives the processor away, so that a holder that lost its
    /// quantum inside a critical section can go on.
    pub struct GiveWay;

    /// Pauses before the processor is given away. A critical section takes about
    /// a tenth of a microsecond, a pause up to 40 ns, `sched_yield` about 300 ns.
    const PAUSES: u32 = 8;

    impl RelaxStrategy for GiveWay {
        #[cold]
        #[inline(never)]
        fn relax() {
            for _ in 0..PAUSES {
                core::hint::spin_loop();
            }
            crate::os::give_way();
        }
    }

    /// Gives the lock back when it is dropped.
    pub type Guard<'a, T> = SpinMutexGuard<'a, T>;

    /// A mutual exclusion lock around `T`.
    pub struct Lock<T>(SpinMutex<T, GiveWay>);

    impl<T> Lock<T> {
        pub const fn new(value: T) -> Self {
            Lock(SpinMutex::new(value))
        }

        #[inline]
        pub fn lock(&self) -> Guard<'_, T> {
            loop {
                if let Some(guard) = self.0.try_lock() {
                    return guard;
                }
                // This alone is out of line. `SpinMutex::lock` would be there once for each `T`; it also looks before it tries again,
                // which saves nothing so long after the last time.
                GiveWay::relax();
            }
        }

        /// Locks if nobody holds the lock now.
        #[inline]
        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.0.try_lock()
        }

        /// Locks until `release_after_fork`, which the forking thread calls in the parent and in the child.
        pub fn hold_for_fork(&self) {
            core::mem::forget(self.lock());
        }

        /// What is locked, between `hold_for_fork` and `release_after_fork`.
        ///
        /// # Safety
        /// Only for the thread that holds the lock by `hold_for_fork`, or its child.
        pub unsafe fn held(&self) -> &T {
            // SAFETY: the lock is held, so that nobody else has a reference.
            unsafe { &*self.0.as_mut_ptr() }
        }

        /// Ends `hold_for_fork`.
        ///
        /// # Safety
        /// The calling thread, or the thread it was forked from, must hold the lock by `hold_for_fork`.
        pub unsafe fn release_after_fork(&self) {
            // SAFETY: the caller holds the lock and has no guard that would release it again.
            unsafe { self.0.force_unlock() }
        }
    }
}

#[cfg(loom)]
mod modelled {
    /// As outside the model.
    pub type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

    /// As outside the model; loom explores every order in which threads take it.
    pub struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub fn new(value: T) -> Self {
            Lock(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap()
        }

        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
