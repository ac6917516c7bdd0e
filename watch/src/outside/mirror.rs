//! The mirror: a copy of what the statistics are made of, in the very places where this program's own would be.
//!
//! What it owns: this program's statics of the library while it looks, a reservation of addresses in which the headers of the
//! arenas lie as in the process (but for the blocks, which are not read), and the heaps, but for their slot maps.
//!
//! What must hold: nothing in the mirror points into the other process, and every value in it is one that the library's code can bear.

use super::Error;
use super::memory::{Memory, Range};
use pymalloc::internals::geometry::{ARENA_MASK, ARENA_SIZE, HEADER_SIZE, SLOT_SHIFT, SLOTS};
use pymalloc::internals::os;
use pymalloc::internals::report::{self, Text};
use pymalloc::internals::stats::{self, Blocks, Counted, Stats};
use pymalloc::internals::structures::{
    Entry, Heap, MAPPINGS, PARTS, Pool, Registry, arena, heaps, own_parts, size_of_run,
    table_of_mappings_elsewhere,
};
use std::collections::HashSet;
use std::io;
use std::ptr;
use std::sync::Mutex;

/// Bytes of an arena that are read: its header and those of its slots.
const HEADERS: usize = SLOTS * HEADER_SIZE;

/// What is believed of any process: so many heaps, arenas and mappings, for which the mirror takes 32, 64 and 10 MiB. More threads than heaps at one time, and more mappings than the system
/// allows by default, are rare; more arenas are believed if these parts of them could be resident.
const MOST_HEAPS: usize = 1 << 13;
const MOST_ARENAS: usize = 1 << 14;
const RESIDENT_PART: usize = 16;
const MOST_MAPPINGS: usize = 1 << 18;

/// An arena as it was seen.
#[derive(Clone, Copy)]
pub struct ArenaView {
    pub free_slots: usize,
    /// Bytes of the blocks in use in its pools, those that threads have at hand included, and of its large blocks.
    pub bytes_in_use: usize,
}

/// Blocks side by side, all of one size: those of a pool that were carved, or a large one alone. The address is that in the process.
#[derive(Clone, Copy)]
pub struct Part {
    pub start: usize,
    pub block_size: usize,
    pub blocks: usize,
    /// The purged pages, a bit each, the first in the lowest. No block on them is in use.
    pub purged: u32,
    pub layer: Layer,
}

/// What serves blocks of a size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    Pool,
    /// Whole slots of an arena.
    Run,
    Mapping,
}

/// Where blocks and what the library keeps for itself can lie. All addresses are those in the process.
pub struct Places {
    /// By address, none of them in another.
    pub parts: Vec<Part>,
    /// Where the arenas start, of `ARENA_SIZE` bytes each.
    pub arenas: Vec<usize>,
}

/// What was seen.
pub struct Look {
    pub whole: Stats,
    /// Of each size class that has pools: class, block size, pools, blocks in use, free, untouched.
    pub classes: Vec<[usize; 6]>,
    /// In the order of `usable_arenas`: the full ones, then those with the fewest free slots.
    pub arenas: Vec<ArenaView>,
    /// What `pymalloc_stats_json` writes, as a line.
    pub json: Vec<u8>,
}

/// One look at a time, since all use the same statics.
static LOOKING: Mutex<()> = Mutex::new(());

pub struct Mirror {
    /// Addresses for so many arenas.
    area: *mut u8,
    room: usize,
    /// Where the arenas in it are in the process.
    bases: Vec<usize>,
    /// Memory for heaps. A heap is never unmapped.
    heaps: Vec<*mut u8>,
}

impl Mirror {
    pub fn empty() -> Self {
        Mirror {
            area: ptr::null_mut(),
            room: 0,
            bases: Vec::new(),
            heaps: Vec::new(),
        }
    }

    /// Copies what is at `statics` and all that it leads to, and counts it.
    pub fn look(&mut self, memory: &Memory, statics: &[usize; PARTS]) -> Result<Look, Error> {
        self.look_and(memory, statics, |_| Ok(()))
            .map(|seen| seen.0)
    }

    /// The same, and lists what blocks can lie in.
    pub fn look_closer(
        &mut self,
        memory: &Memory,
        statics: &[usize; PARTS],
    ) -> Result<(Look, Places), Error> {
        self.look_and(memory, statics, |mirror| {
            Ok(Places {
                parts: mirror.parts(memory)?,
                arenas: mirror.bases.clone(),
            })
        })
    }

