//! Mappings of their own: blocks too large for an arena.
//!
//! A block here is a whole mapping, found by its address in a registry, so that it costs no
//! header, can be resized by `mremap` without copying, and no stray pointer is mistaken for one.
//! Freed mappings are kept up to `conf::MAPPING_CACHE` bytes, oldest out first, so that a loop of large
//! temporaries does not fault its pages anew each time. Blocks are cut off them, and joined again when they are freed. Of what lay in
//! two places before, the system sees two mappings still: it refuses to resize a block in both, and that one is copied.
//!
//! A program writes its blocks from the start, and often not to the end. What it has not reached holds no memory, and to serve again
//! it is worth nothing: no block is cut off there, nothing is joined behind it, of what is over it goes first, and it teaches nothing.
//!
//! When the system refuses to unmap (`vm.max_map_count`), the pages go back, and the addresses are
//! kept as *stuck* mappings for later blocks.

use crate::conf;
use crate::layout::layout;
use crate::learn::{self, Learned};
use crate::os;
use crate::registry::{Entry, Registry};
use crate::sync::Lock;
use core::cell::Cell;
use core::ops::Range;
use core::ptr::NonNull;

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
    cached: [Kept; CACHED],
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
    cached: [const { Kept::nothing() }; CACHED],
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

/// Takes so many bytes off the start.
fn cut_start(entry: &mut Entry, bytes: usize) -> Entry {
    let start = entry.address;
    entry.address += bytes;
    entry.size -= bytes;
    Entry {
        address: start,
        size: bytes,
    }
}

/// Of a mapping so small a part (1/8) at the end counts as written that never was: few blocks are written to the very last page, and one without it
/// would fit no block of its size any more.
const UNWRITTEN_PART: usize = 8;

/// To find where the pages begin that were never written, so many samples are taken of a mapping, from its end, of so many pages each. Few: a look
/// at each of the pages of 4 MiB takes nine microseconds.
const SAMPLES: usize = 16;
const SAMPLE_PAGES: usize = 8;

/// The most pages that the system is asked about at a time.
const PAGES_AT_ONCE: usize = 512;

/// A freed mapping.
struct Kept {
    whole: Entry,
    /// Bytes up to where the pages begin that were never written, once that was asked. Once, since the answer may change when memory runs short.
    written: Cell<Option<usize>>,
}

impl Kept {
    const fn nothing() -> Self {
        Kept::new(NONE)
    }

    const fn new(whole: Entry) -> Self {
        Kept {
            whole,
            written: Cell::new(None),
        }
    }

    fn written(&self) -> usize {
        self.written.get().unwrap_or_else(|| self.ask())
    }

    #[inline(never)]
    fn ask(&self) -> usize {
        let size = self.whole.size;
        let written = written_part(&self.whole);
        let counts_as_written = size - written <= size / UNWRITTEN_PART;
        let written = if counts_as_written { size } else { written };
        self.written.set(Some(written));
        written
    }

    fn unwritten(&self) -> usize {
        self.whole.size - self.written()
    }

    /// Takes so many bytes off the start, which are written.
    fn cut_start(&mut self, bytes: usize) -> Entry {
        self.written.set(Some(self.written() - bytes));
        cut_start(&mut self.whole, bytes)
    }

    /// Takes so many bytes off the end.
    fn cut_end(&mut self, bytes: usize) -> Entry {
        self.whole.size -= bytes;
        let written = self.written.get();
        self.written
            .set(written.map(|written| written.min(self.whole.size)));
        Entry {
            address: self.whole.address + self.whole.size,
            size: bytes,
        }
    }

    /// Both as one, if they touch and what lies between them is written.
    fn joined(&self, other: &Self) -> Option<Self> {
        let (lower, upper) = match self.whole.address < other.whole.address {
            true => (self, other),
            false => (other, self),
        };
        let join = touches(&lower.whole, &upper.whole) && lower.unwritten() == 0;
        join.then(|| Kept {
            whole: joined(&lower.whole, &upper.whole),
            written: Cell::new(Some(lower.whole.size + upper.written())),
        })
    }
}

/// Bytes of a mapping up to the last page that is resident, as far as samples show; all of them when the system does not tell.
fn written_part(entry: &Entry) -> usize {
    let pages = entry.size / os::page_size();
    let (mut end, mut unwritten) = (pages, pages);
    loop {
        let last = last_written(entry, end.saturating_sub(SAMPLE_PAGES)..end);
        if last.is_some() || end == 0 {
            let last = last_written(entry, end..unwritten).or(last);
            return last.map_or(0, |last| (last + 1) * os::page_size());
        }
        unwritten = end;
        end = end.saturating_sub(pages.div_ceil(SAMPLES));
    }
}

