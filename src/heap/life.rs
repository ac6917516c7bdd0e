//! Whether the thread that has a heap still lives. Some threads never give their heap back: those that first allocate in the last round of
//! destructors, when the library's own does not run any more, and those that end without any.
//!
//! What it owns: a robust mutex of each heap (POSIX), which the heap's thread holds as long as it lives. When a thread ends, however it
//! does, the kernel walks over the robust mutexes that it holds, and marks each in one of its words. Nobody makes a call for that.
//!
//! What must hold: a heap is taken from its thread only when the kernel has marked it. The kernel does so for a thread that executes no
//! instruction of the program any more, and only in words that hold the number of that very thread. In a forked child the numbers are
//! those of the parent's threads. No thread of the child has these mutexes on its list. So none is marked there, and the heaps are found
//! as orphans. The thread that forks gives its mutex back before, and has it anew after (`thread::fork`). Where a kernel has no robust
//! mutexes none is ever held or marked.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

unsafe extern "C" {
    fn pthread_mutexattr_setrobust(
        attributes: *mut libc::pthread_mutexattr_t,
        robust: c_int,
    ) -> c_int;
}

/// `PTHREAD_MUTEX_ROBUST`.
const ROBUST: c_int = 1;

/// The kernel's mark, `FUTEX_OWNER_DIED`, in the mutex's first word (GNU C library) or its second (musl). The other one of the two never has that
/// bit: it counts how often the owner has locked, or says of what kind the mutex is.
const OWNER_DIED: u64 = 1 << 30 | 1 << 62;

/// All zeroes is a mutex that nobody holds.
pub struct Life(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is there to be shared. It is initialised by the one thread that has the heap.
unsafe impl Sync for Life {}

impl Life {
    pub const fn none() -> Self {
        Life(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    /// The calling thread has the heap from now on: it was given to it, or it was its own before a fork. The caller holds no lock, and can
    /// allocate.
    pub fn begin(&self) {
        // SAFETY: nobody holds the mutex, and it is on no list of a thread of this process: it was ended, or its thread has ended, or is of the
        // parent and is not the one that forked. A zeroed attribute is one of a plain mutex.
        unsafe {
            let mut attributes = core::mem::zeroed();
            if pthread_mutexattr_setrobust(&mut attributes, ROBUST) == 0
                && libc::pthread_mutex_init(self.0.get(), &attributes) == 0
            {
                libc::pthread_mutex_trylock(self.0.get());
            }
        }
    }

    /// The calling thread, which has the heap, gives it back.
    pub fn end(&self) {
        // SAFETY: a mutex, held by this thread. Should that have failed, the call does.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }

    /// The first two words of the mutex. The C library and the kernel change one of them as an atomic; the library writes them only when the kernel is done.
    fn words(&self) -> &AtomicU64 {
        // SAFETY: they lie at the start of the mutex, which is aligned for them, and are atomics to the kernel and the C library alike.
        unsafe { &*self.0.get().cast::<AtomicU64>() }
    }

    /// Whether the heap's thread has ended without giving it back.
    pub fn has_ended(&self) -> bool {
        // Relaxed: a hint; `claim` orders what the thread did before.
        self.words().load(Ordering::Relaxed) & OWNER_DIED != 0
    }

    /// Takes the heap from its thread, if that has ended without giving it back. True for one caller only: the one that takes the mark off. Nobody
    /// has the mutex on a list any more, and `begin` makes it anew. A caller that comes late, when the heap has another thread, finds no mark, unless
    /// that one has ended too.
    pub fn claim(&self) -> bool {
        // Relaxed: the exchange decides.
        let marked = self.words().load(Ordering::Relaxed);
        marked & OWNER_DIED != 0
            && self
                .words()
                // Acquire: what the thread did before it ended.
                .compare_exchange(marked, 0, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// The heap's thread does not exist in this child, and whether it had ended before is of no interest: the heap is an orphan. A mark that stayed
    /// would give the heap to two.
    pub fn forget(&self) {
        // Relaxed: the child has one thread.
        self.words().store(0, Ordering::Relaxed);
    }
}
