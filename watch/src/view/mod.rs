//! What is shown, as lines of pieces: the same for the live view and for plain text.
//!
//! - `figures`, `classes`, `pictures`: the parts of the view;
//! - `census`, `pins`, `why`: what a census found, and what follows from it;
//! - `difference`: what lies between two snapshots;
//! - `text`: numbers and names for a person;
//! - `line`: lines, and letters that stand for shares.
//!
//! Nothing here knows a terminal: a piece says what it is (`Tone`), and `screen` how that looks.

mod census;
mod classes;
mod difference;
mod figures;
mod line;
mod pictures;
mod pins;
mod text;
mod why;

use crate::watch::Watch;
pub use census::{census, census_json};
pub use classes::{Table, classes};
pub use difference::difference;
pub use figures::{figures, judged};
pub use line::{Glyphs, Line, Tone};
pub use pictures::{arenas, curve};
pub use pins::{pins, pins_json};
pub use text::printable;
pub use why::{why, why_json};

/// Columns of plain text.
pub const PLAIN: usize = 100;

/// All of it as plain text.
pub fn whole(watch: &Watch, table: &Table, glyphs: &Glyphs) -> Vec<Line> {
    let mut lines = vec![Line::of(
        Tone::Heading,
        format!("process {}: {}", watch.pid, watch.command),
    )];
    lines.extend(judged(watch));
    lines.extend(figures(watch, PLAIN));
    let (heading, classes) = classes(watch, table, PLAIN, glyphs);
    lines.push(heading);
    lines.extend(classes);
    lines.extend(arenas(watch, (PLAIN, 4), glyphs));
    lines
}
