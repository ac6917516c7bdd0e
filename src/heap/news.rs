//! News: whether a walk over all pools, for when the system has no memory, may find what the one before did not.
//!
//! What it owns: `TOLD`. A program that goes on after `malloc` has failed fails many times in a row: each time it would walk over its whole heap in vain.
//!
//! What must hold: what such a walk could find is told here, or counted as a remote free by a heap, after it is there to be found. What the calling
//! thread itself has in its bins, and the empty pools that heaps keep, are few; they are walked over each time. A block that was posted while its pool's owner
//! was just entering that in its slot map (`SlotMap::void_posted`) is missed until the next news.

use crate::sync::SharedWord;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Pools that became full with free blocks in them, and remote frees by threads without a heap.
static TOLD: SharedWord = SharedWord::named("news");

/// Tells of one more.
pub fn tell() {
    // Release: whoever sees it finds what it tells of.
    TOLD.fetch_add(1, Ordering::Release);
}

/// How often something was told.
pub fn told() -> usize {
    // Acquire: with `tell`.
    TOLD.load(Ordering::Acquire)
}

/// One kind of walk.
pub struct Walk {
    /// The news when it last began.
    last: AtomicUsize,
}

impl Walk {
    pub const fn new() -> Self {
        Walk {
            last: AtomicUsize::new(usize::MAX),
        }
    }

    /// Calls `walk`, which is told whether there is news since it was last called. `news` is another number once there is: what was told, and the
    /// remote frees of all heaps.
    pub fn begin<R>(&self, news: usize, walk: impl FnOnce(bool) -> R) -> R {
        // Relaxed, both: should two threads walk at once, each has seen what its own news tell of.
        let found = walk(self.last.load(Ordering::Relaxed) != news);
        self.last.store(news, Ordering::Relaxed);
        found
    }
}
