//! What a census found, as a table for a person and as JSON.

use super::line::{Line, Tone};
use super::text::{bytes, number, shortened};
use crate::census::{Census, Row};
use serde_json::{Value, json};

/// Columns of the table behind the name.
const HEADINGS: [&str; 4] = ["objects", "bytes", "data held", "pinned"];
const COLUMN: usize = 12;

/// The table: the types with the most bytes, at most so many, then the rest.
pub fn census(census: &Census, most: usize, width: usize) -> Vec<Line> {
    let name = width.saturating_sub(HEADINGS.len() * COLUMN);
    let mut heading = Line::of(Tone::Heading, format!("{:name$}", "type"));
    for text in HEADINGS {
        heading.push(Tone::Heading, format!("{text:>COLUMN$}"));
    }
    let (shown, others) = census.types.split_at(most.min(census.types.len()));
    let mut lines = vec![heading];
    lines.extend(shown.iter().map(|row| line(row, name)));
    if !others.is_empty() {
        lines.push(line(&all_of(others), name));
    }
    for row in [&census.spare, &census.unknown, &census.total] {
        lines.push(line(row, name));
    }
    lines
}

/// One row for the types that are not shown.
fn all_of(rows: &[Row]) -> Row {
    let mut all = Row::named(format!("{} other types", number(rows.len())));
    rows.iter().for_each(|row| all.add(row));
    all
}

fn line(row: &Row, width: usize) -> Line {
    let mut line = Line::of(
        Tone::Label,
        format!("{:width$}", shortened(&row.name, width)),
    );
    let figures = [
        number(row.objects),
        bytes(row.bytes),
        bytes(row.held_bytes),
        bytes(row.pinned),
    ];
    for figure in figures {
        line.push(Tone::Value, format!("{figure:>COLUMN$}"));
    }
    line
}

/// All of it as JSON, every type.
pub fn census_json(census: &Census, pid: i32, command: &str) -> Value {
    json!({
        "pid": pid,
        "command": command,
        "types": census.types,
        "spare": census.spare,
        "unknown": census.unknown,
        "total": census.total,
        "page_floor_bytes": census.floor,
    })
}
