//! Statistics: counted when they are asked for, by a walk over all arenas. Nothing is kept for them on a fast path.
//!
//! - `table`, `xml`, `json`: the ways to write them;
//! - `count`: counts them;
//! - `figures`: their names, and what they mean. `src/README.md` tells what a new one needs.

mod count;
mod figures;
pub mod json;
mod table;
mod xml;

use crate::report::{BUFFER, STDERR, Text};
pub use count::{Blocks, Counted, collect};
pub use figures::Stats;

/// Writes the table to stderr. A failure goes unsaid: there is no other place to say it.
#[inline(never)]
pub fn print(counted: &Counted) {
    counted.write_table(&mut Text::to(STDERR, &mut [0; BUFFER]));
}
