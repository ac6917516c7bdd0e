//! The sums of a census, by type.
//!
//! What is *pinned*: the bytes of a resident page that no block has which is in use. They stay with the page for the sake of the blocks that are, and are counted to those, in
//! proportion to their bytes on it.

use super::blocks::{Blocks, State};
use super::floor::each_page;
use super::pages::Pages;
use super::sparse::{Pins, SparsePages};
use crate::outside::Layer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is counted of a type, or of blocks of which no type is known.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub objects: usize,
    /// Bytes of the blocks that its objects lie in.
    pub bytes: usize,
    /// Blocks that are no objects, and that its objects have; and their bytes.
    pub held_blocks: usize,
    pub held_bytes: usize,
    /// Bytes of pages that stay for the sake of all these blocks, and that nobody uses.
    #[serde(rename = "pinned_bytes")]
    pub pinned: usize,
}

/// What is counted of a size class, or of the large blocks.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct SizeRow {
    /// Bytes of a block; 0 for the large ones.
    pub block_size: usize,
    /// Blocks in use.
    pub blocks: usize,
    pub bytes: usize,
    #[serde(rename = "pinned_bytes")]
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
        self.bytes.saturating_add(self.held_bytes)
    }

    pub fn add(&mut self, other: &Row) {
        for (sum, number) in [
            (&mut self.objects, other.objects),
            (&mut self.bytes, other.bytes),
            (&mut self.held_blocks, other.held_blocks),
            (&mut self.held_bytes, other.held_bytes),
            (&mut self.pinned, other.pinned),
        ] {
            // A snapshot may have any numbers.
            *sum = sum.saturating_add(number);
        }
    }
}

/// What blocks are called that are of no type.
pub const SPARE: &str = "kept by CPython for new objects";
pub const UNKNOWN: &str = "the interpreter's own, and C's";

#[derive(Default, Serialize, Deserialize)]
pub struct Census {
    /// By type, those that have the most bytes first. Types of the same name are one.
    pub types: Vec<Row>,
    /// Former objects that CPython keeps, to be objects again.
    pub spare: Row,
    /// What is no object, and no object's: the interpreter's, and C's.
    pub unknown: Row,
    pub total: Row,
    /// By size class, the large blocks first.
    pub sizes: Vec<SizeRow>,
    /// What lies on pages that stay for little.
    pub pins: Pins,
    /// The page floor: resident bytes of the pages that hold a block in use...
    #[serde(rename = "page_floor_bytes")]
    pub floor: usize,
    /// ... and of these, those in arenas.
    #[serde(rename = "page_floor_in_arenas_bytes")]
    pub floor_in_arenas: usize,
    /// Resident bytes of all arenas.
    #[serde(rename = "arenas_resident_bytes")]
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
    let mut sparse = SparsePages::default();
    let mut rows = Rows {
        types: names.iter().map(Row::named).collect(),
        spare: Row::named(SPARE),
        unknown: Row::named(UNKNOWN),
    };
    let mut sizes = BTreeMap::<usize, SizeRow>::new();
    let mut census = Census::default();
    for (index, part) in blocks.parts.iter().enumerate() {
        let states = blocks.states_of(index);
        let block_size = match part.layer {
            Layer::Pool => part.block_size,
            Layer::Run | Layer::Mapping => 0,
        };
        let size = sizes.entry(block_size).or_default();
        size.block_size = block_size;
        for state in states.iter().filter(|state| **state != State::FREE) {
            count(rows.of(*state), *state, part.block_size);
            size.blocks += 1;
            size.bytes += part.block_size;
        }
        let mut floor = 0;
        each_page(part, states, pages, &mut |page| {
            floor += page.bytes();
            let pinned = page.bytes().saturating_sub(page.in_use);
            for (state, bytes) in page.blocks() {
                let share = pinned * bytes / page.in_use;
                rows.of(state).pinned += share;
                size.pinned += share;
            }
            sparse.note(page, block_size);
        });
        census.floor += floor;
        if part.layer != Layer::Mapping {
            census.floor_in_arenas += floor;
        }
    }
    census.pins = sparse.by_name(&names);
    census.sizes = sizes.into_values().filter(|row| row.blocks > 0).collect();
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
