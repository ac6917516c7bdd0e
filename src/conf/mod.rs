//! Settings: `PYMALLOC_CONF="key=value,..."`, read once before `main`.
//!
//! - `parse`: reads the variable;
//! - `mistake`: what it says of a setting that is not right;
//! - `words`: the settings that are texts;
//! - `settings`: those that are numbers, a row each. `src/README.md` tells what a new one needs.
//!
//! An unknown or malformed setting gets one warning line, and its default holds. The
//! other settings of the same variable still count. A program that runs with more rights than its user
//! (set-uid) ignores the variable. Until the variable is read, and when there is none, the defaults hold.

mod mistake;
mod parse;
mod settings;
mod words;

pub use parse::read_environment;
pub use settings::{
    BACKGROUND_PURGE, BUDGET_PART, COLLECTOR_WAIT, EMPTY_ARENAS, HEAPMAP_EVERY, LAYOUT,
    MAPPING_CACHE, RESIDENT_BUDGET, RETAIN, STATS_AT_EXIT, STATS_SIGNAL,
};
pub use words::{PATH, collector, heapmap, heapmap_setting};
