//! What is shown, as lines of pieces: the same for the live view and for plain text.
//!
//! Nothing here knows a terminal: a piece says what it is (`Tone`), and `screen` how that looks.

use crate::outside::{ArenaView, SLOTS};
use crate::watch::{Sample, Watch};
use std::cmp::Reverse;
use std::fmt::{self, Display};

/// What a piece of text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    Label,
    Value,
    Heading,
    /// The heading of the column that the table is sorted by.
    Sorted,
    Good,
    Middling,
    Poor,
}

/// A line: pieces of text side by side.
#[derive(Default)]
pub struct Line(pub Vec<(Tone, String)>);

impl Line {
    fn of(tone: Tone, text: impl Into<String>) -> Self {
        Line(vec![(tone, text.into())])
    }

    fn push(&mut self, tone: Tone, text: impl Into<String>) {
        self.0.push((tone, text.into()));
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }
}

impl Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        out.write_str(text.trim_end())
    }
}

/// Letters that stand for a share, from nothing to all.
pub struct Glyphs {
    levels: Vec<char>,
    /// Behind the heading of the column that the table is sorted by, and for the other order.
    order: [char; 2],
}

impl Glyphs {
    /// Blocks where the user's locale has them.
    pub fn of_locale() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_lowercase();
        let wide = locale.contains("utf-8") || locale.contains("utf8");
        let levels = if wide {
            " ▁▂▃▄▅▆▇█"
        } else {
            " .:-=+*%#"
        };
        Glyphs {
            levels: levels.chars().collect(),
            order: if wide { ['▼', '▲'] } else { ['v', '^'] },
        }
    }

    fn steps(&self) -> usize {
        self.levels.len() - 1
    }

    /// For a share that is not nothing at least the first letter that is seen.
    fn of_share(&self, share: f64) -> char {
        let step = (share * self.steps() as f64).round() as usize;
        self.levels[step.clamp(usize::from(share > 0.0), self.steps())]
    }

    /// A bar from left to right.
    fn bar(&self, share: f64, width: usize) -> String {
        let full = (share * width as f64).round() as usize;
        let letter = |at| {
            if at < full {
                self.levels[self.steps()]
            } else {
                ' '
            }
        };
        (0..width).map(letter).collect()
    }
}

fn tone_of(share: f64) -> Tone {
    match share {
        0.75.. => Tone::Good,
        0.4.. => Tone::Middling,
        _ => Tone::Poor,
    }
}

/// A part of a whole; 1 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 1.0,
        whole => (part as f64 / whole as f64).min(1.0),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number of bytes for a person.
pub fn bytes(bytes: usize) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A number with its thousands apart.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure that only grows, and how much it does.
fn growing(watch: &Watch, figure: impl Fn(&Sample) -> u64) -> String {
    let total = number(figure(watch.latest()) as usize);
    match watch.rate(figure) {
        Some(rate) => format!("{total}, {}/s", number(rate.round() as usize)),
        None => total,
    }
}

/// Figures of the whole process, as many to a line as fit.
pub fn figures(watch: &Watch, width: usize) -> Vec<Line> {
    let latest = watch.latest();
    let whole = &latest.look.whole;
    let slot = whole.arenas_bytes / SLOTS;
    let taken = (whole.arenas_live * (SLOTS - 1)).saturating_sub(whole.slots_free) * slot;
    let in_pools = whole
        .bytes_in_use
        .saturating_sub(whole.large_bytes + whole.mappings_bytes);
    let pools = taken.saturating_sub(whole.large_bytes);
    let figures = [
        ("resident", bytes(whole.resident)),
        ("in use", bytes(whole.bytes_in_use)),
        (
            "free in pools",
            bytes(whole.bytes_free.saturating_sub(whole.mappings_kept_bytes)),
        ),
        ("utilisation of pools", percent(share(in_pools, pools))),
        (
            "budget",
            format!(
                "{} of {}",
                bytes(whole.budget_used_bytes),
                bytes(whole.budget_bytes)
            ),
        ),
        (
            "arenas",
            format!(
                "{} live, {} most, {} mapped, {} unmapped",
                number(whole.arenas_live),
                number(whole.arenas_most),
                number(whole.arenas_mapped),
                number(whole.arenas_unmapped)
            ),
        ),
        ("free slots", bytes(whole.slots_free * slot)),
        (
            "large",
            format!(
                "{}, {}",
                number(whole.large_count),
                bytes(whole.large_bytes)
            ),
        ),
        (
            "mappings",
            format!(
                "{}, {}, {} kept",
                number(whole.mappings_count),
                bytes(whole.mappings_bytes),
                bytes(whole.mappings_kept_bytes)
            ),
        ),
        (
            "heaps",
            format!(
                "{}, {} spare",
                number(whole.heaps_live),
                number(whole.heaps_spare)
            ),
        ),
        (
            "remote frees",
            growing(watch, |sample| sample.look.whole.remote_frees as u64),
        ),
        ("page faults", growing(watch, |sample| sample.facts.faults)),
        (
            "purged",
            format!(
                "{} in pools, {} slots in all",
                bytes(whole.pages_purged_bytes),
                number(whole.slots_purged)
            ),
        ),
        ("retained", bytes(whole.retained_bytes)),
    ];
    let mut lines = vec![Line::default()];
    for (label, value) in figures {
        let mut piece = Line::of(Tone::Label, format!("{label} "));
        piece.push(Tone::Value, value);
        let line = lines
            .last_mut()
            .filter(|line| line.0.is_empty() || line.width() + GAP.len() + piece.width() <= width);
        match line {
            Some(line) => {
                if !line.0.is_empty() {
                    line.push(Tone::Label, GAP);
                }
                line.0.append(&mut piece.0);
            }
            None => lines.push(piece),
        }
    }
    lines
}