    fn look_and<T>(
        &mut self,
        memory: &Memory,
        statics: &[usize; PARTS],
        more: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<(Look, T), Error> {
        let _looking = LOOKING
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        arena::forget_overflow();
        let overflow = copy_statics(memory, statics)?;
        self.copy_heaps(memory)?;
        self.copy_arenas(memory, &overflow)?;
        self.settle_pools();
        let mut counted = stats::collect();
        counted.pid = memory.pid.unsigned_abs();
        counted.whole.resident = memory.resident()?.all;
        let mut classes = Vec::new();
        counted.each_row(&mut |row| classes.push(*row));
        let look = Look {
            whole: counted.whole,
            classes,
            arenas: look_at_arenas(),
            json: in_json(&counted),
        };
        Ok((look, more(self)?))
    }

    /// Lists the pools and the large blocks, as they were copied, by address.
    fn parts(&self, memory: &Memory) -> Result<Vec<Part>, Error> {
        let large = |layer| {
            move |(start, size)| Part {
                start,
                block_size: size,
                blocks: 1,
                purged: 0,
                layer,
            }
        };
        let mappings = read_mappings(memory)?.into_iter();
        let mut parts: Vec<_> = mappings.map(large(Layer::Mapping)).collect();
        arena::each(&mut |view| {
            let index = (view.base - self.area as usize) / ARENA_SIZE;
            let moved = self.bases[index].wrapping_sub(view.base);
            for header in view.runs() {
                // SAFETY: a header in the mirror.
                let pool = unsafe { Pool::at(header) };
                let start = pool.start().wrapping_add(moved);
                parts.push(match pool.class() {
                    0 => large(Layer::Run)((start, size_of_run(pool))),
                    _ => Part {
                        start,
                        block_size: pool.block_size(),
                        blocks: pool.carved_blocks() as usize,
                        purged: pool.purged_pages(),
                        layer: Layer::Pool,
                    },
                });
            }
        });
        // Not a byte twice, whatever the other process says.
        parts.retain(|part| part.blocks > 0 && part.block_size > 0);
        parts.sort_unstable_by_key(|part| part.start);
        let mut end = 0;
        parts.retain(|part| {
            let apart = part.start >= end;
            end = end.max(part.start.saturating_add(part.blocks * part.block_size));
            apart
        });
        Ok(parts)
    }

    fn copy_heaps(&mut self, memory: &Memory) -> Result<(), Error> {
        let mut count = 0;
        let mut next = heaps::forget();
        let mut seen = HashSet::new();
        while next != 0 && count < MOST_HEAPS && seen.insert(next) {
            if count == self.heaps.len() {
                self.heaps.push(map(size_of::<Heap>())?);
            }
            let heap = self.heaps[count];
            // SAFETY: a mapping as large as a heap.
            let copy = unsafe { std::slice::from_raw_parts_mut(heap, size_of::<Heap>()) };
            if !memory.read_one(next, copy)? {
                break;
            }
            // SAFETY: a mapping that stays; a heap may have any contents that another heap had.
            next = unsafe { heaps::enter(heap) };
            count += 1;
        }
        Ok(())
    }

    fn copy_arenas(&mut self, memory: &Memory, overflow: &Registry) -> Result<(), Error> {
        self.bases = arena::take_map().collect();
        let most = MOST_ARENAS.max(memory.resident()?.all / ARENA_SIZE * RESIDENT_PART);
        self.bases.extend(read_overflow(memory, overflow, most)?);
        // Each once, whatever is in the other's tables.
        self.bases.sort_unstable();
        self.bases.dedup();
        self.bases.truncate(most);
        self.make_room(self.bases.len())?;
        let place = |index: usize| self.area.wrapping_add(index * ARENA_SIZE);
        let mut heads: Vec<_> = self
            .bases
            .iter()
            .enumerate()
            .map(|(index, base)| {
                // SAFETY: in the reservation, each in an arena of its own, and no reference to it is left of an earlier look.
                Range::new(*base, unsafe {
                    std::slice::from_raw_parts_mut(place(index), HEADERS)
                })
            })
            .collect();
        memory.read(&mut heads)?;
        for (index, _) in heads.iter().enumerate().filter(|(_, head)| head.read) {
            // SAFETY: the copy of an arena's headers, which stays until the next look.
            unsafe { arena::enter(place(index)) };
        }
        Ok(())
    }

    fn make_room(&mut self, arenas: usize) -> Result<(), Error> {
        if arenas <= self.room {
            return Ok(());
        }
        if self.room > 0 {
            // SAFETY: no reference is left of an earlier look. A refusal costs addresses.
            let _ = unsafe { os::try_unmap(self.area, self.room * ARENA_SIZE) };
        }
        self.room = 0;
        // So that a growing process does not need another reservation every time.
        let room = arenas.next_power_of_two();
        self.area = os::map_aligned(ptr::null_mut(), room * ARENA_SIZE, ARENA_SIZE)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?
            .as_ptr();
        self.room = room;
        Ok(())
    }

    /// Settles all headers.
    fn settle_pools(&self) {
        arena::each(&mut |view| {
            for header in view.runs() {
                // SAFETY: a header in the mirror.
                let pool: &'static Pool = unsafe { Pool::at(header) };
                let slot = (pool.start() & ARENA_MASK) >> SLOT_SHIFT;
                pool.settle(SLOTS - slot);
            }
        });
    }
}

fn map(size: usize) -> Result<*mut u8, Error> {
    let size = size.next_multiple_of(os::page_size());
    let mapped =
        os::map(ptr::null_mut(), size).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
    Ok(mapped.as_ptr())
}

/// Copies the statics. Returns the table of the arenas without a place in the map, which is in the other process.
fn copy_statics(memory: &Memory, statics: &[usize; PARTS]) -> Result<Registry, Error> {
    let own = own_parts();
    let mut copies: Vec<_> = own.iter().map(|(_, size)| vec![0; *size]).collect();
    let mut ranges: Vec<_> = statics
        .iter()
        .zip(&mut copies)
        .map(|(from, copy)| Range::new(*from, copy))
        .collect();
    memory.read(&mut ranges)?;
    if !ranges.iter().all(|range| range.read) {
        // Its memory is being taken down.
        return Err(Error::Gone);
    }
    // So that the locks, which are copied too, are this program's afterwards.
    arena::ARENAS.hold_for_fork();
    MAPPINGS.hold_for_fork();
    for ((place, size), copy) in own.iter().zip(&copies) {
        // SAFETY: a static of the library, all of it behind a lock that is held or atomic. The other process has there what
        // is valid here too: the layout is the same, and pointers are plain numbers until they are followed.
        unsafe { ptr::copy_nonoverlapping(copy.as_ptr(), *place, *size) };
    }
    // SAFETY: held above.
    unsafe {
        arena::ARENAS.release_after_fork();
        MAPPINGS.release_after_fork();
    }
    // At once, before anything can fail: the next look gives what is there to the system, as its own (`forget_overflow`).
    Ok(arena::take_overflow())
}

/// The arenas in a registry whose table is in the other process.
fn read_overflow(memory: &Memory, registry: &Registry, most: usize) -> Result<Vec<usize>, Error> {
    // A table has up to twice as many places as entries.
    let entries = read_table(memory, registry.table_elsewhere(), 2 * most)?;
    let bases = entries.into_iter().map(|(address, _)| address);
    Ok(bases
        .filter(|address| arena::may_be_base(*address))
        .collect())
}

/// The blocks that are mappings of their own, whose table is in the other process: start and bytes.
fn read_mappings(memory: &Memory) -> Result<Vec<(usize, usize)>, Error> {
    let page = os::page_size();
    let mut mappings = read_table(memory, table_of_mappings_elsewhere(), MOST_MAPPINGS)?;
    mappings.retain(|(start, size)| {
        *start != 0 && start % page == 0 && *size != 0 && start.checked_add(*size).is_some()
    });
    Ok(mappings)
}

/// The entries of a registry's table in the other process, empty places included: address and size. No more than so many places are believed.
fn read_table(
    memory: &Memory,
    (table, capacity): (usize, usize),
    most: usize,
) -> Result<Vec<(usize, usize)>, Error> {
    let mut bytes = vec![0; capacity.min(most) * size_of::<Entry>()];
    if capacity == 0 || !memory.read_one(table, &mut bytes)? {
        return Ok(Vec::new());
    }
    let word = |entry: &[u8], at: usize| {
        let word = entry[at..].first_chunk().copied();
        usize::from_ne_bytes(word.unwrap_or_default())
    };
    Ok(bytes
        .chunks_exact(size_of::<Entry>())
        .map(|entry| (word(entry, Entry::ADDRESS), word(entry, Entry::SIZE)))
        .collect())
}

fn in_json(counted: &Counted) -> Vec<u8> {
    fn append(line: usize, bytes: &[u8]) -> i32 {
        // SAFETY: the line below, which nobody else uses before the text is done with it.
        unsafe { &mut *ptr::with_exposed_provenance_mut::<Vec<u8>>(line) }.extend_from_slice(bytes);
        0
    }
    let mut line = Vec::new();
    let mut buffer = [0; report::BUFFER];
    let context = (&raw mut line).expose_provenance();
    let mut text = Text::new(&mut buffer, append, context);
    counted.write_json(&mut text);
    text.text("\n").flush();
    line
}

fn look_at_arenas() -> Vec<ArenaView> {
    let mut arenas = Vec::new();
    arena::each(&mut |view| {
        let bytes_in_use = view
            .runs()
            .map(|header| {
                // SAFETY: a header in the mirror.
                let pool = unsafe { Pool::at(header) };
                match pool.class() {
                    0 => size_of_run(pool),
                    _ => Blocks::of(pool).in_use * pool.block_size(),
                }
            })
            .sum();
        arenas.push(ArenaView {
            free_slots: view.free_slots,
            bytes_in_use,
        });
    });
    arenas.sort_by_key(|arena| arena.free_slots);
    arenas
}
