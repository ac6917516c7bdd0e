//! The live view: draws on the terminal what `view` makes of a process, and does what the keys ask for.
//!
//! What must hold: however this ends, the terminal is as it was before.

use crate::arguments::INTERVALS;
use crate::keys::{Key, Keys};
use crate::view::{self, Glyphs, Line, Table, Tone};
use crate::watch::Watch;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Drawn, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for a key: a signal that comes just before it is seen after it.
const PATIENCE: Duration = Duration::from_millis(250);

/// Lines that the table of size classes gets, its heading included, before curves and arenas get any.
const LEAST_TABLE: usize = 6;
/// Lines of a curve where there is plenty of room, and the height of a terminal that has it.
const HIGH_CURVE: usize = 3;
const PLENTY: usize = 36;
/// Arenas take at most one line in so many, the heading aside.
const ARENAS: usize = 10;

const KEYS: &[(&str, &str)] = &[
    ("q, Esc", "quit"),
    (
        "s, S, left, right",
        "sort by the next column, or the one before",
    ),
    ("r", "turn the order round"),
    ("up, down, PgUp, PgDn", "scroll the table"),
    ("p, space", "pause, and go on"),
    ("+, -", "look less often, more often"),
    ("h, ?", "this list"),
];

struct Screen {
    table: Table,
    glyphs: Glyphs,
    colours: bool,
    interval: Duration,
    paused: bool,
    help: bool,
    /// The first row of the table that is shown.
    first: usize,
    /// Rows of the table that fit, as last drawn.
    page: usize,
}

/// Shows the process until the user has enough.
pub fn run(watch: &mut Watch, interval: Duration) -> io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    // A terminal of another size ends the wait for a key, and is seen by whoever draws.
    signal_hook::flag::register(SIGWINCH, Arc::default())?;
    let mut keys = Keys::open()?;
    let mut screen = Screen {
        table: Table::default(),
        glyphs: Glyphs::of_locale(),
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        interval,
        paused: false,
        help: false,
        first: 0,
        page: 1,
    };
    let mut terminal = ratatui::try_init()?;
    let result = screen.show(&mut terminal, &mut keys, watch, &ended);
    let restored = ratatui::try_restore();
    result.and(restored)
}

impl Screen {
    fn show(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        keys: &mut Keys,
        watch: &mut Watch,
        ended: &AtomicBool,
    ) -> io::Result<()> {
        let mut latest = Instant::now();
        // Relaxed: nothing else hangs on it.
        while !ended.load(Ordering::Relaxed) {
            if !self.paused {
                watch.count_blocks();
            }
            terminal.draw(|frame| self.draw(frame, watch))?;
            let due = latest + self.interval;
            let at_rest = self.paused || watch.end().is_some();
            let left = due.saturating_duration_since(Instant::now());
            let patience = if at_rest {
                PATIENCE
            } else {
                left.min(PATIENCE)
            };
            if !keys.wait(patience)?.into_iter().all(|key| self.press(key)) {
                break;
            }
            if !self.paused && Instant::now() >= due {
                watch.look();
                latest = Instant::now();
            }
        }
        Ok(())
    }

    /// Does what a key asks for. False for an end.
    fn press(&mut self, key: Key) -> bool {
        let had_help = std::mem::take(&mut self.help);
        match key {
            Key::Letter('q') | Key::End => return false,
            // Any other key only takes the list of keys away.
            _ if had_help => {}
            Key::Escape => return false,
            Key::Letter('h' | '?') => self.help = true,
            Key::Letter('p' | ' ') => self.paused = !self.paused,
            Key::Letter('s') | Key::Right => self.table.turn(true),
            Key::Letter('S') | Key::Left => self.table.turn(false),
            Key::Letter('r') => self.table.reversed = !self.table.reversed,
            Key::Letter('+') => self.set_interval(self.interval.as_secs_f64() * 2.0),
            Key::Letter('-') => self.set_interval(self.interval.as_secs_f64() / 2.0),
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first += 1,
            Key::PageUp => self.first = self.first.saturating_sub(self.page),
            Key::PageDown => self.first += self.page,
            Key::Home => self.first = 0,
            Key::Letter(_) => {}
        }
        true
    }

    fn set_interval(&mut self, seconds: f64) {
        let (least, most) = INTERVALS;
        self.interval = Duration::from_secs_f64(seconds.clamp(least, most));
    }

