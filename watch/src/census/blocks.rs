//! Every block of a process, and what is known of it.
//!
//! What it owns: 16 bits for each block: that it is free, or what lies in it. So a census takes 2 bytes a block, and beyond that what one batch
//! takes that is read at once.
//!
//! What must hold: the bytes of a block are those of some moment. A block that is freed or handed out meanwhile is counted as it was then.

use super::pages::Pages;
use crate::outside::{Error, Layer, Memory, Part, Range};
use pymalloc::internals::geometry::{BLOCK_ALIGN, SLOT_SHIFT};
use pymalloc::internals::structures::Block as FreeBlock;
use std::ops;

/// What is known of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(u16);

impl State {
    pub const FREE: State = State(0);
    /// It is in use, and no more is known.
    pub const UNKNOWN: State = State(1);
    /// It was an object, and CPython keeps it to be one again.
    pub const SPARE: State = State(2);
    const FIRST_TYPE: u16 = 3;
    /// The block is no object: one of the type has it.
    const HELD: u16 = 1 << 15;
    /// Types beyond these are not told apart.
    pub const MOST_TYPES: usize = (Self::HELD - Self::FIRST_TYPE) as usize;

    pub fn object(number: usize) -> Self {
        State(Self::FIRST_TYPE + number as u16)
    }

    /// A block that an object of the type has.
    pub fn held_by(number: usize) -> Self {
        State(Self::object(number).0 | Self::HELD)
    }

    pub fn is_held(self) -> bool {
        self.0 & Self::HELD != 0
    }

    /// The same for an object of a type and for what such an object has.
    pub fn kind(self) -> Self {
        self.number().map_or(self, Self::object)
    }

    /// The number of the type whose object it is, or which has it.
    pub fn number(self) -> Option<usize> {
        let number = (self.0 & !Self::HELD).checked_sub(Self::FIRST_TYPE)?;
        Some(number as usize)
    }
}

/// A block with what is in it.
pub struct Content<'a> {
    /// All of a block of a pool; of a large one the first `LARGE_PART`.
    pub bytes: &'a [u8],
    /// Bytes of the whole block.
    pub size: usize,
}

impl Content<'_> {
    /// The word at some place of it; 0 behind its end.
    pub fn word(&self, at: usize) -> usize {
        word_of(self.bytes, at)
    }
}

/// The word at some place of what was read; 0 behind its end.
pub fn word_of(bytes: &[u8], at: usize) -> usize {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    usize::from_ne_bytes(word.copied().unwrap_or_default())
}

/// Whether a word can be an address of the program's own.
pub fn may_be_address(word: usize) -> bool {
    (1 << 12..1 << 47).contains(&word)
}

/// Bytes of a large block that are read: what an object has there itself. Of its items, those further on are not seen.
const LARGE_PART: usize = 512;
/// Parts that are read at once: 1 MiB of pools of one slot.
const BATCH: usize = 64;

/// Blocks that are believed of any process, for which the table takes 64 MiB; and bytes of large blocks, 4 TiB, whose pages take a minute to be asked
/// for. What a process says beyond that is taken for a mistake.
const MOST_BLOCKS: usize = 1 << 25;
const MOST_LARGE: usize = 1 << 42;

/// Addresses are looked up by stretches of at least a slot, of which there are at most 2 to the power of `MOST_STRETCHES`.
const LEAST_STRETCH: u32 = SLOT_SHIFT;
const MOST_STRETCHES: u32 = 20;

pub struct Blocks {
    /// By address.
    pub parts: Vec<Part>,
    /// The first part that starts in each stretch, or behind it; and how long a stretch is, as a power of two.
    stretches: Vec<usize>,
    stretch: u32,
    /// Where the blocks of each part begin in `states`, and where they end.
    first: Vec<usize>,
    states: Vec<State>,
}

impl Blocks {
    /// The blocks of these parts: `UNKNOWN`, all of them. `resident` bytes of the process are: no more blocks are believed than could be there.
    pub fn of(mut parts: Vec<Part>, resident: usize) -> Self {
        let most = MOST_BLOCKS.max(resident / BLOCK_ALIGN);
        let (mut blocks, mut large) = (0usize, 0usize);
        parts.retain(|part| {
            if part.layer == Layer::Pool {
                blocks += part.blocks;
            } else {
                blocks += 1;
                large = large.saturating_add(part.block_size);
            }
            blocks <= most && large <= MOST_LARGE
        });
        let mut first = vec![0];
        for part in &parts {
            first.push(first.last().unwrap_or(&0) + part.blocks);
        }
        let [low, high] = [parts.first(), parts.last()].map(|part| part.map_or(0, |it| it.start));
        let bits = usize::BITS - (high - low).leading_zeros();
        let stretch = LEAST_STRETCH.max(bits.saturating_sub(MOST_STRETCHES));
        let stretches = (0..=((high - low) >> stretch) + 1)
            .map(|index| parts.partition_point(|part| part.start - low < index << stretch))
            .collect();
        Blocks {
            stretches,
            stretch,
            states: vec![State::UNKNOWN; *first.last().unwrap_or(&0)],
            parts,
            first,
        }
    }

