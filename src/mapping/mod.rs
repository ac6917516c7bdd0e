//! Mappings of their own: blocks too large for an arena.
//!
//! What it owns: such blocks, each a whole mapping, found by its address in a registry, so that it costs no
//! header, can be resized by `mremap` without copying, and no stray pointer is mistaken for one.
//!
//! - `cache`: freed mappings, kept up to `conf::MAPPING_CACHE` bytes and what is retained.
//! - `stuck`: mappings that the system refused to unmap.
//! - `keep`: how freed mappings are kept, and what may not stay is found.
//! - `back`: how freed mappings go back to the system, and how what it refuses serves again.
//! - `written`: how much of a freed mapping was ever written.
//!
//! What must hold: no system call is made with the lock held. A mapping that the system is working on is in no table; there is
//! room for it when it comes back. A child that is forked in that moment has no thread that would bring it back: it stays mapped there, one a
//! thread at most.

mod back;
mod cache;
mod keep;
mod stuck;
mod written;

use crate::conf;
use crate::layout::layout;
use crate::os;
use crate::registry::{Entry, Registry, lock_with_room};
use crate::retain::{self, Retained};
use crate::sync::{Guard, Lock};
use back::return_to_system;
pub use back::{allocate_stuck, let_go, stuck_memory, take_stuck};
use cache::{Cache, Kept};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use keep::keep;
pub use keep::{decay, give_up, give_up_for_own, trim};
use stuck::Stuck;
use written::written_part;

/// A kept mapping serves a request only if at most this part of it (1/4) would be left over, so that a small block
/// does not hold on to a large mapping.
const SPARE_PART: usize = 4;

pub struct Mappings {
    live: Registry,
    live_bytes: usize,
    live_count: usize,
    cache: Cache,
    stuck: Stuck,
    /// What is kept beyond `conf::MAPPING_CACHE`.
    retained: Retained,
}

pub static MAPPINGS: Lock<Mappings> = Lock::new(Mappings {
    live: Registry::empty(),
    live_bytes: 0,
    live_count: 0,
    cache: Cache::empty(),
    stuck: Stuck::empty(),
    retained: Retained::nothing(),
});

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Mappings { live_bytes, live_count, cache }
    Cache { bytes, lazy_bytes }
    Lock<Mappings> {}
};

/// Bytes of blocks and of freed mappings that are kept. Written when the system maps or unmaps.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes of blocks and of freed mappings that are kept.
pub fn held_bytes() -> usize {
    // Relaxed, here and below: an account.
    HELD.load(Ordering::Relaxed)
}

fn count_held(bytes: usize) {
    HELD.fetch_add(bytes, Ordering::Relaxed);
}

fn uncount_held(bytes: usize) {
    HELD.fetch_sub(bytes, Ordering::Relaxed);
}

/// A block that was allocated.
pub struct Mapped {
    pub address: NonNull<u8>,
    /// Whether every byte is known to be zero.
    pub zeroed: bool,
}

fn has_room(entry: &Entry, size: usize, align: usize) -> bool {
    entry.size >= size && entry.address & (align - 1) == 0
}

fn fits(entry: &Entry, size: usize, align: usize) -> bool {
    has_room(entry, size, align) && entry.size - size <= entry.size / SPARE_PART
}

fn touches(one: &Entry, other: &Entry) -> bool {
    one.address + one.size == other.address || other.address + other.size == one.address
}

/// Two that touch, as one.
fn joined(one: &Entry, other: &Entry) -> Entry {
    Entry {
        address: one.address.min(other.address),
        size: one.size + other.size,
    }
}

/// Takes so many bytes off the start.
fn split_start(entry: &mut Entry, bytes: usize) -> Entry {
    let start = entry.address;
    entry.address += bytes;
    entry.size -= bytes;
    Entry {
        address: start,
        size: bytes,
    }
}

impl Mappings {
    fn live(&mut self) -> &mut Registry {
        &mut self.live
    }

    fn stuck_by_start(&mut self) -> &mut Registry {
        self.stuck.by_start()
    }

    fn stuck_by_end(&mut self) -> &mut Registry {
        self.stuck.by_end()
    }

    /// Counts a live block that was entered.
    fn count(&mut self, entry: &Entry) {
        self.live_bytes += entry.size;
        self.live_count += 1;
    }

    fn uncount(&mut self, entry: &Entry) {
        self.live_bytes -= entry.size;
        self.live_count -= 1;
    }

    /// Enters a live block, for which there is room.
    fn enter(&mut self, entry: Entry) {
        self.live.insert(entry);
        self.count(&entry);
    }

    /// Enters a live block that was promised.
    fn fulfil(&mut self, entry: Entry) {
        self.live.fulfil(entry);
        self.count(&entry);
    }