    fn style(&self, tone: Tone) -> Style {
        let style = Style::default();
        let coloured = |colour| match self.colours {
            true => style.fg(colour),
            false => style,
        };
        match tone {
            Tone::Label => style.add_modifier(Modifier::DIM),
            Tone::Value => style,
            Tone::Heading => style.add_modifier(Modifier::BOLD),
            Tone::Sorted => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            Tone::Good => coloured(Color::Green),
            Tone::Middling => coloured(Color::Yellow),
            Tone::Poor => coloured(Color::Red),
        }
    }

    fn drawn(&self, line: Line) -> Drawn<'static> {
        let spans = line.0.into_iter();
        Drawn::from_iter(spans.map(|(tone, text)| Span::styled(text, self.style(tone))))
    }

    fn draw(&mut self, frame: &mut Frame, watch: &Watch) {
        let area = frame.area();
        let (width, height) = (area.width as usize, area.height as usize);
        let mut lines = vec![self.title(watch, width)];
        let figures = view::judged(watch).into_iter();
        let figures = figures.chain(view::figures(watch, width));
        lines.extend(figures.map(|line| self.drawn(line)));
        // The title and the line of keys are always there; the table comes next.
        let mut left = height.saturating_sub(lines.len() + 1 + LEAST_TABLE);

        let high = if height >= PLENTY { HIGH_CURVE } else { 1 };
        if left >= 2 * high {
            left -= 2 * high;
            lines.extend(self.curves(watch, (width, high)));
        }
        let mut arenas = Vec::new();
        if left >= 2 {
            arenas = view::arenas(
                watch,
                (width, (height / ARENAS).clamp(1, left - 1)),
                &self.glyphs,
            );
        }

        let (heading, rows) = view::classes(watch, &self.table, width, &self.glyphs);
        lines.push(self.drawn(heading));
        let room = height.saturating_sub(lines.len() + arenas.len() + 1);
        self.page = room.max(1);
        self.first = self.first.min(rows.len().saturating_sub(room));
        let shown = rows.into_iter().skip(self.first).take(room);
        lines.extend(shown.map(|row| self.drawn(row)));
        lines.resize(
            lines.len().max(height.saturating_sub(arenas.len() + 1)),
            Drawn::default(),
        );
        lines.extend(arenas.into_iter().map(|line| self.drawn(line)));
        lines.truncate(height.saturating_sub(1));
        lines.push(self.bottom(watch));
        frame.render_widget(Paragraph::new(lines), area);
        if self.help {
            draw_help(frame);
        }
    }

    fn title(&self, watch: &Watch, width: usize) -> Drawn<'static> {
        let state = match self.paused {
            true => String::from("paused"),
            false => format!("every {} s", self.interval.as_secs_f64()),
        };
        let room = width.saturating_sub(state.len() + 2);
        let name = format!(" pymalloc-watch  {}  {}", watch.pid, watch.command);
        let name: String = name.chars().take(room).collect();
        let text = format!("{name:<room$} {state} ");
        Drawn::styled(text, Style::default().add_modifier(Modifier::REVERSED))
    }

    fn curves(&self, watch: &Watch, size: (usize, usize)) -> Vec<Drawn<'static>> {
        let course = &watch.course;
        let top = course.resident.iter().chain(&course.in_use).copied().max();
        [("resident", &course.resident), ("in use", &course.in_use)]
            .into_iter()
            .flat_map(|(name, course)| {
                let course = course.iter().copied();
                view::curve(name, course, top.unwrap_or(0), size, &self.glyphs)
            })
            .map(|line| self.drawn(line))
            .collect()
    }

    fn bottom(&self, watch: &Watch) -> Drawn<'static> {
        match watch.end() {
            Some(end) => Drawn::styled(
                format!(" {end}: this is the last look. q quits"),
                self.style(Tone::Poor).add_modifier(Modifier::REVERSED),
            ),
            None => Drawn::styled(
                " q quit  s sort  r reverse  p pause  + - interval  h help",
                self.style(Tone::Label),
            ),
        }
    }
}

fn draw_help(frame: &mut Frame) {
    let lines: Vec<Drawn> = KEYS
        .iter()
        .map(|(keys, what)| Drawn::from(format!(" {keys:<21} {what}")))
        .collect();
    let area = frame.area();
    let (width, height) = (area.width.min(70), area.height.min(lines.len() as u16 + 2));
    let place = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" Keys ")),
        place,
    );
}
