//! Atomics and the lock in the model (`--cfg loom`), under the same names, sizes and calls as outside, so that the code that ships compiles as it is.
//!
//! What it owns: what loom knows of each word and lock of the run at hand, by address. The memory itself says only with which value each one begins.
//!
//! So whatever is made at compile time, as statics are, or of zeroes, as headers are, begins anew in each run. All threads of a run share one thread of the
//! system, on which the next run begins when all of them have ended.
//!
//! Beyond that a check learns here what loom alone would not tell:
//! - `owner_reads` and `owner_writes`: a word that one thread at a time owns. Loom fails the run if two accesses are not ordered.
//! - `begin_run`, `release`: a range in which no word is read or written once it was released, nor by an access that the release is not ordered after.

use loom::cell;
use loom::sync::atomic as explored;
use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

pub use loom::sync::atomic::{Ordering, fence};

type Known = HashMap<(usize, TypeId), Rc<dyn Any>>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
    /// The range that is watched.
    static WATCHED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static COMPILER_FENCES_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// A run begins, in which words from `start` on are watched.
pub fn begin_run(start: usize, size: usize) {
    KNOWN.with(|known| known.borrow_mut().clear());
    WATCHED.set((start, start + size));
    COMPILER_FENCES_WAIT.set(false);
}

/// What is known of a word in this run. `begin` makes what is known of one that nobody has touched.
fn known<T: 'static>(address: usize, begin: impl FnOnce() -> T) -> Rc<T> {
    let key = (address, TypeId::of::<T>());
    let found = KNOWN.with(|known| known.borrow().get(&key).cloned());
    let found = found.unwrap_or_else(|| {
        let made: Rc<dyn Any> = Rc::new(begin());
        KNOWN.with(|known| known.borrow_mut().insert(key, made.clone()));
        made
    });
    found.downcast().expect("found by its type")
}

fn address_of<T>(word: &T) -> usize {
    std::ptr::from_ref(word) as usize
}

// What a check learns.

struct Owned(cell::UnsafeCell<()>);

/// A step begins of which loom is to try every order with those of other threads. Of the accesses to a word it remembers the last: if that is the
/// load which goes before a compare-and-swap, it would not try the order in which the latter changes what another thread has loaded.
pub fn step() {
    struct Steps(explored::AtomicUsize);
    let steps = known(0, || Steps(explored::AtomicUsize::new(0)));
    // Relaxed: orders nothing.
    steps.0.fetch_add(1, Ordering::Relaxed);
}

/// The caller owns a word, and reads it.
pub fn owner_reads<T>(word: &T) {
    known(address_of(word), || Owned(cell::UnsafeCell::new(())))
        .0
        .with(|_| ());
}

/// The caller owns a word, and writes it.
pub fn owner_writes<T>(word: &T) {
    known(address_of(word), || Owned(cell::UnsafeCell::new(())))
        .0
        .with_mut(|_| ());
}

struct Released(cell::UnsafeCell<bool>);

fn watched() -> Rc<Released> {
    known(WATCHED.get().0, || Released(cell::UnsafeCell::new(false)))
}

fn look(address: usize) {
    let (start, end) = WATCHED.get();
    if (start..end).contains(&address) {
        // SAFETY: loom fails the run if somebody else writes meanwhile.
        let released = watched().0.with(|released| unsafe { *released });
        assert!(!released, "an access after the release");
    }
}

/// Nobody reads or writes the range that is watched any more.
pub fn release() {
    // SAFETY: loom fails the run if somebody else accesses it meanwhile.
    watched().0.with_mut(|released| unsafe { *released = true });
}

/// From now on a fence that restrains the compiler alone, outside the model, keeps the processor waiting as well.
pub fn compiler_fences_wait() {
    COMPILER_FENCES_WAIT.set(true);
}

/// The model knows no order that the compiler has changed.
pub fn compiler_fence(order: Ordering) {
    if COMPILER_FENCES_WAIT.get() {
        fence(order);
    }
}

// Atomics.