    /// Takes a live block out, if `address` is one.
    fn leave(&mut self, address: usize) -> Option<Entry> {
        let entry = self.live.remove(address)?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Takes a live block out that comes back, at this address or another.
    fn leave_for_a_while(&mut self, address: usize) -> Option<Entry> {
        let entry = self.live.remove_for_a_while(address)?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Bytes of freed mappings that may be kept, lazy ones included.
    fn capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.retained.wanted())
    }

    /// Bytes of freed mappings that may stay resident.
    fn resident_capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.retained.resident())
    }

    /// Takes what must go first to make the cache smaller by so many bytes, or with `resident` what of it is not lazy. With `lesson` it is
    /// wanted, should it be asked for again soon.
    fn give_back(&mut self, bytes: usize, resident: bool, lesson: bool) -> Option<Entry> {
        if let Some(entry) = self.cache.take_unwritten() {
            // No lesson: it costs nothing to ask for them again.
            return Some(entry);
        }
        let pages = os::round_to_pages(bytes).unwrap_or(usize::MAX);
        let entry = self.cache.take_oldest_end(pages, resident)?;
        if lesson {
            self.retained.give_back(entry.size, retain::now());
        }
        Some(entry)
    }

    /// Takes something that may not stay, when `more` bytes are about to be kept. `None` when nothing must go.
    fn surplus(&mut self, more: usize) -> Option<Entry> {
        let over = (self.cache.bytes + more).saturating_sub(self.capacity());
        if over > 0 && self.cache.bytes > 0 {
            return self.give_back(over, false, true);
        }
        let over = self
            .cache
            .resident_bytes()
            .saturating_sub(self.resident_capacity());
        (over > 0).then(|| self.give_back(over, true, true))?
    }

    /// Bytes of what is wanted that are unused.
    fn unused(&self) -> usize {
        self.cache.bytes.saturating_sub(conf::MAPPING_CACHE.get())
    }

    /// Tells what of the wanted bytes is unused. For changes of the cache, `in_turn`.
    #[inline(never)]
    fn observe(&mut self, in_turn: bool) {
        if self.retained.wanted() == 0 {
            return;
        }
        let (unused, live) = (self.unused(), self.live_bytes);
        match in_turn {
            true => self.retained.observe_in_turn(unused, live, retain::now),
            false => self.retained.observe(unused, live, retain::now()),
        };
    }

    /// Wants so many bytes less, as far as they are unused. Tells how many are to go.
    fn give_up(&mut self, bytes: usize) -> usize {
        let unused = self.unused();
        self.retained.give_up(bytes, unused)
    }
}

/// Locks the mappings, with room for a block more. `None` when the system has no memory for that.
fn lock_with_room_for_block() -> Option<Guard<'static, Mappings>> {
    lock_with_room(&MAPPINGS, Mappings::live, stuck_memory)
}

/// Makes a freed mapping that is in no table a block of `size` bytes. `None`, and it went back, when the system refuses.
fn resized(entry: Entry, size: usize) -> Option<NonNull<u8>> {
    // SAFETY: a freed mapping that is in no table.
    let moved = unsafe { os::remap(entry.address as *mut u8, entry.size, size) }.ok();
    if moved.is_none() {
        return_to_system(entry);
    }
    moved
}

/// Allocates a block of at least `size` bytes at a multiple of `align`, a power of two. With `zeroed` a kept mapping that serves
/// again gives its pages back first: to clear them would make all of them resident, also those that the program never touches.
/// `make_room` is told how many bytes were mapped for it, before any is touched.
pub fn allocate(
    size: usize,
    align: usize,
    zeroed: bool,
    make_room: impl FnOnce(usize),
) -> Option<Mapped> {
    let size = os::round_to_pages(size)?;
    let align = align.max(os::page_size());
    let mut mappings = lock_with_room_for_block()?;
    if let Some(kept) = mappings.cache.reuse(size, align) {
        let live = mappings.live_bytes;
        mappings.retained.serve_again(kept.lazy, live);
        mappings.observe(true);
        mappings.enter(kept.whole);
        drop(mappings);
        return handed_out(kept.whole, false, zeroed);
    }
    if let Some(entry) = mappings.stuck.take(size, align) {
        mappings.enter(entry);
        drop(mappings);
        count_held(size);
        return handed_out(entry, true, zeroed);
    }
    let other = match align == os::page_size() {
        true => mappings.cache.take_smaller(),
        false => None,
    };
    let before = other.map_or(0, |kept| kept.whole.size);
    let missing = size.saturating_sub(before);
    let live = mappings.live_bytes;
    let lazy = other.map_or(0, |kept| kept.lazy);
    mappings.retained.serve_again(lazy, live);
    if !zeroed {
        mappings.retained.ask(missing, live, retain::now);
    }
    mappings.observe(true);
    mappings.live.promise();
    drop(mappings);
    let made = match other.and_then(|kept| resized(kept.whole, size)) {
        Some(address) => Some((address, false)),
        None => os::map_block(size, align).map(|address| (address, true)),
    };
    let mut mappings = MAPPINGS.lock();
    let Some((address, is_zero)) = made else {
        mappings.live.cancel();
        return None;
    };
    drop(mappings);
    // Before anything of it is touched, and not for what cannot be had.
    make_room(if is_zero { size } else { missing });
    let mut mappings = MAPPINGS.lock();
    let entry = Entry {
        address: address.as_ptr() as usize,
        size,
    };
    count_change(if is_zero { 0 } else { before }, size);
    mappings.fulfil(entry);
    drop(mappings);
    handed_out(entry, is_zero, zeroed)
}

