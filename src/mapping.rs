//! Mappings of their own: blocks too large for an arena.
//!
//! A block here is a whole mapping, found by its address in a registry, so that it costs no
//! header, can be resized by `mremap` without copying, and no stray pointer is mistaken for one.
//! Freed mappings are kept up to `conf::MAPPING_CACHE` bytes, oldest out first, so that a loop of large
//! temporaries does not fault its pages anew each time. Blocks are cut off them, and joined again when they are freed. Of what lay in
//! two places before, the system sees two mappings still: it refuses to resize a block in both, and that one is copied.
//!
//! A program writes its blocks from the start, and often not to the end. What it has not reached holds no memory, and to serve again
//! it is worth nothing: no block is cut where that begins, nothing is joined behind it, and of what is over it goes first.
//!
//! When the system refuses to unmap (`vm.max_map_count`), the pages go back, and the addresses are
//! kept as *stuck* mappings for later blocks.

use crate::conf;
use crate::layout::layout;
use crate::learn::{self, Learned};
use crate::os;
use crate::registry::{Entry, Registry};
use crate::sync::Lock;
use core::ptr::{self, NonNull};

/// The most freed mappings that are kept. Few, since they are searched one by one.
const CACHED: usize = 16;

/// A kept mapping serves a request only if at most this part of it (1/4) would be left over, so that a small block
/// does not hold on to a large mapping.
const SPARE_PART: usize = 4;

const NONE: Entry = Entry {
    address: 0,
    size: 0,
};

pub struct Mappings {
    live: Registry,
    live_bytes: usize,
    live_count: usize,
    /// Freed mappings, oldest first.
    cached: [Entry; CACHED],
    cached_count: usize,
    cached_bytes: usize,
    /// Purged mappings that could not be unmapped.
    stuck: Registry,
    /// What is kept beyond `conf::MAPPING_CACHE`.
    learned: Learned,
}

pub static MAPPINGS: Lock<Mappings> = Lock::new(Mappings {
    live: Registry::empty(),
    live_bytes: 0,
    live_count: 0,
    cached: [NONE; CACHED],
    cached_count: 0,
    cached_bytes: 0,
    stuck: Registry::empty(),
    learned: Learned::nothing(),
});

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Mappings { live_bytes, live_count, cached_bytes }
    Lock<Mappings> {}
};

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

/// Whether the page at `address` is resident. Also when the system does not tell.
fn is_resident(address: usize) -> bool {
    let mut told = [1];
    os::resident_pages(address, &mut told);
    told[0] & 1 != 0
}

/// Bytes up to where the pages of a mapping that were never written begin: what is behind them is not looked at.
fn written_part(entry: &Entry) -> usize {
    let page = os::page_size();
    if is_resident(entry.address + entry.size - page) {
        return entry.size;
    }
    let (mut written, mut rest) = (0, entry.size / page - 1);
    while written < rest {
        let middle = written.midpoint(rest);
        match is_resident(entry.address + middle * page) {
            true => written = middle + 1,
            false => rest = middle,
        }
    }
    written * page
}

impl Mappings {
    /// Enters a live block. There is room: the caller reserved it.
    fn enter(&mut self, entry: Entry) {
        self.live.insert(entry);
        self.live_bytes += entry.size;
        self.live_count += 1;
    }

    /// Takes a live block out, if `address` is one.
    fn leave(&mut self, address: usize) -> Option<Entry> {
        let entry = self.live.remove(address)?;
        self.live_bytes -= entry.size;
        self.live_count -= 1;
        Some(entry)
    }

    /// The kept mappings, oldest first, with their numbers.
    fn cached(&self) -> impl DoubleEndedIterator<Item = (usize, &Entry)> {
        let cached = self.cached.get(..self.cached_count).unwrap_or(&[]);
        cached.iter().enumerate()
    }

    /// Takes kept mapping number `index` out of the cache.
    #[inline(never)]
    fn take_cached(&mut self, index: usize) -> Entry {
        let entry = self.cached[index];
        self.cached.copy_within(index + 1..self.cached_count, index);
        self.cached_count -= 1;
        self.cached_bytes -= entry.size;
        entry
    }

    /// Takes out of the cache what must go so that one more mapping may stay. `None` when nothing must.
    fn overflowing(&mut self, entry: &Entry) -> Option<Entry> {
        let over = (self.cached_bytes + entry.size).saturating_sub(self.capacity());
        if self.cached_count > 0 && over > 0 {
            return Some(self.give_back(over));
        }
        // No lesson: to keep more bytes would not have made a place.
        let is_full = self.cached_count == CACHED && self.place_beside(entry).is_none();
        is_full.then(|| self.take_cached(0))
    }

