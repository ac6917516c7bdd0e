//! Atomics and the lock: the only place that knows whether loom or the machine provides them.
//!
//! `Lock` guards everything that several threads change together (arenas, mappings,
//! abandoned pools, the lists of a heap). Critical sections are short and never call out
//! to anything that could allocate. It can be held across `fork`. Whoever finds it held sleeps in the kernel (`waiters`).
//!
//! Lock order, outermost first: spare heaps, a heap's lists, those who post to it, abandoned pools,
//! mappings, arenas, what pools retain. No thread holds the lists of two heaps.

mod counts;
#[cfg(loom)]
pub mod modelled;
mod shared_word;
mod waiters;

pub use shared_word::SharedWord;

#[cfg(loom)]
pub use modelled::{
    AtomicPtr, AtomicU32, AtomicU64, Guard, Lock, Ordering, compiler_fence, fence, owner_reads,
    owner_writes,
};

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
#[cfg(not(loom))]
pub use sleeping::{Guard, Lock};

/// The caller owns a word, and reads it. For the model, which fails a run in which that is not ordered with the last `owner_writes`.
#[cfg(not(loom))]
#[inline(always)]
pub fn owner_reads<T>(_: &T) {}

/// The caller owns a word, and writes it. As `owner_reads`, with both.
#[cfg(not(loom))]
#[inline(always)]
pub fn owner_writes<T>(_: &T) {}

#[cfg(not(loom))]
mod sleeping {
    use super::counts::LockCounts;
    use super::waiters::Waiters;
    use core::marker::PhantomData;
    use core::mem;
    use core::ops::{Deref, DerefMut};
    use spin::mutex::SpinMutex;

    /// A mutual exclusion lock around `T`. The mutex is tried only: its own way of waiting, which spins, is never used.
    pub struct Lock<T> {
        mutex: SpinMutex<T>,
        waiters: Waiters,
        counts: LockCounts,
    }

    /// The calling thread holds the lock, which it gives back when this is dropped.
    pub struct Guard<'a, T> {
        lock: &'a Lock<T>,
        /// Shared between threads only where `T` may be.
        exclusive: PhantomData<&'a mut T>,
    }

    impl<T> Lock<T> {
        pub const fn new(value: T) -> Self {
            Lock {
                mutex: SpinMutex::new(value),
                waiters: Waiters::none(),
                counts: LockCounts::none(),
            }
        }

        #[inline]
        pub fn lock(&self) -> Guard<'_, T> {
            #[cfg(feature = "count-locks")]
            return self.lock_and_count();
            #[cfg(not(feature = "count-locks"))]
            self.waiters.acquire(|| self.attempt())
        }

        #[cfg(feature = "count-locks")]
        fn lock_and_count(&self) -> Guard<'_, T> {
            if let Some(held) = self.attempt() {
                return held;
            }
            let since = super::counts::clock();
            let held = self.waiters.acquire(|| self.attempt());
            self.counts.waited(since);
            held
        }

        /// Locks if nobody holds the lock now.
        #[inline]
        pub fn try_lock(&self) -> Option<Guard<'_, T>> {
            let held = self.attempt();
            if held.is_none() {
                self.counts.refused();
            }
            held
        }

        #[inline]
        fn attempt(&self) -> Option<Guard<'_, T>> {
            // The mutex stays locked, and `Guard` stands for it: it must also wake those that wait.
            mem::forget(self.mutex.try_lock()?);
            self.counts.taken::<T>();
            Some(Guard {
                lock: self,
                exclusive: PhantomData,
            })
        }

        /// Gives the lock back.
        ///
        /// # Safety
        /// The caller holds the lock, and has no guard that would give it back again.
        #[inline]
        unsafe fn release(&self) {
            self.counts.released();
            // SAFETY: passed on from the caller.
            self.waiters
                .release(|| unsafe { self.mutex.force_unlock() });
        }

        /// Locks until `release_after_fork`, which the forking thread calls in the parent and in the child.
        pub fn hold_for_fork(&self) {
            mem::forget(self.lock());
        }

        /// Ends `hold_for_fork`. Whoever waits for the lock is woken; in the child nobody does, and to wake nobody does no harm.
        ///
        /// # Safety
        /// The calling thread, or the thread it was forked from, must hold the lock by `hold_for_fork`.
        pub unsafe fn release_after_fork(&self) {
            // SAFETY: passed on from the caller.
            unsafe { self.release() }
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: the lock is held as long as the guard lives, and the reference is borrowed from the guard.
            unsafe { &*self.lock.mutex.as_mut_ptr() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as above, and the guard is borrowed exclusively.
            unsafe { &mut *self.lock.mutex.as_mut_ptr() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: the lock is held by this guard alone, which ends.
            unsafe { self.lock.release() }
        }
    }
}
