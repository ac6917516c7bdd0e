//! Snapshots of the heap: every arena, pool and block, as one line of JSON.
//!
//! What it owns: the format, the room in which a snapshot is put together, which one thread has at a time, and the file of the setting
//! `heapmap`. The format, without the line breaks:
//!
//! ```text
//!   {"pymalloc":"0.1.0","format":1,"pid":123,"command":"python3","time":1700000000.123,
//!    "page":4096,"slot":16384,"arena":1048576,"first_slot":1,          bytes; the first slot that is not the arena's own
//!    "classes":[[block_size,blocks_per_pool,slots_per_pool],...],      by size class
//!    "totals":{...},                                                   what pymalloc_stats_json() writes
//!    "arenas":[{"at":"7f0123400000","free":12,                         fewest free slots first
//!      "resident":"ff0f...",                                           a bit a page, the first in the lowest bit
//!      "pools":[[slot,class,in_use,free,untouched,"12a3f100u"],...],   runs of blocks: allocated, free, untouched or purged
//!      "large":[[slot,slots,bytes],...]},...],
//!    "mappings":[["7f..",bytes,resident_bytes],...]}
//! ```
//!
//! Each arena is put together while it is held still, and written after that: the reader at the other end may be a thread of this process
//! that allocates. Nothing here makes a page resident: the mark of a block is read only if its page is resident.

use crate::arena::{self, View};
use crate::conf;
use crate::geometry::{ARENA_MASK, ARENA_SIZE, BLOCK_ALIGN, SLOT_SHIFT, SLOT_SIZE, SLOTS};
use crate::large;
use crate::mapping;
use crate::os::{self, AppendedFile};
use crate::pool::Pool;
use crate::registry::Entry;
use crate::report::{self, Text};
use crate::size_class::TABLE;
use crate::stats::{self, Blocks, json};
use core::cell::UnsafeCell;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The format of a snapshot; a new number when what a reader knows no longer holds.
const FORMAT: usize = 1;

/// Room for a slot's part of an arena, its blocks aside: `[63,100,1024,1024,1024,""],` and more.
const SLOT_TEXT: usize = 64;
/// Room for an arena's own part: names, and a hexadecimal digit for four pages.
const ARENA_TEXT: usize = 256 + PAGES / 4;
/// Room for an arena: a run of blocks of one state takes at most two bytes a block ("1a").
const TEXT: usize = ARENA_SIZE / BLOCK_ALIGN * 2 + SLOTS * SLOT_TEXT + ARENA_TEXT;
/// The most pages of an arena.
const PAGES: usize = ARENA_SIZE / os::SMALLEST_PAGE;

/// The most pages whose residence is asked for in one go: as many as sixteen arenas have.
const RESIDENT: usize = 16 * PAGES;

/// The most arenas that a snapshot shows: 64 GiB of those of 1 MiB.
const ARENAS: usize = 1 << 16;
/// Mappings that are listed in one go.
const MAPPINGS: usize = 1024;

/// Where a snapshot is put together. All zeroes: it takes no room in the file, and no memory before it is used.
struct Room {
    text: [u8; TEXT],
    /// The base of each arena, with the number of its free slots in the low bits.
    arenas: [usize; ARENAS],
    mappings: [Entry; MAPPINGS],
    scratch: Scratch,
    path: [u8; conf::PATH],
}

struct Scratch {
    /// Whether each page of an arena, or of a piece of a mapping, is resident.
    resident: [u8; RESIDENT],
    /// The states of a pool's blocks.
    states: [u8; MOST_BLOCKS],
}

/// The states of a block, and the letters for them.
const ALLOCATED: u8 = 0;
const FREE: u8 = 1;
const UNTOUCHED: u8 = 2;
const STATES: &[u8; 3] = b"afu";

/// The most blocks of a pool: those of the smallest blocks have one slot.
const MOST_BLOCKS: usize = SLOT_SIZE / BLOCK_ALIGN;

struct SharedRoom(UnsafeCell<Room>);

