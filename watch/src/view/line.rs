//! Lines of pieces, and the letters that stand for shares.

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
    pub(super) fn of(tone: Tone, text: impl Into<String>) -> Self {
        Line(vec![(tone, text.into())])
    }

    pub(super) fn push(&mut self, tone: Tone, text: impl Into<String>) {
        self.0.push((tone, text.into()));
    }

    pub(super) fn width(&self) -> usize {
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
    pub(super) order: [char; 2],
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

    pub(super) fn steps(&self) -> usize {
        self.levels.len() - 1
    }

    /// For a share that is not nothing at least the first letter that is seen.
    pub(super) fn of_share(&self, share: f64) -> char {
        let step = (share * self.steps() as f64).round() as usize;
        self.levels[step.clamp(usize::from(share > 0.0), self.steps())]
    }

    /// A bar from left to right.
    pub(super) fn bar(&self, share: f64, width: usize) -> String {
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

pub(super) fn tone_of(share: f64) -> Tone {
    match share {
        0.75.. => Tone::Good,
        0.4.. => Tone::Middling,
        _ => Tone::Poor,
    }
}