/// The last of some pages of a mapping that is resident.
fn last_written(entry: &Entry, pages: Range<usize>) -> Option<usize> {
    let mut told = [0; PAGES_AT_ONCE];
    let mut end = pages.end;
    while end > pages.start {
        let told = &mut told[..(end - pages.start).min(PAGES_AT_ONCE)];
        let start = end - told.len();
        if !os::resident_pages(entry.address + start * os::page_size(), told) {
            return Some(entry.size / os::page_size() - 1);
        }
        if let Some(last) = told.iter().rposition(|page| page & 1 != 0) {
            return Some(start + last);
        }
        end = start;
    }
    None
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
    fn cached(&self) -> impl DoubleEndedIterator<Item = (usize, &Kept)> {
        let cached = self.cached.get(..self.cached_count).unwrap_or(&[]);
        cached.iter().enumerate()
    }

    /// Takes kept mapping number `index` out of the cache.
    #[inline(never)]
    fn take_cached(&mut self, index: usize) -> Kept {
        let last = self.cached_count - 1;
        for place in index..last {
            self.cached.swap(place, place + 1);
        }
        self.cached_count = last;
        let kept = core::mem::replace(&mut self.cached[last], Kept::nothing());
        self.cached_bytes -= kept.whole.size;
        kept
    }

    /// Takes out of the cache what must go so that one more mapping may stay. `None` when nothing must.
    fn overflowing(&mut self, kept: &Kept) -> Option<Entry> {
        let over = (self.cached_bytes + kept.whole.size).saturating_sub(self.capacity());
        if self.cached_count > 0 && over > 0 {
            return Some(self.give_back(over));
        }
        // No lesson: to keep more bytes would not have made a place.
        let is_full = self.cached_count == CACHED && self.beside(kept).is_none();
        is_full.then(|| self.take_cached(0).whole)
    }

    /// Bytes of freed mappings that may be kept.
    fn capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.learned.kept())
    }

    /// Takes the end of a kept mapping out of the cache, or all of it when nothing would be left.
    fn take_end(&mut self, index: usize, bytes: usize) -> Entry {
        if bytes >= self.cached[index].whole.size {
            return self.take_cached(index).whole;
        }
        self.cached_bytes -= bytes;
        self.cached[index].cut_end(bytes)
    }

    /// Takes out of the cache what serves least, to make it smaller by so many bytes: pages that were never written, however many
    /// they are, else the end of the oldest mapping. All of that one would be most of the cache when it was joined.
    fn give_back(&mut self, bytes: usize) -> Entry {
        let sparse = self
            .cached()
            .map(|(index, kept)| (index, kept.unwritten()))
            .find(|(_, unwritten)| *unwritten > 0);
        if let Some((index, unwritten)) = sparse {
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

    /// The number of one with which another may be joined, and both as one.
    fn beside(&self, kept: &Kept) -> Option<(usize, Kept)> {
        self.cached()
            .find_map(|(index, other)| Some((index, kept.joined(other)?)))
    }

    /// Keeps a freed mapping, for which there is room, joined with those that it touches, so that what was cut off comes together again. The
    /// system may see two in them still: then it refuses to resize the whole.
    fn keep(&mut self, mut kept: Kept) {
        while let Some((index, both)) = self.beside(&kept) {
            self.take_cached(index);
            kept = both;
        }
        self.cached_bytes += kept.whole.size;
        self.cached[self.cached_count] = kept;
        self.cached_count += 1;
    }

    /// A kept mapping to be resized, since none is large enough, or what is over was never written: so its pages serve again. The
    /// largest.
    fn take_smaller(&mut self) -> Option<Entry> {
        let (index, _) = self.cached().max_by_key(|(_, kept)| kept.whole.size)?;
        Some(self.take_cached(index).whole)
    }

    /// Cuts a block off the smallest kept mapping that is larger, and written there: one of just the size would have fitted. The rest
    /// stays where it is, in the list as among the addresses.
    fn cut_off(&mut self, size: usize, align: usize) -> Option<Entry> {
        let (index, _) = self
            .cached()
            .filter(|(_, kept)| has_room(&kept.whole, size, align) && kept.written() > size)
            .min_by_key(|(_, kept)| kept.whole.size)?;
        self.cached_bytes -= size;
        Some(self.cached.get_mut(index)?.cut_start(size))
    }

    /// A stuck mapping, or a block cut off the smallest that is larger: what was joined would serve nothing else.
    fn take_stuck(&mut self, size: usize, align: usize) -> Option<Entry> {
        let mut whole = self
            .stuck
            .entries()
            .filter(|entry| has_room(entry, size, align))
            .min_by_key(|entry| entry.size)?;
        self.stuck.remove(whole.address);
        if fits(&whole, size, align) {
            return Some(whole);
        }
        let block = cut_start(&mut whole, size);
        // There is room: one was just removed.
        self.stuck.insert(whole);
        Some(block)
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
            .find(|(_, kept)| fits(&kept.whole, size, align))
            .map(|(index, _)| index);
        if let Some(index) = found {
            return Some((self.take_cached(index).whole, false));
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
                None => (os::map_block(size, align)?, true),
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
        drop(mappings);
        let written = written_part(&entry);
        MAPPINGS.lock().learned.give_back(written, learn::now());
        return_to_system(entry);
        return true;
    }
    let kept = Kept::new(entry);
    // Unmapping takes long, and others must not wait for it: one at a time, the lock released in between.
    while let Some(oldest) = mappings.overflowing(&kept) {
        drop(mappings);
        return_to_system(oldest);
        mappings = MAPPINGS.lock();
    }
    mappings.keep(kept);
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
        return_to_system(oldest.whole);
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
