//! The sums of a census, by type.
//!
//! What is *pinned*: the bytes of a resident page that no block has which is in use. They stay with the page for the sake of the blocks that are, and are counted to those, in
//! proportion to their bytes on it.

use super::blocks::{Blocks, State};
use super::pages::Pages;
use crate::outside::{Layer, Part};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is counted of a type, or of blocks of which no type is known.
#[derive(Clone, Default)]
pub struct Row {
    pub name: String,
    pub objects: usize,
    /// Bytes of the blocks that its objects lie in.
    pub bytes: usize,
    /// Blocks that are no objects, and that its objects have; and their bytes.
    pub held_blocks: usize,
    pub held_bytes: usize,
    /// Bytes of pages that stay for the sake of all these blocks, and that nobody uses.
    pub pinned: usize,
}

impl Row {
    pub fn named(name: impl Into<String>) -> Self {
        Row {
            name: name.into(),
            ..Row::default()
        }
    }

    /// All that would be free without it, but for whole pages.
    pub fn all_bytes(&self) -> usize {
        self.bytes + self.held_bytes
    }

    pub fn add(&mut self, other: &Row) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.held_blocks += other.held_blocks;
        self.held_bytes += other.held_bytes;
        self.pinned += other.pinned;
    }
}

#[derive(Default)]
pub struct Census {
    /// By type, those that have the most bytes first. Types of the same name are one.
    pub types: Vec<Row>,
    /// Former objects that CPython keeps, to be objects again.
    pub spare: Row,
    /// What is no object, and no object's: the interpreter's, and C's.
    pub unknown: Row,
    pub total: Row,
    /// Pinned bytes by size class: bytes of a block, and pinned bytes; 0 for large blocks.
    pub pinned_by_size: BTreeMap<usize, usize>,
    /// The page floor: resident bytes of the pages that hold a block in use...
    pub floor: usize,
    /// ... and of these, those in arenas.
    pub floor_in_arenas: usize,
    /// Resident bytes of all arenas.
    pub arenas_resident: usize,
}

impl Census {
    /// All rows but that for all.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.types.iter().chain([&self.spare, &self.unknown])
    }
}

/// The rows while they are added up.
struct Rows {
    types: Vec<Row>,
    spare: Row,
    unknown: Row,
}

impl Rows {
    fn of(&mut self, state: State) -> &mut Row {
        match state.number().and_then(|number| self.types.get_mut(number)) {
            Some(row) => row,
            None if state == State::SPARE => &mut self.spare,
            None => &mut self.unknown,
        }
    }
}

/// Sums up what is known of the blocks.
pub fn sum(blocks: &Blocks, pages: &Pages, names: Vec<String>) -> Census {
    let mut rows = Rows {
        types: names.into_iter().map(Row::named).collect(),
        spare: Row::named("kept by CPython for new objects"),
        unknown: Row::named("the interpreter's own, and C's"),
    };
    let mut census = Census::default();
    for (index, part) in blocks.parts.iter().enumerate() {
        let states = blocks.states_of(index);
        for state in states.iter().filter(|state| **state != State::FREE) {
            count(rows.of(*state), *state, part.block_size);
        }
        let size = match part.layer {
            Layer::Pool => part.block_size,
            Layer::Run | Layer::Mapping => 0,
        };
        let floor = share_pages(part, states, pages, |state, pinned| {
            rows.of(state).pinned += pinned;
            *census.pinned_by_size.entry(size).or_default() += pinned;
        });
        census.floor += floor;
        if part.layer != Layer::Mapping {
            census.floor_in_arenas += floor;
        }
    }
    census.types = merged(rows.types);
    (census.spare, census.unknown) = (rows.spare, rows.unknown);
    let mut total = Row::named("all");
    census.rows().for_each(|row| total.add(row));
    census.total = total;
    census
}

fn count(row: &mut Row, state: State, bytes: usize) {
    if state.is_held() || state.number().is_none() {
        row.held_blocks += 1;
        row.held_bytes += bytes;
    } else {
        row.objects += 1;
        row.bytes += bytes;
    }
}

/// Pages whose residence is asked for at once.
const STEP: usize = 1 << 14;

/// Shares what is pinned of each resident page among the blocks in use on it. Returns the bytes of the pages that hold some.
fn share_pages(
    part: &Part,
    states: &[State],
    pages: &Pages,
    mut share: impl FnMut(State, usize),
) -> usize {
    let bytes = part.blocks * part.block_size;
    let mut floor = 0;
    for step in (0..bytes).step_by(STEP * pages.size) {
        let asked = (bytes - step).min(STEP * pages.size);
        let resident = pages.resident(part.start + step, asked);
        let starts = (step..).step_by(pages.size).zip(resident);
        for (page, _) in starts.filter(|(_, resident)| *resident) {
            floor += share_page(part, states, page..page + pages.size, &mut share);
        }
    }
    floor
}

/// The same for one page: from where to where it lies in the part.
fn share_page(
    part: &Part,
    states: &[State],
    page: Range<usize>,
    share: &mut impl FnMut(State, usize),
) -> usize {
    let size = part.block_size;
    let blocks = page.start / size..page.end.div_ceil(size).min(part.blocks);
    let used = || {
        let used = blocks.clone().filter(|block| states[*block] != State::FREE);
        used.map(|block| {
            let on_page = page.end.min((block + 1) * size) - page.start.max(block * size);
            (states[block], on_page)
        })
    };
    let in_use: usize = used().map(|(_, bytes)| bytes).sum();
    if in_use == 0 {
        return 0;
    }
    let pinned = page.len().saturating_sub(in_use);
    used().for_each(|(state, bytes)| share(state, pinned * bytes / in_use));
    page.len()
}

/// One row for each name, those with the most bytes first.
fn merged(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows.dedup_by(|later, kept| {
        let same = later.name == kept.name;
        if same {
            kept.add(later);
        }
        same
    });
    rows.retain(|row| row.all_bytes() > 0);
    rows.sort_by_key(|row| std::cmp::Reverse(row.all_bytes()));
    rows
}
