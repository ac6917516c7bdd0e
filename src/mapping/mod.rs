//! Mappings of their own: blocks too large for an arena.
//!
//! What it owns: such blocks, each a whole mapping, found by its address in a registry, so that it costs no
//! header, can be resized by `mremap` without copying, and no stray pointer is mistaken for one.
//!
//! From top to ground:
//! - `keep`: how freed mappings are kept, and how they decay.
//! - `back`: how freed mappings go back to the system, and how stuck ones serve again.
//! - `mappings`: all of them, and how much may stay.
//! - `cache`: the freed mappings that are kept.
//! - `stuck`: mappings that the system refused to unmap.
//! - `written`: how much of a freed mapping was ever written.
//! - `held`: their bytes, to be read without a lock.
//! - `part`: what fits, what touches, and how mappings are split and joined.
//!
//! What must hold: nobody makes a system call with the lock held. A mapping that the system works on is in no table, and there is
//! room for it when it comes back. In a child that is forked meanwhile no thread brings it back: it stays mapped there, at most one for
//! each thread.

mod back;
mod cache;
mod held;
mod keep;
mod mappings;
mod part;
mod stuck;
mod written;

use crate::os;
use crate::registry::Entry;
use crate::retain;
pub use back::{allocate_stuck, let_go, stuck_memory, take_stuck};
use back::{lock_with_room_for_block, return_to_system};
use cache::Kept;
use core::ptr::NonNull;
pub use held::held_bytes;
use held::{count_change, count_held};
use keep::keep;
pub use keep::{decay, give_up, give_up_for_own, trim};
pub use mappings::{LAYOUT, MAPPINGS};
use written::written_part;

/// A block that was just allocated, larger than those of pools.
pub struct Fresh {
    pub address: NonNull<u8>,
    /// Whether every byte is known to be zero.
    pub zeroed: bool,
}

/// Resizes a freed mapping, which is in no table, to a block of `size` bytes. If the system refuses, it goes back: `None`.
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
) -> Option<Fresh> {
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
    // Before anything of it is touched, and only once the system has given it.
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

/// The block that was entered, zeroed if that is wanted and can be had.
fn handed_out(entry: Entry, is_zero: bool, wanted: bool) -> Option<Fresh> {
    let address = NonNull::new(entry.address as *mut u8)?;
    Some(Fresh {
        address,
        // SAFETY: the new block, which nobody uses yet.
        zeroed: is_zero || wanted && unsafe { os::purge(address.as_ptr(), entry.size) },
    })
}

/// Frees the block at `address`. False when there is none.
pub fn free(address: usize) -> bool {
    let mut mappings = MAPPINGS.lock();
    let Some(entry) = mappings.remove(address) else {
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
/// While the block moves it is in no table. A child that is forked meanwhile does not find it, and need not: the thread that owns it
/// does not exist there.
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
        mappings.remove_for_a_while(address).ok_or(libc::EINVAL)?
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

/// Where the table of the live mappings is and how many entries it has, in another process whose statics have been copied over these here.
pub fn table_elsewhere() -> (usize, usize) {
    MAPPINGS.lock().live.table_elsewhere()
}