    /// The states of the blocks of a part.
    pub fn states_of(&self, part: usize) -> &[State] {
        &self.states[self.first[part]..self.first[part + 1]]
    }

    /// The last part that starts at an address or in front of it.
    fn part_before(&self, address: usize) -> Option<usize> {
        let low = self.parts.first()?.start;
        let stretch = address.checked_sub(low)? >> self.stretch;
        let [first, end] = [stretch, stretch + 1]
            .map(|at| self.stretches.get(at).copied().unwrap_or(self.parts.len()));
        let here = &self.parts[first..end];
        (first + here.partition_point(|part| part.start <= address)).checked_sub(1)
    }

    /// Notes what lies in the block around an address, if it is in use and nothing was known of it. True when it did.
    pub fn learn(&mut self, address: usize, state: State) -> bool {
        let Some(index) = self.part_before(address) else {
            return false;
        };
        let part = &self.parts[index];
        let block = (address - part.start) / part.block_size;
        let place = self.first[index] + block;
        if block >= part.blocks || self.states[place] != State::UNKNOWN {
            return false;
        }
        self.states[place] = state;
        true
    }

    /// The batches in which everything is read.
    pub fn batches(&self) -> impl Iterator<Item = ops::Range<usize>> + use<> {
        let count = self.parts.len();
        let starts = (0..count).step_by(BATCH);
        starts.map(move |start| start..count.min(start + BATCH))
    }

    /// Reads the parts of a batch.
    pub fn read(
        &self,
        batch: ops::Range<usize>,
        memory: &Memory,
        pages: &Pages,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let ranges: Vec<_> = self.parts[batch]
            .iter()
            .map(|part| match part.layer {
                Layer::Pool => (part.start, part.blocks * part.block_size),
                Layer::Run | Layer::Mapping => (part.start, part.block_size.min(LARGE_PART)),
            })
            .collect();
        read_resident(memory, pages, &ranges)
    }

    /// Judges each block of a part that is not known to be free, with what was read of it.
    pub fn judge(
        &mut self,
        part: usize,
        read: &[u8],
        page: usize,
        judge: &mut dyn FnMut(&Content, State) -> State,
    ) {
        let Part {
            start,
            block_size,
            layer,
            ..
        } = self.parts[part];
        let is_large = layer != Layer::Pool;
        let chunk = if is_large {
            read.len().max(1)
        } else {
            block_size
        };
        let first = self.first[part];
        for (index, bytes) in read.chunks_exact(chunk).enumerate() {
            let block = Content {
                bytes,
                size: block_size,
            };
            let mark = FreeBlock::free_mark(start + index * block_size);
            let state = self.states[first + index];
            let is_free = !is_large
                && (block.word(size_of::<usize>()) == mark
                    || is_purged(&self.parts[part], index, page));
            self.states[first + index] = match state {
                State::FREE => State::FREE,
                _ if is_free => State::FREE,
                state => judge(&block, state),
            };
        }
    }
}

/// Whether a block lies on a purged page, if only in part.
fn is_purged(part: &Part, index: usize, page: usize) -> bool {
    let first = index * part.block_size / page;
    let last = ((index + 1) * part.block_size - 1) / page;
    let bits = u32::BITS as usize;
    part.purged != 0 && (first..=last.min(bits - 1)).any(|page| part.purged >> page & 1 == 1)
}

/// Reads the resident pages of some ranges. What is not there reads as zeroes.
fn read_resident(
    memory: &Memory,
    pages: &Pages,
    ranges: &[(usize, usize)],
) -> Result<Vec<Vec<u8>>, Error> {
    let mut contents: Vec<_> = ranges.iter().map(|(_, size)| vec![0; *size]).collect();
    let mut wanted = Vec::new();
    for ((start, size), content) in ranges.iter().zip(&mut contents) {
        let resident = pages.resident(*start, *size);
        let starts = (*start..).step_by(pages.size);
        let parts = starts.zip(content.chunks_mut(pages.size)).zip(resident);
        let there = parts.filter(|(_, resident)| *resident);
        wanted.extend(there.map(|((from, to), _)| Range::new(from, to)));
    }
    memory.read(&mut wanted)?;
    Ok(contents)
}
