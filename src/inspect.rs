//! What any address is: safe for every pointer, at any time.
//!
//! The arenas are held still meanwhile, so that no header vanishes. The state of a block that other threads
//! use is the state at some moment during the call.

use crate::arena::{self, Slot};
use crate::geometry::{ARENA_MASK, ARENA_SIZE, SLOT_MASK, SLOT_SIZE};
use crate::large;
use crate::mapping;
use crate::pool::{NotAllocated, Pool};
use core::ffi::c_void;
use core::ptr;

/// What kind of memory an address lies in.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not memory of this allocator.
    None = 0,
    /// A block of a pool.
    Pool = 1,
    /// A large block: whole slots of an arena.
    Large = 2,
    /// A large block that is a mapping of its own.
    Mapping = 3,
    /// Inside an arena, but in no pool and no large block: its header, a free slot, or the end of a pool behind the last block.
    Arena = 4,
}

/// The state of a block.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There is no block.
    None = 0,
    /// Never handed out: no byte of it was written yet.
    Untouched = 1,
    /// Handed out and freed, or about to be handed out.
    Free = 2,
    /// In use by the program.
    Allocated = 3,
}

/// What an address is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// What kind of memory it lies in. When this is `None`, everything else is zero.
    pub kind: Kind,
    /// The state of its block.
    pub state: State,
    /// Start of its arena; null for a mapping of its own.
    pub arena: *const c_void,
    /// Bytes of the arena, 0 for none.
    pub arena_size: usize,
    /// Start of its pool, of its large block, or of its free slot.
    pub pool: *const c_void,
    /// Bytes of these.
    pub pool_size: usize,
    /// Start of its block; null for none.
    pub block: *const c_void,
    /// Bytes of the block, 0 for none.
    pub block_size: usize,
    /// The size class of its pool; 0 for all else.
    pub size_class: u32,
    /// The number of the block in its pool, from 0.
    pub block_index: u32,
}

const NOTHING: Info = Info {
    kind: Kind::None,
    state: State::None,
    arena: ptr::null(),
    arena_size: 0,
    pool: ptr::null(),
    pool_size: 0,
    block: ptr::null(),
    block_size: 0,
    size_class: 0,
    block_index: 0,
};

/// Tells what `address` is.
pub fn inspect(address: *const c_void) -> Info {
    let address = address as usize;
    arena::with_run_of_stray(address, |slot| {
        let in_arena = Info {
            kind: Kind::Arena,
            arena: (address & !ARENA_MASK) as *const c_void,
            arena_size: ARENA_SIZE,
            pool: (address & !SLOT_MASK) as *const c_void,
            pool_size: SLOT_SIZE,
            ..NOTHING
        };
        match slot {
            Slot::Outside => None,
            Slot::Unallocated => Some(in_arena),
            // SAFETY: the header of an allocated run, and the arenas are held still.
            Slot::Run(header) => Some(in_run(unsafe { Pool::at(header) }, address, in_arena)),
        }
    })
    .unwrap_or_else(|| in_mapping(address))
}

fn in_run(pool: &Pool, address: usize, in_arena: Info) -> Info {
    let info = Info {
        pool: pool.start() as *const c_void,
        pool_size: pool.slots() * SLOT_SIZE,
        ..in_arena
    };
    if pool.class() == 0 {
        return Info {
            kind: Kind::Large,
            state: State::Allocated,
            block: info.pool,
            block_size: large::size_of(pool),
            ..info
        };
    }
    let Some((index, start)) = pool.block_around(address) else {
        return info;
    };
    Info {
        kind: Kind::Pool,
        state: match pool.block_at(start) {
            Ok(block) if pool.shows_mark(block) => State::Free,
            Ok(_) => State::Allocated,
            Err(NotAllocated::Purged) => State::Free,
            Err(NotAllocated::Untouched | NotAllocated::Interior) => State::Untouched,
        },
        block: start as *const c_void,
        block_size: pool.block_size(),
        size_class: pool.class() as u32,
        block_index: index,
        ..info
    }
}

fn in_mapping(address: usize) -> Info {
    let Some(entry) = mapping::containing(address) else {
        return NOTHING;
    };
    let start = entry.address as *const c_void;
    Info {
        kind: Kind::Mapping,
        state: State::Allocated,
        pool: start,
        pool_size: entry.size,
        block: start,
        block_size: entry.size,
        ..NOTHING
    }
}
