//! Pins: what lies on the sparse pages, those of which less than a quarter is in use.
//!
//! A page goes back once nothing on it is in use, so that what matters is which types lie on it *together*: the pages are counted by that, as well as by each
//! type and by size class.
//!
//! What must hold: a page counts once in `groups`, once in `sizes`, and once for each type that lies on it in `types`; no more groups are told apart than `MOST_GROUPS`.

use super::blocks::State;
use super::counts::{SPARE, UNKNOWN};
use super::floor::OnPage;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Less than this part of a sparse page, a quarter, is in use: its blocks would fit on a quarter of the pages.
pub const PART: usize = 4;
/// Types on a page that are told apart, those with the most bytes. Blocks of one size class are of few types.
const NAMED: usize = 3;
/// Sets of types that are told apart: a large program has some hundred, and a hostile one no more than these.
const MOST_GROUPS: usize = 1 << 14;

/// Sparse pages.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Sparse {
    pub pages: usize,
    /// Bytes of these pages: what goes back if nothing on them is in use any more.
    #[serde(rename = "returnable_bytes")]
    pub returnable: usize,
    /// Bytes on them that are in use.
    #[serde(rename = "live_bytes")]
    pub live: usize,
}

impl Sparse {
    fn add(&mut self, page: &OnPage, live: usize) {
        self.pages += 1;
        self.returnable += page.bytes();
        self.live += live;
    }

    fn add_all(&mut self, other: &Sparse) {
        self.pages += other.pages;
        self.returnable += other.returnable;
        self.live += other.live;
    }
}

/// Sparse pages on which these types lie.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Group {
    /// By name. Empty for pages of so many sets of types that they were not told apart.
    pub types: Vec<String>,
    /// Whether there are further ones on them.
    pub and_others: bool,
    #[serde(flatten)]
    pub sparse: Sparse,
}

/// Sparse pages of a type.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct OfType {
    pub name: String,
    /// What goes back if its objects are freed, and nothing else.
    #[serde(rename = "returnable_alone_bytes")]
    pub alone: usize,
    /// All sparse pages on which it lies; of what is live there, its own.
    #[serde(flatten)]
    pub sparse: Sparse,
}

/// Sparse pages of a size class.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct OfSize {
    /// Bytes of a block; 0 for large blocks.
    pub block_size: usize,
    #[serde(flatten)]
    pub sparse: Sparse,
}

/// All that is known of sparse pages; in each list those come first of which most is returnable.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Pins {
    pub all: Sparse,
    pub groups: Vec<Group>,
    pub types: Vec<OfType>,
    pub sizes: Vec<OfSize>,
}

/// The types of a page, by number, and whether there are further ones.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(Vec<State>, bool);

/// The sums while the pages are visited.
#[derive(Default)]
pub struct SparsePages {
    all: Sparse,
    groups: HashMap<Key, Sparse>,
    types: HashMap<State, OfType>,
    sizes: BTreeMap<usize, Sparse>,
    /// Of the page at hand: its types with their bytes.
    found: Vec<(State, usize)>,
}

impl SparsePages {
    /// Counts a page, if it is sparse.
    pub fn note(&mut self, page: &OnPage, block_size: usize) {
        if page.in_use * PART >= page.bytes() {
            return;
        }
        self.found.clear();
        for (state, bytes) in page.blocks() {
            let kind = state.kind();
            match self.found.iter_mut().find(|found| found.0 == kind) {
                Some(found) => found.1 += bytes,
                None => self.found.push((kind, bytes)),
            }
        }
        self.all.add(page, page.in_use);
        self.sizes
            .entry(block_size)
            .or_default()
            .add(page, page.in_use);
        for (kind, bytes) in &self.found {
            let of_type = self.types.entry(*kind).or_default();
            of_type.sparse.add(page, *bytes);
            if self.found.len() == 1 {
                of_type.alone += page.bytes();
            }
        }
        let key = self.key();
        let group = match self.groups.len() < MOST_GROUPS || self.groups.contains_key(&key) {
            true => self.groups.entry(key),
            false => self.groups.entry(Key(Vec::new(), true)),
        };
        group.or_default().add(page, page.in_use);
    }

    /// The set of types of the page at hand.
    fn key(&mut self) -> Key {
        let and_others = self.found.len() > NAMED;
        if and_others {
            self.found
                .sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
            self.found.truncate(NAMED);
        }
        let mut kinds: Vec<_> = self.found.iter().map(|(kind, _)| *kind).collect();
        kinds.sort_unstable();
        Key(kinds, and_others)
    }

    /// The same by the names of the types. Types of the same name are one.
    pub fn by_name(self, names: &[String]) -> Pins {
        let name_of = |state: State| match state.number() {
            Some(number) => names.get(number).map_or(UNKNOWN, String::as_str),
            None if state == State::SPARE => SPARE,
            None => UNKNOWN,
        };
        let mut groups = BTreeMap::<(Vec<String>, bool), Sparse>::new();
        for (Key(kinds, and_others), sparse) in self.groups {
            let mut types: Vec<_> = kinds.into_iter().map(|kind| name_of(kind).into()).collect();
            types.sort_unstable();
            types.dedup();
            groups
                .entry((types, and_others))
                .or_default()
                .add_all(&sparse);
        }
        let mut types = BTreeMap::<&str, OfType>::new();
        for (kind, of_type) in self.types {
            let name = name_of(kind);
            let sum = types.entry(name).or_default();
            sum.name = name.into();
            sum.alone += of_type.alone;
            sum.sparse.add_all(&of_type.sparse);
        }
        let groups = groups
            .into_iter()
            .map(|((types, and_others), sparse)| Group {
                types,
                and_others,
                sparse,
            });
        let sizes = self.sizes.into_iter();
        Pins {
            all: self.all,
            groups: most_first(groups.collect(), |group| &group.sparse),
            types: most_first(types.into_values().collect(), |of_type| &of_type.sparse),
            sizes: most_first(
                sizes
                    .map(|(block_size, sparse)| OfSize { block_size, sparse })
                    .collect(),
                |of_size| &of_size.sparse,
            ),
        }
    }
}

fn most_first<T>(mut rows: Vec<T>, sparse: fn(&T) -> &Sparse) -> Vec<T> {
    rows.sort_by_key(|row| std::cmp::Reverse(sparse(row).returnable));
    rows
}
