//! The difference of two snapshots, in words.

use super::line::{Line, Tone};
use super::text::{bytes, number, shortened};
use super::why::{class, parts};
use crate::difference::{Difference, change};
use crate::snapshot::Snapshot;

/// Columns behind a name.
const COLUMN: usize = 13;
const COLUMNS: usize = 3;
/// Size classes that are named.
const MOST_SIZES: usize = 8;

/// All of it for a person: at most so many types.
pub fn difference(
    (before, after): (&Snapshot, &Snapshot),
    difference: &Difference,
    most: usize,
    width: usize,
) -> Vec<Line> {
    let name = width.saturating_sub(COLUMNS * COLUMN);
    let mut lines = heads(before, after, difference);
    lines.push(Line::of(Tone::Heading, sentence(difference)));
    let rows = parts(&difference.before)
        .into_iter()
        .zip(parts(&difference.after));
    let rows = rows.map(|((label, then, _), (_, now, _))| {
        let figures = [bytes(then), bytes(now), signed_bytes(change(then, now))];
        row(Tone::Label, label, name, &figures)
    });
    lines.extend(table(["", "before", "after", "change"], name, rows));
    let types = difference.types.iter().take(most).map(|of| {
        let figures = [
            signed(of.objects),
            signed_bytes(of.bytes),
            signed_bytes(of.pinned_bytes),
        ];
        row(Tone::Label, &of.name, name, &figures)
    });
    lines.extend(table(["type", "objects", "bytes", "pinned"], name, types));
    let sizes = difference.sizes.iter().take(MOST_SIZES).map(|of| {
        let figures = [
            signed(of.blocks),
            signed_bytes(of.bytes),
            signed_bytes(of.pinned_bytes),
        ];
        row(Tone::Label, &class(of.block_size), name, &figures)
    });
    lines.extend(table(
        ["size class", "blocks", "bytes", "pinned"],
        name,
        sizes,
    ));
    lines
}

/// Which process, and how long lies between.
fn heads(before: &Snapshot, after: &Snapshot, difference: &Difference) -> Vec<Line> {
    let head = |snapshot: &Snapshot| format!("process {}: {}", snapshot.pid, snapshot.command);
    let mut lines = vec![Line::of(Tone::Value, head(before))];
    let time = format!("{:.0} s later", difference.seconds);
    if difference.is_same_process {
        lines.push(Line::of(Tone::Value, time));
    } else {
        let text = format!("another process, {time}: {}", head(after));
        lines.push(Line::of(Tone::Value, text));
    }
    lines
}

fn sentence(difference: &Difference) -> String {
    let all = change(difference.before.resident, difference.after.resident);
    format!(
        "Resident memory: {}. Of that growth of what is in use: {}; fragmentation: {}; all else: {}.",
        signed_bytes(all),
        signed_bytes(difference.growth_bytes),
        signed_bytes(difference.fragmentation_bytes),
        signed_bytes(difference.rest_bytes),
    )
}

/// A table below an empty line; nothing if it has no rows.
fn table(
    [name, figures @ ..]: [&str; COLUMNS + 1],
    width: usize,
    rows: impl Iterator<Item = Line>,
) -> Vec<Line> {
    let heading = row(Tone::Heading, name, width, &figures.map(String::from));
    let lines: Vec<_> = [Line::default(), heading].into_iter().chain(rows).collect();
    match lines.len() {
        2 => Vec::new(),
        _ => lines,
    }
}

fn row(tone: Tone, name: &str, width: usize, figures: &[String; COLUMNS]) -> Line {
    let mut line = Line::of(tone, format!("{:width$}", shortened(name, width)));
    for figure in figures {
        line.push(Tone::Value, format!("{figure:>COLUMN$}"));
    }
    line
}

fn signed(change: i64) -> String {
    let digits = number(usize::try_from(change.unsigned_abs()).unwrap_or(usize::MAX));
    format!("{}{digits}", sign(change))
}

fn signed_bytes(change: i64) -> String {
    let text = bytes(usize::try_from(change.unsigned_abs()).unwrap_or(usize::MAX));
    format!("{}{text}", sign(change))
}

fn sign(change: i64) -> &'static str {
    match change {
        0 => "",
        1.. => "+",
        _ => "-",
    }
}
