//! Why a process has the memory that it has, in words and as JSON.

use super::census::row_json;
use super::line::{Line, Tone};
use super::text::{bytes, percent, share};
use crate::census::Row;
use crate::why::{Verdict, Why};
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
    let mut lines = vec![Line::of(Tone::Heading, verdict(why)), Line::default()];
    lines.extend(
        parts(why)
            .into_iter()
            .map(|(label, bytes, meaning)| part(why, label, bytes, meaning)),
    );
    lines.push(Line::of(Tone::Value, course(why)));
    if why.pinned() * LEAST_SHARE >= why.resident.all {
        let pinned = |row: &Row| row.pinned;
        lines.extend(by_type("What pins most:", &why.census.types, pinned));
        lines.extend(by_size(why));
    }
    lines.extend(list("What grew most meanwhile:", why.grown.iter().cloned()));
    lines.extend(by_type(
        "What is in use most:",
        &why.census.types,
        Row::all_bytes,
    ));
    lines
}

/// The verdict, as a sentence.
fn verdict(why: &Why) -> String {
    let of = |part: usize, whole: usize| percent(share(part, whole));
    let all = why.resident.all;
    match why.verdict() {
        Verdict::Growing => format!(
            "It looks like a leak: what is in use grows by {} a minute.",
            bytes((why.trend.rate * 60.0) as usize)
        ),
        Verdict::Fragmented => format!(
            "It is fragmentation: {} of what is resident, {}, are parts of pages that stay for the few blocks in use on them.",
            of(why.pinned(), all),
            bytes(why.pinned())
        ),
        Verdict::Elsewhere => format!(
            "It is not the heap: {} of what is resident belongs to files, stacks, or what the program mapped itself.",
            of(why.resident.files + why.other(), all)
        ),
        Verdict::InUse => format!(
            "Neither a leak nor fragmentation: {} of what is resident is in use, and that does not grow.",
            of(why.in_use(), all)
        ),
    }
}

/// What resident memory consists of.
fn parts(why: &Why) -> [(&'static str, usize, &'static str); 6] {
    [
        ("resident", why.resident.all, ""),
        ("in use", why.in_use(), "blocks that the program has"),
        (
            "pinned",
            why.pinned(),
            "the rest of the pages that these lie on",
        ),
        (
            "free",
            why.free(),
            "resident budget, retained memory, and the library's tables",
        ),
        (
            "files",
            why.resident.files,
            "code, libraries, and files that are mapped",
        ),
        (
            "other",
            why.other(),
            "stacks, and what the program mapped itself",
        ),
    ]
}

fn part(why: &Why, label: &str, part: usize, meaning: &str) -> Line {
    let mut line = Line::of(Tone::Label, format!("{label:LABEL$}"));
    let share = percent(share(part, why.resident.all));
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

fn by_size(why: &Why) -> Vec<Line> {
    let mut sizes: Vec<_> = why.census.pinned_by_size.iter().collect();
    sizes.sort_by_key(|(_, pinned)| std::cmp::Reverse(**pinned));
    let named = sizes.into_iter().map(|(size, pinned)| match size {
        0 => ("large blocks".into(), *pinned),
        size => (format!("blocks of {}", bytes(*size)), *pinned),
    });
    list("Size classes that pin most:", named)
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
        "parts": parts(why).into_iter().map(part).collect::<serde_json::Map<_, _>>(),
        "seconds": why.seconds,
        "in_use_bytes_a_second": why.trend.rate,
        "is_steady": why.trend.is_steady,
        "grown": why.grown.iter().map(grown).collect::<Vec<_>>(),
        "types": why.census.types.iter().map(row_json).collect::<Vec<_>>(),
    })
}