// SAFETY: `with_room` lends the room to one thread at a time.
unsafe impl Sync for SharedRoom {}

static ROOM: SharedRoom = SharedRoom(UnsafeCell::new(Room {
    text: [0; TEXT],
    arenas: [0; ARENAS],
    mappings: [Entry {
        address: 0,
        size: 0,
    }; MAPPINGS],
    scratch: Scratch {
        resident: [0; RESIDENT],
        states: [0; MOST_BLOCKS],
    },
    path: [0; conf::PATH],
}));

/// The number of the process whose thread has the room; 0 when nobody has it.
static HOLDER: AtomicU32 = AtomicU32::new(0);

/// Milliseconds between two tries to get the room: the thread that has it may be waiting for the reader of a pipe.
const PAUSE: u64 = 1;
/// Tries of the last snapshot of a process: at exit, whoever has the room may never be done with it.
const TRIES_AT_EXIT: u32 = 1000;

/// Lends the room once it is free; `None` if that takes more than `tries`. A process that is forked while a thread of its parent has the
/// room finds the parent's number, and takes the room. So `fork` need not wait for it: the reader of the pipe may be what forks.
fn with_room<R>(mut tries: u32, work: impl FnOnce(&mut Room) -> R) -> Option<R> {
    let own = os::process_id();
    loop {
        // Relaxed: the exchange below decides.
        let holder = HOLDER.load(Ordering::Relaxed);
        // Acquire and release: the room as the one before left it.
        if holder != own
            && HOLDER
                .compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            break;
        }
        tries = tries.checked_sub(1)?;
        os::sleep(PAUSE);
    }
    // SAFETY: this thread has the room.
    let result = work(unsafe { &mut *ROOM.0.get() });
    HOLDER.store(0, Ordering::Release);
    Some(result)
}

/// Writes a snapshot to a file descriptor. Returns 0, or the errno of a failure.
pub fn write(descriptor: i32, with_blocks: bool) -> i32 {
    let written = with_room(u32::MAX, |room| write_from(room, descriptor, with_blocks));
    written.unwrap_or(libc::EBUSY)
}

#[inline(never)]
fn write_from(room: &mut Room, descriptor: i32, with_blocks: bool) -> i32 {
    let text = &mut Text::to(descriptor, &mut room.text);
    write_head(text);
    text.member(b"arenas").text("[");
    let mut count = 0;
    arena::each(&mut |view| {
        if let Some(place) = room.arenas.get_mut(count) {
            *place = view.base | view.free_slots;
            count += 1;
        }
    });
    for free_slots in 0..SLOTS {
        for arena in room.arenas.iter().take(count) {
            if arena & ARENA_MASK == free_slots && text.flush() == 0 {
                let base = arena & !ARENA_MASK;
                room.scratch.ask_resident(base);
                arena::with(base, |view| {
                    room.scratch.write_arena(text, view, with_blocks);
                });
            }
        }
    }
    text.text("]").member(b"mappings").text("[");
    let mut listed = 0;
    loop {
        let count = mapping::list(listed, &mut room.mappings);
        for mapping in room.mappings.iter().take(count) {
            text.item().text("[\"").hex(mapping.address, 1).text("\",");
            text.number(mapping.size).text(",");
            text.number(room.scratch.resident_bytes(mapping)).text("]");
        }
        listed += count;
        if count < MAPPINGS {
            return text.text("]}\n").flush();
        }
    }
}

fn write_head(text: &mut Text) {
    json::write_version(text);
    text.member(b"format").number(FORMAT);
    json::write_process(text, os::process_id());
    json::write_command(text, false);
    json::write_time(text);
    for (name, value) in [
        (&b"page"[..], os::page_size()),
        (b"slot", SLOT_SIZE),
        (b"arena", ARENA_SIZE),
        (b"first_slot", 1),
    ] {
        text.member(name).number(value);
    }
    text.member(b"classes").text("[");
    for class in &TABLE {
        write_numbers(text, &[class.block_size, class.blocks, class.slots]);
    }
    text.text("]").member(b"totals");
    stats::collect().of_this_process().write_json(text);
}