const GAP: &str = "   ";

/// The course of a figure up to now as a curve `height` lines high, on a scale whose top is `top`.
pub fn curve(
    name: &str,
    course: impl ExactSizeIterator<Item = usize>,
    top: usize,
    (width, height): (usize, usize),
    glyphs: &Glyphs,
) -> Vec<Line> {
    let room = width.saturating_sub(NAME);
    let values: Vec<usize> = course.collect();
    let values = &values[values.len().saturating_sub(room)..];
    (0..height)
        .map(|row| {
            let below = (height - 1 - row) as f64;
            let letter = |value: &usize| {
                let level = share(*value, top) * height as f64 - below;
                glyphs.of_share(level.clamp(0.0, 1.0))
            };
            let name = if row == 0 { name } else { "" };
            let mut line = Line::of(Tone::Label, format!("{name:<NAME$}"));
            line.push(Tone::Good, values.iter().map(letter).collect::<String>());
            line
        })
        .collect()
}

/// Columns of the name in front of a curve.
const NAME: usize = 10;

/// A column of the table of size classes: its heading, its width, and when it is left out where there is no room: first that
/// of 1; never that of 0.
struct Column {
    heading: &'static str,
    width: usize,
    expendable: u8,
}

const fn column(heading: &'static str, width: usize, expendable: u8) -> Column {
    Column {
        heading,
        width,
        expendable,
    }
}

const COLUMNS: [Column; 9] = [
    column("class", 5, 1),
    column("size", 7, 0),
    column("pools", 8, 3),
    column("in use", 11, 0),
    column("free", 10, 5),
    column("untouched", 11, 2),
    column("bytes", 11, 0),
    column("used", 6, 6),
    column("change", 10, 4),
];
const IN_USE: usize = 3;
const BYTES: usize = 6;
const USED: usize = 7;
const CHANGE: usize = 8;
/// The widest bar in the column of shares in use.
const BAR: usize = 20;
/// Columns of plain text.
pub const PLAIN: usize = 100;

/// How the table is sorted.
pub struct Table {
    pub column: usize,
    pub reversed: bool,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            column: BYTES,
            reversed: false,
        }
    }
}

impl Table {
    /// Sorts by the next column, or by the one before.
    pub fn turn(&mut self, forward: bool) {
        let step = if forward { 1 } else { COLUMNS.len() - 1 };
        self.column = (self.column + step) % COLUMNS.len();
    }
}

/// A size class: the figures of the columns, blocks in use as a share of all in thousandths, and the change.
type Row = [i64; COLUMNS.len()];

fn rows(watch: &Watch, table: &Table) -> Vec<Row> {
    let before = watch
        .previous()
        .map_or(&[][..], |sample| &sample.look.classes);
    let mut rows: Vec<Row> = Vec::new();
    for row in &watch.latest().look.classes {
        let [class, size, pools, in_use, free, untouched] = row.map(|figure| figure as i64);
        let same = before.iter().find(|row| row[0] as i64 == class);
        let change = in_use - same.map_or(0, |row| row[IN_USE] as i64);
        let used = in_use * 1000 / (in_use + free + untouched).max(1);
        rows.push([
            class,
            size,
            pools,
            in_use,
            free,
            untouched,
            in_use * size,
            used,
            if watch.previous().is_some() {
                change
            } else {
                0
            },
        ]);
    }
    // What is small comes first of sizes and shares, what is large of all else; of changes whichever way.
    let key = |row: &Row| match table.column {
        0 | 1 | USED => row[table.column],
        CHANGE => -row[CHANGE].abs(),
        column => -row[column],
    };
    match table.reversed {
        false => rows.sort_by_key(key),
        true => rows.sort_by_key(|row| Reverse(key(row))),
    }
    rows
}

