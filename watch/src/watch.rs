//! A process that is watched: the latest two looks, the course of its memory before, and now and then what that consists of.
//!
//! What must hold: there is a latest look from the start on, and it stays when the process ends.

use crate::facts::{self, Facts};
use crate::moment::{Moment, Parts};
use crate::outside::{Error, Look, Process};
use crate::why::Trend;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Looks that the course of memory goes back: as wide as a wide terminal.
const COURSE: usize = 512;

/// To count the blocks takes time in proportion to memory: it is done again after so many times of that.
const COST: u32 = 50;
/// Looks, and seconds between the first and the last, after which it is judged whether what is in use grows.
const ENOUGH_LOOKS: usize = 10;
const ENOUGH_SECONDS: f64 = 5.0;

/// All that is known of a moment.
pub struct Sample {
    pub at: Instant,
    pub facts: Facts,
    pub look: Look,
}

/// Two figures in bytes, look by look, oldest first.
#[derive(Default)]
pub struct Course {
    /// When each look was, in seconds since the first.
    times: VecDeque<f64>,
    pub resident: VecDeque<usize>,
    pub in_use: VecDeque<usize>,
}

pub struct Watch {
    pub pid: i32,
    pub command: String,
    pub course: Course,
    process: Process,
    latest: Sample,
    previous: Option<Sample>,
    end: Option<String>,
    start: Instant,
    /// What memory consisted of when the blocks were counted; when that was, and how long it took.
    counted: Option<(Parts, Instant, Duration)>,
}

fn sample(pid: i32, process: &mut Process) -> Result<Sample, Error> {
    let facts = Facts::of(pid)?;
    Ok(Sample {
        facts,
        look: process.look()?,
        at: Instant::now(),
    })
}

impl Watch {
    pub fn start(pid: i32) -> Result<Self, Error> {
        // Before anything of it is read: a process that is not there is not one without pymalloc.
        Facts::of(pid)?;
        let mut process = Process::open(pid)?;
        let mut watch = Watch {
            pid,
            command: facts::command(pid),
            course: Course::default(),
            latest: sample(pid, &mut process)?,
            process,
            previous: None,
            end: None,
            start: Instant::now(),
            counted: None,
        };
        watch.note_course();
        Ok(watch)
    }

    /// Looks again. If that is not possible any more, `end` tells why.
    pub fn look(&mut self) {
        if self.end.is_some() {
            return;
        }
        match sample(self.pid, &mut self.process) {
            Ok(sample) if sample.facts.started == self.latest.facts.started => {
                self.previous = Some(std::mem::replace(&mut self.latest, sample));
                self.command = facts::command(self.pid);
                self.note_course();
            }
            // Between two programs, by `exec`.
            Err(Error::Gone) if self.is_there() => {}
            Ok(_) | Err(Error::Gone) => {
                self.end = Some(format!("process {} has ended", self.pid));
            }
            Err(error) => {
                self.end = Some(format!(
                    "process {} cannot be watched any more: {error}",
                    self.pid
                ));
            }
        }
    }

    fn is_there(&self) -> bool {
        Facts::of(self.pid).is_ok_and(|facts| facts.started == self.latest.facts.started)
    }

    pub fn latest(&self) -> &Sample {
        &self.latest
    }

    pub fn previous(&self) -> Option<&Sample> {
        self.previous.as_ref()
    }

    /// Why there are no further looks.
    pub fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Counts the blocks, for the page floor and the verdict, unless the last count is new enough. A process that ends meanwhile keeps the last one.
    pub fn count_blocks(&mut self) {
        let is_new = |(_, at, cost): &(Parts, Instant, Duration)| at.elapsed() < *cost * COST;
        if self.end.is_some() || self.counted.as_ref().is_some_and(is_new) {
            return;
        }
        let start = Instant::now();
        if let Ok(moment) = Moment::in_short(&mut self.process) {
            self.counted = Some((moment.parts, Instant::now(), start.elapsed()));
        }
    }

    /// What memory consists of, as of the last count of the blocks.
    pub fn parts(&self) -> Option<&Parts> {
        self.counted.as_ref().map(|(parts, ..)| parts)
    }

    /// How what is in use changes, once enough was seen of it.
    pub fn trend(&self) -> Option<Trend> {
        let course = &self.course;
        let seconds = course.times.back()? - course.times.front()?;
        let in_use = course.in_use.iter().map(|bytes| *bytes as f64);
        let points: Vec<_> = course.times.iter().copied().zip(in_use).collect();
        (points.len() >= ENOUGH_LOOKS && seconds >= ENOUGH_SECONDS).then(|| Trend::of(&points))
    }

    fn note_course(&mut self) {
        if self.course.times.len() == COURSE {
            self.course.times.pop_front();
        }
        let now = self.start.elapsed().as_secs_f64();
        self.course.times.push_back(now);
        let whole = &self.latest.look.whole;
        for (course, bytes) in [
            (&mut self.course.resident, whole.resident),
            (&mut self.course.in_use, whole.bytes_in_use),
        ] {
            if course.len() == COURSE {
                course.pop_front();
            }
            course.push_back(bytes);
        }
    }

    /// How much a figure that only grows has grown a second. `None` after the first look.
    pub fn rate(&self, figure: impl Fn(&Sample) -> u64) -> Option<f64> {
        let previous = self.previous.as_ref()?;
        let seconds = (self.latest.at - previous.at).as_secs_f64();
        let grown = figure(&self.latest).saturating_sub(figure(previous));
        Some(grown as f64 / seconds.max(1e-3))
    }
}