/// The next item of a list: a list of numbers.
#[inline(never)]
fn write_numbers(text: &mut Text, numbers: &[u32]) {
    text.item().text("[");
    for number in numbers {
        text.item().number(*number as usize);
    }
    text.text("]");
}

impl Scratch {
    /// Asks the system which pages of an arena are resident, before the arena is held still: others wait for that. So pages that come or go meanwhile are
    /// shown as they were.
    #[inline(never)]
    fn ask_resident(&mut self, base: usize) {
        let resident = self.resident_of_arena();
        if !os::resident_pages(base, resident) {
            // A sandbox does not let the process ask, or the arena is gone. Purged pages are known anyway.
            resident.fill(1);
        }
    }

    /// What the system said last, a byte for each page of an arena.
    fn resident_of_arena(&mut self) -> &mut [u8] {
        let pages = ARENA_SIZE / os::page_size();
        self.resident.get_mut(..pages).unwrap_or(&mut [])
    }

    /// Writes the next item of the list of arenas, for which `ask_resident` was called. The arena is held still.
    #[inline(never)]
    fn write_arena(&mut self, text: &mut Text, view: &View, with_blocks: bool) {
        text.item().text("{").member(b"at").text("\"");
        text.hex(view.base, 1).text("\"");
        text.member(b"free").number(view.free_slots);
        text.member(b"resident").text("\"");
        for eight in self.resident_of_arena().chunks(8) {
            text.hex(bits_of(eight), 2);
        }
        text.text("\"").member(b"pools").text("[");
        // SAFETY: the headers of allocated runs, and the arena is held still.
        let runs = || view.runs().map(|header| unsafe { Pool::at(header) });
        for pool in runs().filter(|run| run.class() > 0) {
            text.item().text("[").number(slot_of(pool)).text(",");
            text.number(pool.class());
            match with_blocks {
                true => self.write_blocks(text, pool),
                false => {
                    let blocks = Blocks::of(pool);
                    write_counts(text, &[blocks.in_use, blocks.free, blocks.untouched]);
                }
            }
            text.text("\"]");
        }
        text.text("]").member(b"large").text("[");
        for run in runs().filter(|run| run.class() == 0) {
            let numbers = [slot_of(run), run.slots(), large::size_of(run)];
            write_numbers(text, &numbers.map(|number| number as u32));
        }
        text.text("]}");
    }

    /// Writes the states of a pool's blocks.
    #[inline(never)]
    fn write_blocks(&mut self, text: &mut Text, pool: &Pool) {
        let blocks = pool.size_class().blocks as usize;
        let states = self.states.get_mut(..blocks).unwrap_or(&mut []);
        let shift = os::page_size().trailing_zeros();
        let mut counts = [0; STATES.len()];
        for (index, place) in states.iter_mut().enumerate() {
            let address = pool.start() + index * pool.block_size();
            // The mark lies on the page where the block starts. If that page is not resident, and was not purged, it is swapped out: the
            // block counts as in use.
            let page = (address & ARENA_MASK) >> shift;
            let state = match pool.block_at(address) {
                Err(_) => UNTOUCHED,
                Ok(block) if self.resident[page % RESIDENT] & 1 == 1 && pool.shows_mark(block) => {
                    FREE
                }
                Ok(_) => ALLOCATED,
            };
            *place = state;
            counts[state as usize] += 1;
        }
        write_counts(text, &counts);
        let (mut first, mut length) = (UNTOUCHED, 0);
        for state in states {
            if *state != first && length > 0 {
                write_run(text, length, first);
                length = 0;
            }
            first = *state;
            length += 1;
        }
        write_run(text, length, first);
    }

    /// Resident bytes of a mapping. It may be gone by now: then those of whatever lies there.
    #[inline(never)]
    fn resident_bytes(&mut self, mapping: &Entry) -> usize {
        let (size, mut pages) = (RESIDENT * os::page_size(), 0);
        let mut start = 0;
        while start < mapping.size {
            let count = (mapping.size - start).min(size) / os::page_size();
            let told = self.resident.get_mut(..count).unwrap_or(&mut []);
            if os::resident_pages(mapping.address + start, told) {
                for eight in told.chunks(8) {
                    pages += bits_of(eight).count_ones() as usize;
                }
            }
            start += size;
        }
        pages * os::page_size()
    }
}