macro_rules! atomic {
    ($name:ident $(<$of:ident>)?, $value:ty) => {
        #[repr(transparent)]
        pub struct $name $(<$of>)? (core::sync::atomic::$name $(<$of>)?);

        impl $(<$of: 'static>)? $name $(<$of>)? {
            pub const fn new(value: $value) -> Self {
                Self(core::sync::atomic::$name::new(value))
            }

            fn known(&self) -> Rc<explored::$name $(<$of>)?> {
                look(address_of(self));
                let begin = || explored::$name::new(self.0.load(Ordering::Relaxed));
                known(address_of(self), begin)
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.known().load(order)
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                step();
                self.known().swap(value, order)
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                otherwise: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.known().compare_exchange(old, new, order, otherwise)
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                otherwise: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(old, new, order, otherwise)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicPtr<T>, *mut T);

impl AtomicU32 {
    #[track_caller]
    pub fn store(&self, value: u32, order: Ordering) {
        self.known().store(value, order)
    }
}

impl<T: 'static> AtomicPtr<T> {
    #[track_caller]
    pub fn store(&self, value: *mut T, order: Ordering) {
        self.known().store(value, order)
    }
}

impl AtomicU64 {
    /// Loom does not order a plain store after a compare-and-swap that came first, unless they happen one before the other: it would go on giving the
    /// older value. In a swap it sees the order. Only relaxed: a swap would continue another thread's release sequence, which a store ends.
    #[track_caller]
    pub fn store(&self, value: u64, order: Ordering) {
        assert_eq!(order, Ordering::Relaxed);
        self.known().swap(value, order);
    }
}

/// A number that each run begins anew. Its changes are ordered with nothing, and loom does not explore them.
pub struct Figure(usize);

impl Figure {
    pub const fn new(value: usize) -> Self {
        Figure(value)
    }

    fn known(&self) -> Rc<Cell<usize>> {
        known(address_of(self), || Cell::new(self.0))
    }

    pub fn load(&self, _: Ordering) -> usize {
        self.known().get()
    }

    pub fn store(&self, value: usize, _: Ordering) {
        self.known().set(value);
    }

    pub fn fetch_add(&self, value: usize, _: Ordering) -> usize {
        self.known().replace(self.known().get() + value)
    }

    pub fn fetch_max(&self, value: usize, _: Ordering) -> usize {
        self.known().replace(self.known().get().max(value))
    }

    pub fn fetch_sub(&self, value: usize, _: Ordering) -> usize {
        self.known().replace(self.known().get() - value)
    }
}

// The lock.

/// As outside; loom explores every order in which threads take it.
pub struct Lock<T> {
    first: UnsafeCell<T>,
    /// So that each lock has an address of its own.
    _place: u8,
}

// SAFETY: the value is only ever copied from, and what is guarded is known to one thread of the system.
unsafe impl<T: Send> Sync for Lock<T> {}

struct Guarded<T> {
    mutex: loom::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

pub struct Guard<'a, T> {
    /// Dropped before what it borrows from.
    _held: loom::sync::MutexGuard<'a, ()>,
    guarded: Rc<Guarded<T>>,
    lock: PhantomData<&'a mut T>,
}

impl<T: 'static> Lock<T> {
    pub const fn new(value: T) -> Self {
        Lock {
            first: UnsafeCell::new(value),
            _place: 0,
        }
    }

    fn known(&self) -> Rc<Guarded<T>> {
        const { assert!(!std::mem::needs_drop::<T>()) };
        known(address_of(self), || Guarded {
            mutex: loom::sync::Mutex::new(()),
            // SAFETY: the value with which each run begins, which is never used itself. What is copied needs no drop.
            value: UnsafeCell::new(unsafe { self.first.get().read() }),
        })
    }

    fn guard<'a>(
        guarded: &Rc<Guarded<T>>,
        lock: impl FnOnce(&'a loom::sync::Mutex<()>) -> Option<loom::sync::MutexGuard<'a, ()>>,
    ) -> Option<Guard<'a, T>> {
        step();
        // SAFETY: the mutex is there as long as the guard, which holds a reference.
        let held = lock(unsafe { &*std::ptr::from_ref(&guarded.mutex) })?;
        Some(Guard {
            _held: held,
            guarded: guarded.clone(),
            lock: PhantomData,
        })
    }

    pub fn lock(&self) -> Guard<'_, T> {
        Self::guard(&self.known(), |mutex| mutex.lock().ok()).expect("no run fails in a lock")
    }

    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        Self::guard(&self.known(), |mutex| mutex.try_lock().ok())
    }

    /// Loom has no `fork`.
    pub fn hold_for_fork(&self) {}

    /// # Safety
    /// None is needed.
    pub unsafe fn release_after_fork(&self) {}
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mutex is held.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.guarded.value.get() }
    }
}
