//! The figures of the whole process.

use super::line::{Line, Tone};
use super::text::{bytes, number, percent, share};
use super::why::verdict;
use crate::moment::Parts;
use crate::outside::SLOTS;
use crate::watch::{Sample, Watch};

/// Between two figures of a line.
const GAP: &str = "   ";

/// A figure of the whole process: its name, and its value as a text.
type Figure = (&'static str, String);

/// The verdict, once the blocks were counted.
pub fn judged(watch: &Watch) -> Option<Line> {
    let text = verdict(watch.parts()?, watch.trend().as_ref());
    Some(Line::of(Tone::Heading, text))
}

/// Figures of the whole process, as many to a line as fit.
pub fn figures(watch: &Watch, width: usize) -> Vec<Line> {
    let figures = in_use(watch)
        .into_iter()
        .chain(floor(watch))
        .chain(held(watch))
        .chain(moving(watch));
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

/// Bytes of a slot.
fn slot_bytes(watch: &Watch) -> usize {
    watch.latest().look.whole.arenas_bytes / SLOTS
}

/// What the program has, and how well pools are used.
fn in_use(watch: &Watch) -> [Figure; 5] {
    let whole = &watch.latest().look.whole;
    let taken = (whole.arenas_live * (SLOTS - 1)).saturating_sub(whole.slots_free);
    let pools = (taken * slot_bytes(watch)).saturating_sub(whole.large_bytes);
    let outside_pools = whole.large_bytes + whole.mappings_bytes;
    let in_pools = whole.bytes_in_use.saturating_sub(outside_pools);
    let free_in_pools = whole.bytes_free.saturating_sub(whole.mappings_kept_bytes);
    let [used, allowed] = [whole.budget_used_bytes, whole.budget_bytes].map(bytes);
    [
        ("resident", bytes(whole.resident)),
        ("in use", bytes(whole.bytes_in_use)),
        ("free in pools", bytes(free_in_pools)),
        ("utilisation of pools", percent(share(in_pools, pools))),
        ("budget", format!("{used} of {allowed}")),
    ]
}

/// The page floor, and what of it is not in use, as of the last count of the blocks.
fn floor(watch: &Watch) -> Vec<Figure> {
    let figures = |parts: &Parts| {
        let pinned = bytes(parts.pinned);
        vec![("page floor", bytes(parts.floor())), ("pinned", pinned)]
    };
    watch.parts().map(figures).unwrap_or_default()
}

/// What the library has from the system.
fn held(watch: &Watch) -> [Figure; 5] {
    let whole = &watch.latest().look.whole;
    let arenas = format!(
        "{} live, {} most, {} mapped, {} unmapped",
        number(whole.arenas_live),
        number(whole.arenas_most),
        number(whole.arenas_mapped),
        number(whole.arenas_unmapped)
    );
    let large = format!(
        "{}, {}",
        number(whole.large_count),
        bytes(whole.large_bytes)
    );
    let mappings = format!(
        "{}, {}, {} kept",
        number(whole.mappings_count),
        bytes(whole.mappings_bytes),
        bytes(whole.mappings_kept_bytes)
    );
    let heaps = format!(
        "{}, {} spare",
        number(whole.heaps_live),
        number(whole.heaps_spare)
    );
    let free_slots = whole.slots_free * slot_bytes(watch);
    [
        ("arenas", arenas),
        ("free slots", bytes(free_slots)),
        ("large", large),
        ("mappings", mappings),
        ("heaps", heaps),
    ]
}

/// What moves between threads, and to the system.
fn moving(watch: &Watch) -> [Figure; 4] {
    let whole = &watch.latest().look.whole;
    let remote = growing(watch, |sample| sample.look.whole.remote_frees as u64);
    let purged = format!(
        "{} in pools, {} slots in all",
        bytes(whole.pages_purged_bytes),
        number(whole.slots_purged)
    );
    [
        ("remote frees", remote),
        ("page faults", growing(watch, |sample| sample.facts.faults)),
        ("purged", purged),
        ("retained", bytes(whole.retained_bytes)),
    ]
}

/// A figure that only grows, and how much it does.
fn growing(watch: &Watch, figure: impl Fn(&Sample) -> u64) -> String {
    let total = number(figure(watch.latest()) as usize);
    match watch.rate(figure) {
        Some(rate) => format!("{total}, {}/s", number(rate.round() as usize)),
        None => total,
    }
}