/// A bit for each of eight pages, the first in the lowest.
#[inline(never)]
fn bits_of(resident: &[u8]) -> usize {
    let pages = resident.iter().rev();
    pages.fold(0, |bits, page| bits << 1 | (page & 1) as usize)
}

fn slot_of(run: &Pool) -> usize {
    (run.start() & ARENA_MASK) >> SLOT_SHIFT
}

/// Writes how many blocks of a pool are in each state, and the start of the list of their states.
#[inline(never)]
fn write_counts(text: &mut Text, counts: &[usize; STATES.len()]) {
    for count in counts {
        text.text(",").number(*count);
    }
    text.text(",\"");
}

/// Writes a run of blocks in one state.
fn write_run(text: &mut Text, length: usize, state: u8) {
    let letter = &STATES[state as usize % STATES.len()];
    text.number(length).bytes(slice::from_ref(letter));
}

/// Set once the process has written its last snapshot: a thread that still runs writes none after it.
static ENDED: AtomicBool = AtomicBool::new(false);
/// Whether a snapshot could not be written, so that it is said once.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Appends a snapshot to the file of the setting `heapmap`, if it is set; with `last` none follows. When that fails one line says so,
/// and the file is as it was.
pub fn append(last: bool) {
    if conf::heapmap_setting().is_empty() {
        return;
    }
    // Relaxed, here and below: changed only by the thread that has the room.
    let tries = if last { TRIES_AT_EXIT } else { u32::MAX };
    let _ = with_room(tries, |room| {
        if ENDED.fetch_or(last, Ordering::Relaxed) {
            return;
        }
        let error = append_from(room);
        if error != 0 {
            fail(error);
        }
    });
}

/// Says at the start of the process what would keep it from writing snapshots, as far as that shows without making the file. A pipe is
/// not opened: its reader would see the end of it.
pub fn check() {
    if conf::heapmap_setting().is_empty() {
        return;
    }
    // Relaxed: see `append`.
    let error = with_room(0, |room| match conf::heapmap(&mut room.path) {
        Some(path) => os::why_not_written(path),
        None => libc::ENAMETOOLONG,
    });
    if let Some(error @ 1..) = error {
        fail(error);
    }
}

/// Says once why there are no snapshots.
fn fail(error: i32) {
    // The collector takes its folder away when it has drawn what was in it.
    let is_late = error == libc::ENOENT && !conf::collector().is_empty();
    // Relaxed: changed only by the thread that has the room, or at the start.
    if !is_late && !FAILED.swap(true, Ordering::Relaxed) {
        complain(error);
    }
}

fn append_from(room: &mut Room) -> i32 {
    let path = conf::heapmap(&mut room.path).ok_or(libc::ENAMETOOLONG);
    match path.and_then(AppendedFile::open) {
        Err(error) => error,
        Ok(file) => {
            let error = write_from(room, file.descriptor(), true);
            file.close(error != 0);
            error
        }
    }
}

fn complain(error: i32) {
    let path = conf::heapmap_setting();
    // A long path must not push the reason off the line.
    let shown = path.get(..128).unwrap_or(path);
    let reason = match error {
        libc::ENOENT => "no such folder",
        libc::EACCES | libc::EPERM | libc::EROFS => "not permitted",
        libc::ELOOP => "a symbolic link",
        libc::EISDIR => "a folder",
        libc::ENXIO => "a pipe that nobody reads",
        libc::ENOSPC | libc::EDQUOT => "no space left",
        _ => "the system refuses",
    };
    report::message(&mut report::line())
        .text("heapmap: \"")
        .bytes(shown)
        .text("\" cannot be written: ")
        .text(reason)
        .text(" (errno ")
        .number(error as usize)
        .text(")")
        .send();
}