    /// Bytes of freed mappings that may be kept.
    fn capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.learned.kept())
    }

    /// Takes the end of a kept mapping out of the cache, or all of it when nothing would be left.
    fn take_end(&mut self, index: usize, bytes: usize) -> Entry {
        let whole = self.cached[index];
        if bytes >= whole.size {
            return self.take_cached(index);
        }
        let rest = whole.size - bytes;
        self.cached[index].size = rest;
        self.cached_bytes -= bytes;
        Entry {
            address: whole.address + rest,
            size: bytes,
        }
    }

    /// Takes out of the cache what serves least, to make it smaller by so many bytes: pages that were never written, however many
    /// they are, else the end of the oldest mapping. All of that one would be most of the cache when it was joined.
    fn give_back(&mut self, bytes: usize) -> Entry {
        let unwritten = self
            .cached()
            .map(|(index, entry)| (index, entry.size - written_part(entry)))
            .find(|(_, unwritten)| *unwritten > 0);
        if let Some((index, unwritten)) = unwritten {
            // No lesson: it costs nothing to ask for them again.
            return self.take_end(index, unwritten);
        }
        let entry = self.take_end(0, os::round_to_pages(bytes).unwrap_or(usize::MAX));
        self.learned.give_back(entry.size, learn::now());
        entry
    }

    /// Tells what of the learned part is unused. Returns what must go since it was forgotten.
    fn mind_learned(&mut self) -> Option<Entry> {
        if self.learned.kept() > 0 {
            let unused = self.cached_bytes.saturating_sub(conf::MAPPING_CACHE.get());
            self.learned.observe(unused, learn::now());
        }
        let over = self.cached_bytes.saturating_sub(self.capacity());
        (over > 0).then(|| self.give_back(over))
    }

    /// Where in the list one is that touches another mapping, with written pages between.
    fn place_beside(&self, entry: &Entry) -> Option<usize> {
        self.cached().position(|(_, other)| {
            touches(entry, other) && is_resident(entry.address.max(other.address) - os::page_size())
        })
    }

    /// Keeps a freed mapping, for which there is room, joined with those that it touches, so that what was cut off comes together again. The
    /// system may see two in them still: then it refuses to resize the whole.
    fn keep(&mut self, mut entry: Entry) {
        while let Some(index) = self.place_beside(&entry) {
            entry = joined(&entry, &self.take_cached(index));
        }
        self.cached[self.cached_count] = entry;
        self.cached_count += 1;
        self.cached_bytes += entry.size;
    }

    /// A kept mapping to be resized, since none is large enough, or what is over was never written: so its pages serve again. The
    /// largest.
    fn take_smaller(&mut self) -> Option<Entry> {
        let (index, _) = self.cached().max_by_key(|(_, entry)| entry.size)?;
        Some(self.take_cached(index))
    }

    /// Cuts a block off the smallest kept mapping that is larger, and written there: one of just the size would have fitted. The rest
    /// stays where it is, in the list as among the addresses.
    fn cut_off(&mut self, size: usize, align: usize) -> Option<Entry> {
        let (index, larger) = self
            .cached()
            .filter(|(_, entry)| has_room(entry, size, align) && is_resident(entry.address + size))
            .min_by_key(|(_, entry)| entry.size)?;
        let address = larger.address;
        let rest = self.cached.get_mut(index)?;
        rest.address += size;
        rest.size -= size;
        self.cached_bytes -= size;
        Some(Entry { address, size })
    }

    /// A stuck mapping, or a block cut off the smallest that is larger: what was joined would serve nothing else.
    fn take_stuck(&mut self, size: usize, align: usize) -> Option<Entry> {
        let whole = self
            .stuck
            .entries()
            .filter(|entry| has_room(entry, size, align))
            .min_by_key(|entry| entry.size)?;
        self.stuck.remove(whole.address);
        if fits(&whole, size, align) {
            return Some(whole);
        }
        let address = whole.address;
        // There is room: one was just removed.
        self.stuck.insert(Entry {
            address: address + size,
            size: whole.size - size,
        });
        Some(Entry { address, size })
    }

    /// A stuck mapping that touches another.
    fn stuck_beside(&self, entry: &Entry) -> Option<Entry> {
        self.stuck.entries().find(|other| touches(entry, other))
    }

    /// A freed mapping that can serve a request, and whether it is known to be zero.
    fn reuse(&mut self, size: usize, align: usize) -> Option<(Entry, bool)> {
        // The newest first: its pages are the likeliest to be in a cache.
        let found = self
            .cached()
            .rev()
            .find(|(_, entry)| fits(entry, size, align))
            .map(|(index, _)| index);
        if let Some(index) = found {
            return Some((self.take_cached(index), false));
        }
        if let Some(entry) = self.cut_off(size, align) {
            return Some((entry, false));
        }
        let entry = self.take_stuck(size, align)?;
        Some((entry, true))
    }
}

