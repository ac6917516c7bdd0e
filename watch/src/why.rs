//! Why a process has the memory that it has: what it consists of, what grows, and a verdict.
//!
//! What it owns: the verdict, and the constants that decide on it. It takes a census, counts what is in use for some seconds, and takes a second census if that has grown. Of a
//! process that has not, the second would say what the first has said, and a census of a large process takes long.

use crate::census::Census;
use crate::facts::Facts;
use crate::moment::{Moment, Parts};
use crate::outside::{Error, Process};
use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

/// How often what is in use is counted meanwhile.
const COUNTS: u32 = 20;

/// It grows if a straight line through the counts explains this part of how they vary: a server that works varies, too...
const CERTAINTY: f64 = 0.8;
/// ... and if it would take no longer than this to double, in seconds.
const DOUBLES_WITHIN: f64 = 24.0 * 3600.0;
/// Bytes that it must have grown by. Less is how one moment differs from another.
const LEAST_GROWTH: usize = 64 << 10;

/// It is fragmented if this part of the heap's resident memory is pinned, and no less than so many bytes, which the bound on resident memory allows anyway.
const PINNED_PART: usize = 4;
pub const LEAST_PINNED: usize = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// What is in use grows steadily.
    Growing,
    /// A large part is pages that stay for few blocks.
    Fragmented,
    /// Most of it is not the heap's.
    Elsewhere,
    /// It is in use, and does not grow as far as is known.
    InUse,
}

/// How what is in use changes.
pub struct Trend {
    /// Bytes a second.
    pub rate: f64,
    /// Whether that is more than how one moment differs from another.
    pub is_steady: bool,
}

pub struct Why {
    pub seconds: f64,
    /// The end of it, or the start if nothing has grown.
    pub moment: Moment,
    pub trend: Trend,
    /// By how much the bytes of each type have grown, what it holds included; most first. Empty if what is in use did not grow.
    pub grown: Vec<(String, usize)>,
}

impl Why {
    /// Watches a process for so long.
    pub fn of(pid: i32, duration: Duration) -> Result<Self, Error> {
        Facts::of(pid)?;
        let mut process = Process::open(pid)?;
        let before = Moment::of(&mut process)?;
        let start = Instant::now();
        let mut course = Vec::new();
        for _ in 0..COUNTS {
            let look = process.look()?;
            course.push((
                start.elapsed().as_secs_f64(),
                look.whole.bytes_in_use as f64,
            ));
            thread::sleep(duration / COUNTS);
        }
        let trend = Trend::of(&course);
        let seconds = start.elapsed().as_secs_f64();
        let (moment, grown) = if trend.is_growth() {
            let after = Moment::of(&mut process)?;
            let grown = grown(&before.census, &after.census);
            (after, grown)
        } else {
            (before, Vec::new())
        };
        Ok(Why {
            seconds,
            moment,
            trend,
            grown,
        })
    }

    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.moment.parts, Some(&self.trend))
    }
}

impl Verdict {
    /// With how what is in use changes, if that is known.
    pub fn of(parts: &Parts, trend: Option<&Trend>) -> Self {
        let grows = |trend: &Trend| {
            let doubles = trend.rate * DOUBLES_WITHIN >= parts.in_use as f64;
            trend.is_growth() && doubles
        };
        if trend.is_some_and(grows) {
            Verdict::Growing
        } else if parts.pinned >= LEAST_PINNED && parts.pinned * PINNED_PART >= parts.heap() {
            Verdict::Fragmented
        } else if parts.heap() * 2 < parts.resident {
            Verdict::Elsewhere
        } else {
            Verdict::InUse
        }
    }
}

impl Trend {
    pub fn is_growth(&self) -> bool {
        self.is_steady && self.rate > 0.0
    }

    /// The straight line through some counts, by least squares.
    pub fn of(course: &[(f64, f64)]) -> Trend {
        let count = course.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| course.iter().map(value).sum::<f64>() / count;
        let (time, bytes) = (mean(|at| at.0), mean(|at| at.1));
        let sum = |product: &dyn Fn(f64, f64) -> f64| -> f64 {
            let products = course.iter().map(|at| product(at.0 - time, at.1 - bytes));
            products.sum()
        };
        let (times, both, all) = (
            sum(&|time, _| time * time),
            sum(&|time, bytes| time * bytes),
            sum(&|_, bytes| bytes * bytes),
        );
        if times == 0.0 || all == 0.0 {
            return Trend {
                rate: 0.0,
                is_steady: false,
            };
        }
        let rate = both / times;
        let seconds = course.last().map_or(0.0, |at| at.0);
        Trend {
            rate,
            is_steady: both * both / (times * all) >= CERTAINTY
                && rate.abs() * seconds >= LEAST_GROWTH as f64,
        }
    }
}

/// By how much each type has grown from one census to the next; most first.
fn grown(before: &Census, after: &Census) -> Vec<(String, usize)> {
    let bytes: HashMap<&str, usize> = before
        .rows()
        .map(|row| (row.name.as_str(), row.all_bytes()))
        .collect();
    let mut grown: Vec<_> = after
        .rows()
        .filter_map(|row| {
            let before = bytes.get(row.name.as_str()).copied().unwrap_or(0);
            let more = row.all_bytes().checked_sub(before)?;
            (more > 0).then(|| (row.name.clone(), more))
        })
        .collect();
    grown.sort_by_key(|(_, more)| std::cmp::Reverse(*more));
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_growth_is_told_from_one_that_varies() {
        let course = |bytes: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..20)
                .map(|at| f64::from(at) / 2.0)
                .map(|at| (at, bytes(at)))
                .collect()
        };
        let steady = Trend::of(&course(&|at| 1e8 + at * 1e6 + (at * 7.0).sin() * 1e5));
        assert!(steady.is_steady && (steady.rate - 1e6).abs() < 1e5);
        let varying = Trend::of(&course(&|at| 1e8 + at * 1e3 + (at * 7.0).sin() * 1e6));
        assert!(!varying.is_steady);
        let flat = Trend::of(&course(&|_| 1e8));
        assert!(!flat.is_steady && flat.rate == 0.0);
        assert!(!Trend::of(&[]).is_steady);
    }
}
