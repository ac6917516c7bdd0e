//! The table of size classes.

use super::line::{Glyphs, Line, Tone, tone_of};
use super::text::{bytes, number, percent};
use crate::watch::Watch;
use std::cmp::Reverse;

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
    let shown = columns_that_fit(width);
    let bar = BAR.min(width.saturating_sub(needed(&shown) + 2));
    let line = |row: &Row| line_of(row, &shown, bar, glyphs);
    (
        heading(table, &shown, bar, glyphs),
        rows(watch, table).iter().map(line).collect(),
    )
}

/// How wide these columns are together.
fn needed(shown: &[usize]) -> usize {
    shown.iter().map(|at| COLUMNS[*at].width).sum()
}

/// The columns for which there is room.
fn columns_that_fit(width: usize) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
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
    shown
}

/// The headings of some columns, and room for a bar of so many letters.
fn heading(table: &Table, shown: &[usize], bar: usize, glyphs: &Glyphs) -> Line {
    let mut line = Line::default();
    for at in shown {
        let Column { heading, width, .. } = COLUMNS[*at];
        let (tone, text) = match *at == table.column {
            false => (Tone::Heading, heading.into()),
            true => {
                let order = glyphs.order[usize::from(table.reversed)];
                (Tone::Sorted, format!("{heading}{order}"))
            }
        };
        line.push(tone, format!("{text:>width$}"));
        if *at == USED && bar > 0 {
            line.push(Tone::Heading, " ".repeat(bar + 2));
        }
    }
    line
}

/// Some columns of a row, and a bar of so many letters.
fn line_of(row: &Row, shown: &[usize], bar: usize, glyphs: &Glyphs) -> Line {
    let mut line = Line::default();
    for at in shown {
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
}

fn change(blocks: i64) -> String {
    let count = number(blocks.unsigned_abs() as usize);
    match blocks {
        0 => String::new(),
        1.. => format!("+{count}"),
        _ => format!("-{count}"),
    }
}