/// The table of size classes: its heading, and a line a class.
pub fn classes(watch: &Watch, table: &Table, width: usize, glyphs: &Glyphs) -> (Line, Vec<Line>) {
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
    let needed = |shown: &[usize]| -> usize { shown.iter().map(|at| COLUMNS[*at].width).sum() };
    while needed(&shown) > width {
        let expendable = |at: &usize| match COLUMNS[*at].expendable {
            0 => u8::MAX,
            order => order,
        };
        let Some(at) = shown.iter().copied().min_by_key(expendable) else {
            break;
        };
        if COLUMNS[at].expendable == 0 {
            break;
        }
        shown.retain(|column| *column != at);
    }
    let bar = BAR.min(width.saturating_sub(needed(&shown) + 2));
    let mut heading = Line::default();
    for at in &shown {
        let Column {
            heading: text,
            width,
            ..
        } = COLUMNS[*at];
        let (tone, text) = match *at == table.column {
            false => (Tone::Heading, text.into()),
            true => {
                let order = glyphs.order[usize::from(table.reversed)];
                (Tone::Sorted, format!("{text}{order}"))
            }
        };
        heading.push(tone, format!("{text:>width$}"));
        if *at == USED && bar > 0 {
            heading.push(Tone::Heading, " ".repeat(bar + 2));
        }
    }
    let line = |row: &Row| {
        let mut line = Line::default();
        for at in &shown {
            let (value, width) = (row[*at], COLUMNS[*at].width);
            let used = row[USED] as f64 / 1000.0;
            let text = match *at {
                BYTES => bytes(value as usize),
                USED => percent(used),
                CHANGE => change(value),
                _ => number(value as usize),
            };
            let tone = if *at == USED {
                tone_of(used)
            } else {
                Tone::Value
            };
            line.push(tone, format!("{text:>width$}"));
            if *at == USED && bar > 0 {
                line.push(tone, format!("  {}", glyphs.bar(used, bar)));
            }
        }
        line
    };
    (heading, rows(watch, table).iter().map(line).collect())
}

fn change(blocks: i64) -> String {
    let count = number(blocks.unsigned_abs() as usize);
    match blocks {
        0 => String::new(),
        1.. => format!("+{count}"),
        _ => format!("-{count}"),
    }
}

/// The arenas in the order of `usable_arenas`, a letter each that tells how much of it is in use; where there are too many for
/// `height` lines, several to a letter. The first line says which it is.
pub fn arenas(watch: &Watch, (width, height): (usize, usize), glyphs: &Glyphs) -> Vec<Line> {
    let look = &watch.latest().look;
    let size = look.whole.arenas_bytes;
    let room = (width * height).max(1);
    let together = look.arenas.len().div_ceil(room).max(1);
    let cells: Vec<f64> = look
        .arenas
        .chunks(together)
        .map(|arenas| {
            let used: usize = arenas
                .iter()
                .map(|arena: &ArenaView| arena.bytes_in_use)
                .sum();
            share(used, arenas.len() * size)
        })
        .collect();
    let what = match together {
        1 => "arenas, full ones first: how much of each is in use".into(),
        _ => format!("arenas, full ones first: how much of {together} each is in use"),
    };
    let mut lines = vec![Line::of(Tone::Heading, what)];
    for cells in cells.chunks(width.max(1)) {
        let mut line = Line::default();
        for cell in cells {
            line.push(tone_of(*cell), glyphs.of_share(*cell));
        }
        lines.push(line);
    }
    lines
}

/// All of it as plain text.
pub fn whole(watch: &Watch, table: &Table, glyphs: &Glyphs) -> Vec<Line> {
    let mut lines = vec![Line::of(
        Tone::Heading,
        format!("process {}: {}", watch.pid, watch.command),
    )];
    lines.extend(figures(watch, PLAIN));
    let (heading, classes) = classes(watch, table, PLAIN, glyphs);
    lines.push(heading);
    lines.extend(classes);
    lines.extend(arenas(watch, (PLAIN, 4), glyphs));
    lines
}
