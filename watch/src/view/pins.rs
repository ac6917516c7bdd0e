//! What lies on sparse pages, with advice, in words and as JSON.

use super::line::{Line, Tone};
use super::text::{bytes, number, percent, share, shortened};
use super::why::class;
use crate::census::{Census, Group, PART, SPARE, Sparse, UNKNOWN};
use crate::why::LEAST_PINNED;
use serde_json::{Value, json};

/// Columns of the figures in front of a name, and their headings.
const HEADINGS: [(&str, usize); 3] = [("returnable if freed", 20), ("live", 12), ("pages", 10)];
/// Size classes that are named.
const MOST_SIZES: usize = 8;
/// Where the advice is wrapped.
const WRAPPED: usize = 96;

/// All of it for a person: at most so many sets of types.
pub fn pins(census: &Census, most: usize, width: usize) -> Vec<Line> {
    let pins = &census.pins;
    let mut lines = vec![Line::of(Tone::Heading, sentence(&pins.all, census.floor))];
    if pins.all.pages == 0 {
        return lines;
    }
    let room = width.saturating_sub(HEADINGS.iter().map(|(_, width)| width).sum());
    lines.push(Line::default());
    lines.push(heading("what lies on them"));
    let (shown, others) = pins.groups.split_at(most.min(pins.groups.len()));
    lines.extend(
        shown
            .iter()
            .map(|group| row(&group.sparse, &shortened(&of_group(group), room))),
    );
    if !others.is_empty() {
        let sum = sum(others.iter().map(|group| &group.sparse));
        let name = format!("{} other sets of types", number(others.len()));
        lines.push(row(&sum, &name));
    }
    lines.push(Line::default());
    lines.push(heading("size class"));
    let sizes = pins.sizes.iter().take(MOST_SIZES);
    lines.extend(sizes.map(|of_size| row(&of_size.sparse, &class(of_size.block_size))));
    lines.push(Line::default());
    for text in advice(census) {
        lines.extend(wrapped(&text));
    }
    lines
}

fn sentence(all: &Sparse, floor: usize) -> String {
    match all.pages {
        0 => format!(
            "No page has less than a quarter in use. The page floor: {}.",
            bytes(floor)
        ),
        pages => format!(
            "{} stay for {} in use, on {} pages with less than a quarter in use: {} of the page floor.",
            bytes(all.returnable),
            bytes(all.live),
            number(pages),
            percent(share(all.returnable, floor)),
        ),
    }
}

fn heading(of: &str) -> Line {
    let mut line = Line::default();
    for (text, width) in HEADINGS {
        line.push(Tone::Heading, format!("{text:>width$}"));
    }
    line.push(Tone::Heading, format!("  {of}"));
    line
}

fn row(sparse: &Sparse, name: &str) -> Line {
    let [returnable, live, pages] = HEADINGS.map(|(_, width)| width);
    let mut line = Line::default();
    let text = bytes(sparse.returnable);
    line.push(Tone::Value, format!("{text:>returnable$}"));
    let text = bytes(sparse.live);
    line.push(Tone::Value, format!("{text:>live$}"));
    let text = number(sparse.pages);
    line.push(Tone::Value, format!("{text:>pages$}"));
    line.push(Tone::Label, format!("  {name}"));
    line
}

fn of_group(group: &Group) -> String {
    let names = group.types.join(", ");
    match (names.is_empty(), group.and_others) {
        (true, _) => "others".into(),
        (false, true) => format!("{names}, others"),
        (false, false) => names,
    }
}

fn sum<'a>(rows: impl Iterator<Item = &'a Sparse>) -> Sparse {
    rows.fold(Sparse::default(), |sum, row| Sparse {
        pages: sum.pages + row.pages,
        returnable: sum.returnable + row.returnable,
        live: sum.live + row.live,
    })
}

/// What can be done about it, as far as what lies on the pages tells.
fn advice(census: &Census) -> Vec<String> {
    let pins = &census.pins;
    if pins.all.returnable < LEAST_PINNED {
        return vec![
            "That is little: about what the resident budget allows anyway. Leave it as it is."
                .into(),
        ];
    }
    let of = |wanted: &str| {
        let found = pins.types.iter().find(|of_type| of_type.name == wanted);
        found.map_or(0, |of_type| of_type.alone)
    };
    let is_most = |bytes: usize| bytes * 2 >= pins.all.returnable;
    if is_most(of(SPARE)) {
        return vec![
            "Most are former objects that CPython keeps to be objects again: gc.collect() lets go of them.".into(),
        ];
    }
    if is_most(of(UNKNOWN)) {
        return vec![
            "Most are blocks of the interpreter and of C code, of which no type is known. They stay until that code frees them: \
             a cache of it has a function or a setting for that. What the program's start has made is best made before it takes much memory."
                .into(),
        ];
    }
    let dense = bytes(pins.all.live.saturating_mul(PART).min(pins.all.returnable));
    vec![
        "These were made while other objects filled the rest of their pages, and have outlived them. Either make them before such a \
         burst, so that they lie side by side; or copy them when it is over, and let go of the originals: the copies take at most \
         "
        .to_string()
            + &dense
            + ". What lies on a page together must go together.",
    ]
}

fn wrapped(text: &str) -> Vec<Line> {
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WRAPPED => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
        .into_iter()
        .map(|line| Line::of(Tone::Label, line))
        .collect()
}

/// All of it as JSON.
pub fn pins_json(census: &Census, pid: i32, command: &str) -> Value {
    json!({
        "pid": pid,
        "command": command,
        "page_floor_bytes": census.floor,
        "pins": census.pins,
    })
}
