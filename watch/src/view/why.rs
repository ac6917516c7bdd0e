//! Why a process has the memory that it has, in words and as JSON.

use super::line::{Line, Tone};
use super::text::{bytes, percent, share};
use crate::census::{Census, Row};
use crate::moment::Parts;
use crate::why::{Trend, Verdict, Why};
use serde_json::{Value, json};

/// Types and size classes that are named.
const MOST: usize = 6;
/// Less than this part (a twentieth) of resident memory is pinned everywhere: by whom is not told.
const LEAST_SHARE: usize = 20;
/// Columns of a label, and of a figure behind it.
const LABEL: usize = 22;
const FIGURE: usize = 10;

/// All of it for a person.
pub fn why(why: &Why) -> Vec<Line> {
    let mut lines = vec![
        Line::of(Tone::Heading, verdict(&why.moment.parts, Some(&why.trend))),
        Line::default(),
    ];
    let resident = why.moment.parts.resident;
    lines.extend(
        parts(&why.moment.parts)
            .into_iter()
            .map(|(label, bytes, meaning)| part(resident, label, bytes, meaning)),
    );
    lines.push(Line::of(Tone::Value, course(why)));
    let (parts, census) = (&why.moment.parts, &why.moment.census);
    if parts.pinned * LEAST_SHARE >= parts.resident {
        let pinned = |row: &Row| row.pinned;
        lines.extend(by_type("What pins most:", &census.types, pinned));
        lines.extend(by_size(census));
    }
    lines.extend(list("What grew most meanwhile:", why.grown.iter().cloned()));
    lines.extend(by_type(
        "What is in use most:",
        &census.types,
        Row::all_bytes,
    ));
    lines
}

/// The verdict, as a sentence.
pub(super) fn verdict(parts: &Parts, trend: Option<&Trend>) -> String {
    let of = |part: usize, whole: usize| percent(share(part, whole));
    let all = parts.resident;
    match Verdict::of(parts, trend) {
        Verdict::Growing => format!(
            "It looks like a leak: what is in use grows by {} a minute.",
            bytes((trend.map_or(0.0, |trend| trend.rate) * 60.0) as usize)
        ),
        Verdict::Fragmented => format!(
            "It is fragmentation: {} of what is resident, {}, are parts of pages that stay for the few blocks in use on them.",
            of(parts.pinned, all),
            bytes(parts.pinned)
        ),
        Verdict::Elsewhere => format!(
            "It is not the heap: {} of what is resident belongs to files, stacks, or what the program mapped itself.",
            of(parts.files + parts.other, all)
        ),
        Verdict::InUse if trend.is_none() => format!(
            "No fragmentation: {} of what is resident is in use. Whether that grows is seen after some seconds.",
            of(parts.in_use, all)
        ),
        Verdict::InUse => format!(
            "Neither a leak nor fragmentation: {} of what is resident is in use, and that does not grow.",
            of(parts.in_use, all)
        ),
    }
}

/// What resident memory consists of, and the page floor.
pub(super) fn parts(parts: &Parts) -> [(&'static str, usize, &'static str); 7] {
    [
        ("resident", parts.resident, ""),
        ("in use", parts.in_use, "blocks that the program has"),
        (
            "pinned",
            parts.pinned,
            "the rest of the pages that these lie on",
        ),
        (
            "free",
            parts.free,
            "resident budget, retained memory, and the library's tables",
        ),
        (
            "files",
            parts.files,
            "code, libraries, and files that are mapped",
        ),
        (
            "other",
            parts.other,
            "stacks, and what the program mapped itself",
        ),
        (
            "page floor",
            parts.floor(),
            "in use and pinned: what stays whatever the allocator gives back",
        ),
    ]
}

fn part(resident: usize, label: &str, part: usize, meaning: &str) -> Line {
    let mut line = Line::of(Tone::Label, format!("{label:LABEL$}"));
    let share = percent(share(part, resident));
    line.push(
        Tone::Value,
        format!("{:>FIGURE$}{share:>7}   ", bytes(part)),
    );
    line.push(Tone::Label, meaning);
    line
}

fn course(why: &Why) -> String {
    let seconds = why.seconds;
    let minute = bytes((why.trend.rate.abs() * 60.0) as usize);
    match (why.trend.is_steady, why.trend.rate > 0.0) {
        (false, _) => format!("In use over {seconds:.0} s: flat."),
        (true, true) => format!("In use over {seconds:.0} s: growing, by {minute} a minute."),
        (true, false) => format!("In use over {seconds:.0} s: shrinking, by {minute} a minute."),
    }
}

fn by_type(title: &str, rows: &[Row], figure: fn(&Row) -> usize) -> Vec<Line> {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(figure(row)));
    list(
        title,
        rows.into_iter().map(|row| (row.name.clone(), figure(row))),
    )
}

fn by_size(census: &Census) -> Vec<Line> {
    let mut sizes: Vec<_> = census.sizes.iter().collect();
    sizes.sort_by_key(|row| std::cmp::Reverse(row.pinned));
    let named = sizes
        .into_iter()
        .map(|row| (class(row.block_size), row.pinned));
    list("Size classes that pin most:", named)
}

/// What a size class is called.
pub(super) fn class(block_size: usize) -> String {
    match block_size {
        0 => "large blocks".into(),
        size => format!("blocks of {}", bytes(size)),
    }
}

/// A title and the first few of a list; nothing where there is nothing.
fn list(title: &str, items: impl Iterator<Item = (String, usize)>) -> Vec<Line> {
    let mut lines: Vec<_> = items
        .filter(|(_, bytes)| *bytes > 0)
        .take(MOST)
        .map(|(name, figure)| {
            Line::of(Tone::Value, format!("  {:>FIGURE$}  {name}", bytes(figure)))
        })
        .collect();
    if !lines.is_empty() {
        lines.splice(0..0, [Line::default(), Line::of(Tone::Heading, title)]);
    }
    lines
}

/// All of it as JSON.
pub fn why_json(why: &Why, pid: i32, command: &str) -> Value {
    let name = match why.verdict() {
        Verdict::Growing => "growing",
        Verdict::Fragmented => "fragmented",
        Verdict::Elsewhere => "elsewhere",
        Verdict::InUse => "in use",
    };
    let part = |(label, bytes, _): (&str, usize, &str)| {
        (format!("{label}_bytes").replace(' ', "_"), json!(bytes))
    };
    let grown = |(name, bytes): &(String, usize)| json!({"name": name, "bytes": bytes});
    json!({
        "pid": pid,
        "command": command,
        "verdict": name,
        "parts": parts(&why.moment.parts).into_iter().map(part).collect::<serde_json::Map<_, _>>(),
        "seconds": why.seconds,
        "in_use_bytes_a_second": why.trend.rate,
        "is_steady": why.trend.is_steady,
        "grown": why.grown.iter().map(grown).collect::<Vec<_>>(),
        "types": why.moment.census.types,
    })
}