/// Gives a freed mapping back to the system.
#[inline(never)]
fn return_to_system(entry: Entry) {
    let address = entry.address as *mut u8;
    // SAFETY: a freed mapping that is in no table.
    if unsafe { os::try_unmap(address, entry.size) } {
        return;
    }
    // SAFETY: as above.
    let purged = unsafe { os::purge(address, entry.size) };
    let mut mappings = MAPPINGS.lock();
    // Stuck mappings count as zeroed. What can be neither unmapped nor purged nor noted stays
    // mapped and unused: address space, which the system has refused to take.
    if purged && mappings.stuck.reserve() {
        let mut whole = entry;
        while let Some(other) = mappings.stuck_beside(&whole) {
            mappings.stuck.remove(other.address);
            whole = joined(&whole, &other);
        }
        mappings.stuck.insert(whole);
    }
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
pub fn allocate(size: usize, align: usize, zeroed: bool) -> Option<Mapped> {
    let size = os::round_to_pages(size)?;
    let align = align.max(os::page_size());
    let mut mappings = MAPPINGS.lock();
    if !mappings.live.reserve() {
        return None;
    }
    let (entry, is_zero) = match mappings.reuse(size, align) {
        Some(reused) => reused,
        None => {
            let other = match align == os::page_size() {
                true => mappings.take_smaller(),
                false => None,
            };
            if !zeroed {
                let missing = size.saturating_sub(other.map_or(0, |entry| entry.size));
                mappings.learned.ask(missing, learn::now);
            }
            drop(mappings);
            let (address, is_zero) = match other.and_then(|entry| resized(entry, size)) {
                Some(address) => (address, false),
                None => (os::map_aligned(ptr::null_mut(), size, align)?, true),
            };
            mappings = MAPPINGS.lock();
            let address = address.as_ptr() as usize;
            if !mappings.live.reserve() {
                drop(mappings);
                return_to_system(Entry { address, size });
                return None;
            }
            (Entry { address, size }, is_zero)
        }
    };
    mappings.enter(entry);
    drop(mappings);
    let address = NonNull::new(entry.address as *mut u8)?;
    Some(Mapped {
        address,
        // SAFETY: the new block, which nobody uses yet.
        zeroed: is_zero || zeroed && unsafe { os::purge(address.as_ptr(), size) },
    })
}

/// Frees the block at `address`. False when there is none.
pub fn free(address: usize) -> bool {
    let mut mappings = MAPPINGS.lock();
    let Some(entry) = mappings.leave(address) else {
        return false;
    };
    if entry.size > mappings.capacity() {
        mappings.learned.give_back(entry.size, learn::now());
        drop(mappings);
        return_to_system(entry);
        return true;
    }
    // Unmapping takes long, and others must not wait for it: one at a time, the lock released in between.
    while let Some(oldest) = mappings.overflowing(&entry) {
        drop(mappings);
        return_to_system(oldest);
        mappings = MAPPINGS.lock();
    }
    mappings.keep(entry);
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
/// stay, its address may not. When the system refuses nothing has changed, and the errno tells why.
pub fn resize(address: usize, size: usize) -> Result<NonNull<u8>, i32> {
    let size = os::round_to_pages(size).ok_or(libc::EINVAL)?;
    let old = {
        let mut mappings = MAPPINGS.lock();
        let old = mappings.live.get(address).ok_or(libc::EINVAL)?;
        if old.size == size {
            return NonNull::new(address as *mut u8).ok_or(libc::EINVAL);
        }
        mappings.leave(address).ok_or(libc::EINVAL)?
    };
    // SAFETY: the block is the caller's and in no table while it moves.
    let moved = unsafe { os::remap(address as *mut u8, old.size, size) };
    let mut mappings = MAPPINGS.lock();
    // Another block may have taken the place that `leave` freed, and there may be no memory for more places. Then this
    // goes into the spare half of the table: at most one block a thread is on the move.
    let _ = mappings.live.reserve();
    mappings.enter(match moved {
        Ok(moved) => Entry {
            address: moved.as_ptr() as usize,
            size,
        },
        Err(_) => old,
    });
    moved
}

/// Gives back what was learned and has not been used for long.
pub fn mind_learned() {
    loop {
        let Some(entry) = MAPPINGS.lock().mind_learned() else {
            return;
        };
        return_to_system(entry);
    }
}

/// Unmaps every freed mapping. True when there was one.
pub fn trim() -> bool {
    let mut returned = false;
    loop {
        let mut mappings = MAPPINGS.lock();
        if mappings.cached_count == 0 {
            mappings.learned.forget();
            return returned;
        }
        let oldest = mappings.take_cached(0);
        drop(mappings);
        return_to_system(oldest);
        returned = true;
    }
}

/// Figures about mappings.
pub struct Counts {
    /// Blocks.
    pub live: usize,
    /// Bytes of the blocks.
    pub live_bytes: usize,
    /// Bytes of the freed mappings that are kept.
    pub cached_bytes: usize,
}

/// Counts the mappings.
pub fn counts() -> Counts {
    let mappings = MAPPINGS.lock();
    Counts {
        live: mappings.live_count,
        live_bytes: mappings.live_bytes,
        cached_bytes: mappings.cached_bytes,
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