/// Counts a mapping of another size than before.
fn count_change(before: usize, after: usize) {
    match after > before {
        true => count_held(after - before),
        false => uncount_held(before - after),
    }
}

/// The block that was entered, zeroed if that is wanted and can be had.
fn handed_out(entry: Entry, is_zero: bool, wanted: bool) -> Option<Mapped> {
    let address = NonNull::new(entry.address as *mut u8)?;
    Some(Mapped {
        address,
        // SAFETY: the new block, which nobody uses yet.
        zeroed: is_zero || wanted && unsafe { os::purge(address.as_ptr(), entry.size) },
    })
}

/// Frees the block at `address`. False when there is none.
pub fn free(address: usize) -> bool {
    let mut mappings = MAPPINGS.lock();
    let Some(entry) = mappings.leave(address) else {
        return false;
    };
    let capacity = mappings.capacity();
    drop(mappings);
    if entry.size > capacity {
        let written = written_part(&entry);
        let now = retain::now();
        MAPPINGS.lock().retained.give_back(written, now);
        return_to_system(entry);
        return true;
    }
    keep(Kept::of(entry));
    true
}

/// The size in bytes of the block at `address`. `None` when there is none.
pub fn size_of(address: usize) -> Option<usize> {
    MAPPINGS.lock().live.get(address).map(|entry| entry.size)
}

/// The block around any address.
pub fn containing(address: usize) -> Option<Entry> {
    let mappings = MAPPINGS.lock();
    // The sum cannot overflow: the mapping exists.
    mappings
        .live
        .entries()
        .find(|entry| entry.address <= address && address < entry.address + entry.size)
}

/// Resizes the block at `address`, which the caller owns, to at least `size` bytes; its contents
/// stay, its address may not. When the system refuses nothing has changed, and the errno tells why. `make_room` as for `allocate`.
///
/// While the block moves it is in no table. A child that is forked in that moment does not find it: the thread that was about to
/// get it does not exist there, and nobody else may use it.
pub fn resize(
    address: usize,
    size: usize,
    make_room: impl FnOnce(usize),
) -> Result<NonNull<u8>, i32> {
    let size = os::round_to_pages(size).ok_or(libc::EINVAL)?;
    let old = {
        let mut mappings = MAPPINGS.lock();
        let old = mappings.live.get(address).ok_or(libc::EINVAL)?;
        if old.size == size {
            return NonNull::new(address as *mut u8).ok_or(libc::EINVAL);
        }
        mappings.leave_for_a_while(address).ok_or(libc::EINVAL)?
    };
    // SAFETY: the block is the caller's and in no table while it moves.
    let moved = unsafe { os::remap(address as *mut u8, old.size, size) };
    if moved.is_ok() {
        make_room(size.saturating_sub(old.size));
        count_change(old.size, size);
    }
    let mut mappings = MAPPINGS.lock();
    mappings.fulfil(match moved {
        Ok(moved) => Entry {
            address: moved.as_ptr() as usize,
            size,
        },
        Err(_) => old,
    });
    moved
}

/// Figures about mappings.
pub struct Counts {
    /// Blocks.
    pub live: usize,
    /// Bytes of the blocks.
    pub live_bytes: usize,
    /// Bytes of the freed mappings that are kept and may be resident.
    pub cached_bytes: usize,
    /// Bytes of those that the system may take at any moment, beside these.
    pub lazy_bytes: usize,
}

/// Counts the mappings.
pub fn counts() -> Counts {
    let mappings = MAPPINGS.lock();
    Counts {
        live: mappings.live_count,
        live_bytes: mappings.live_bytes,
        cached_bytes: mappings.cache.resident_bytes(),
        lazy_bytes: mappings.cache.lazy_bytes,
    }
}

/// Copies the blocks to `entries`, in no order, but for the first `skipped`. Returns how many.
pub fn list(skipped: usize, entries: &mut [Entry]) -> usize {
    let mappings = MAPPINGS.lock();
    let live = mappings.live.entries().skip(skipped);
    live.zip(entries).map(|(from, to)| *to = from).count()
}

/// Holds the mappings still across `fork`.
pub fn hold_for_fork() {
    MAPPINGS.hold_for_fork();
}

/// Ends `hold_for_fork`.
///
/// # Safety
/// Only in the thread that called it, in the parent and in the child.
pub unsafe fn release_after_fork() {
    // SAFETY: passed on from the caller.
    unsafe { MAPPINGS.release_after_fork() }
}
