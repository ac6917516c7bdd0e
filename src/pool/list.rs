//! A doubly linked list of pools, whose links are in the headers.
//!
//! What it owns: `next` and `previous` of each pool on the list.
//!
//! What must hold: a pool is on one list at most, and it is live as long as it is on one. The lock that the list is behind guards the list
//! and the links.

use super::header::Pool;
use core::cell::Cell;
use core::ptr;

pub struct PoolList {
    first: Cell<*const Pool>,
    last: Cell<*const Pool>,
}

// SAFETY: the list and the links of its pools are guarded by the lock that the list is behind.
unsafe impl Send for PoolList {}

impl PoolList {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        PoolList {
            first: Cell::new(ptr::null()),
            last: Cell::new(ptr::null()),
        }
    }

    /// The first pool. It stays live as long as it is on the list or its caller's.
    pub fn first<'a>(&self) -> Option<&'a Pool> {
        // SAFETY: pools on a list are live.
        unsafe { self.first.get().as_ref() }
    }

    /// The second pool.
    pub fn second<'a>(&self) -> Option<&'a Pool> {
        self.iter().nth(1)
    }

    /// The pools, from the first on. The one that was given out may be removed meanwhile.
    pub fn iter<'a>(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        Self::walk(self.first.get(), |pool| pool.next.get())
    }

    /// The pools, from the last on.
    pub fn iter_backwards<'a>(&self) -> impl Iterator<Item = &'a Pool> + use<'a> {
        Self::iter_backwards_from(self.last())
    }

    /// The pools, from this one on towards the first.
    pub fn iter_backwards_from<'a>(start: *const Pool) -> impl Iterator<Item = &'a Pool> + use<'a> {
        Self::walk(start, |pool| pool.previous.get())
    }

    /// The last pool; null for none.
    pub fn last(&self) -> *const Pool {
        self.last.get()
    }

    /// The pool before one of this list; null before the first.
    pub fn before(&self, pool: &Pool) -> *const Pool {
        pool.previous.get()
    }

    fn walk<'a, F: Fn(&Pool) -> *const Pool>(
        mut next: *const Pool,
        step: F,
    ) -> impl Iterator<Item = &'a Pool> + use<'a, F> {
        core::iter::from_fn(move || {
            // SAFETY: as above.
            let pool = unsafe { next.as_ref() }?;
            next = step(pool);
            Some(pool)
        })
    }

    /// Whether a pool of this list is the last.
    pub fn is_last(&self, pool: &Pool) -> bool {
        pool.next.get().is_null()
    }

    pub fn push_front(&self, pool: &Pool) {
        pool.previous.set(ptr::null());
        pool.next.set(self.first.get());
        match self.first() {
            Some(first) => first.previous.set(pool),
            None => self.last.set(pool),
        }
        self.first.set(pool);
    }

    pub fn push_back(&self, pool: &Pool) {
        pool.next.set(ptr::null());
        pool.previous.set(self.last.get());
        // SAFETY: pools on a list are live.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(pool),
            None => self.first.set(pool),
        }
        self.last.set(pool);
    }

    /// Takes a pool of this list out of it.
    pub fn remove(&self, pool: &Pool) {
        let (next, previous) = (pool.next.get(), pool.previous.get());
        // SAFETY: pools on a list are live.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(next),
            None => self.first.set(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(previous),
            None => self.last.set(previous),
        }
    }
}
