//! Pictures made of letters: the course of a figure, and the arenas.

use super::line::{Glyphs, Line, Tone, tone_of};
use super::text::share;
use crate::outside::ArenaView;
use crate::watch::Watch;

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
