//! The processes that the exporter tells of.
//!
//! What must hold: a process is one from its start to its end, so that a later one of the same number is another. To count their blocks takes at most one
//! part in `COST` of the time, however many they are; what the library counts itself is read each time.

use crate::facts::{self, Facts};
use crate::moment::Moment;
use crate::outside::{Error, Look, Process};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

/// To count the blocks of all processes costs some time, in proportion to their memory. It is done again after so many times of that, so that it takes 2 % of a
/// processor at most: a dashboard that is asked every 15 seconds has counts of that age up to 300 ms of work, some 2 GiB.
const COST: u32 = 50;
/// Processes of which it is remembered that they are not on the library: beyond these it is looked once more.
const MOST_OTHERS: usize = 1 << 16;

/// A process, as it is told of.
pub struct Seen {
    pub pid: i32,
    /// Whether it is a worker: its parent is a process on the library, too.
    pub is_worker: bool,
    pub command: String,
    pub facts: Facts,
    pub look: Look,
    pub peak: Option<usize>,
    pub control_group: Option<(String, Option<u64>)>,
}

struct Known {
    process: Process,
    started: u64,
    seen: Option<Seen>,
    moment: Option<Moment>,
    /// When the blocks were counted, and how long that took.
    counted: Instant,
    cost: Duration,
}

/// What there is to tell of a process: what was seen just now, the count of its blocks, and how old that is.
pub type Told<'a> = (&'a Seen, &'a Moment, Duration);

pub struct Watched {
    /// None for all that there are.
    pids: Option<Vec<i32>>,
    known: HashMap<i32, Known>,
    /// Processes that are not on the library: number and start.
    others: HashSet<(i32, u64)>,
    /// Processes that may not be read.
    pub unreadable: usize,
}

impl Watched {
    /// Of these processes, or of all. The error is a line for the first one that cannot be told of.
    pub fn of(pids: &[i32]) -> Result<Self, String> {
        let mut watched = Watched {
            pids: (!pids.is_empty()).then(|| pids.to_vec()),
            known: HashMap::new(),
            others: HashSet::new(),
            unreadable: 0,
        };
        for pid in pids {
            let found = watched
                .find(*pid)
                .map_err(|error| crate::explained(*pid, &error))?;
            watched.known.insert(*pid, found);
        }
        Ok(watched)
    }

    fn find(&self, pid: i32) -> Result<Known, Error> {
        let started = Facts::of(pid)?.started;
        Ok(Known {
            process: Process::open(pid)?,
            started,
            seen: None,
            moment: None,
            counted: Instant::now(),
            cost: Duration::ZERO,
        })
    }

    /// Looks at all of them. Those that have ended are forgotten.
    pub fn look(&mut self) -> (Vec<Told<'_>>, usize) {
        if self.pids.is_none() {
            self.find_all();
        }
        let cost: Duration = self.known.values().map(|known| known.cost).sum();
        self.known
            .retain(|pid, known| known.look(*pid, cost * COST).is_ok());
        let workers: HashSet<i32> = self.known.keys().copied().collect();
        for known in self.known.values_mut() {
            if let Some(seen) = &mut known.seen {
                seen.is_worker = workers.contains(&seen.facts.parent);
            }
        }
        let mut told: Vec<Told> = self.known.values().filter_map(Known::told).collect();
        told.sort_by_key(|(seen, ..)| seen.pid);
        (told, self.unreadable)
    }

    /// Finds the processes that are on the library and not known yet.
    fn find_all(&mut self) {
        self.unreadable = 0;
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        for pid in pids.collect::<Vec<_>>() {
            let Ok(facts) = Facts::of(pid) else {
                continue;
            };
            // By `exec` it becomes another program, and keeps its start: that is seen by its name.
            let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.iter().fold(facts.started, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
            });
            let is_known = self
                .known
                .get(&pid)
                .is_some_and(|known| known.started == facts.started);
            if is_known || self.others.contains(&(pid, name)) {
                continue;
            }
            match self.find(pid) {
                Ok(known) => {
                    self.known.insert(pid, known);
                }
                Err(Error::NotPermitted) => self.unreadable += 1,
                Err(Error::NoPymalloc | Error::OtherBuild(_)) => {
                    if self.others.len() >= MOST_OTHERS {
                        self.others.clear();
                    }
                    self.others.insert((pid, name));
                }
                Err(_) => {}
            }
        }
    }
}

impl Known {
    /// Looks at it, and counts its blocks if the last count is as old as this.
    fn look(&mut self, pid: i32, age: Duration) -> Result<(), Error> {
        let facts = Facts::of(pid)?;
        if facts.started != self.started {
            return Err(Error::Gone);
        }
        if self.moment.is_none() || self.counted.elapsed() > age {
            let start = Instant::now();
            self.moment = Some(Moment::in_short(&mut self.process)?);
            self.counted = Instant::now();
            self.cost = self.counted - start;
        }
        self.seen = Some(Seen {
            pid,
            is_worker: false,
            command: facts::command(pid),
            look: self.process.look()?,
            peak: facts::peak(pid),
            control_group: facts::control_group(pid),
            facts,
        });
        Ok(())
    }

    fn told(&self) -> Option<Told<'_>> {
        Some((
            self.seen.as_ref()?,
            self.moment.as_ref()?,
            self.counted.elapsed(),
        ))
    }
}
