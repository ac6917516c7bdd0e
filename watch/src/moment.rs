//! A moment of a process: what its resident memory consists of, with the census that tells.
//!
//! What must hold: the parts are disjoint, and together they are what is resident, but for what changed while they were counted.

use crate::census::{self, Census};
use crate::facts::Facts;
use crate::outside::{Error, Look, Process, Resident};
use serde::{Deserialize, Serialize};

/// Parts of resident memory, in bytes.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Parts {
    #[serde(rename = "resident_bytes")]
    pub resident: usize,
    /// Blocks in use, as far as they are resident.
    #[serde(rename = "in_use_bytes")]
    pub in_use: usize,
    /// The rest of the pages that these lie on.
    #[serde(rename = "pinned_bytes")]
    pub pinned: usize,
    /// Of the library, on no page with a block in use: free memory within the resident budget, what is retained, and its tables.
    #[serde(rename = "free_bytes")]
    pub free: usize,
    #[serde(rename = "files_bytes")]
    pub files: usize,
    /// Neither the heap's nor files': stacks, and what the program has mapped itself.
    #[serde(rename = "other_bytes")]
    pub other: usize,
}

impl Parts {
    fn of(look: &Look, census: &Census, resident: &Resident) -> Self {
        let pinned = census.total.pinned.min(census.floor);
        let in_arenas = census.arenas_resident;
        let kept = look.whole.mappings_kept_bytes;
        let free = in_arenas
            .saturating_sub(census.floor_in_arenas)
            .saturating_add(kept);
        let known = census
            .floor
            .saturating_add(free)
            .saturating_add(resident.files);
        Parts {
            resident: resident.all,
            in_use: census.floor - pinned,
            pinned,
            free,
            files: resident.files,
            other: resident.all.saturating_sub(known),
        }
    }

    /// The page floor: the pages that hold a block in use.
    pub fn floor(&self) -> usize {
        self.in_use.saturating_add(self.pinned)
    }

    /// What the library has.
    pub fn heap(&self) -> usize {
        self.floor().saturating_add(self.free)
    }
}

pub struct Moment {
    pub census: Census,
    pub parts: Parts,
}

impl Moment {
    /// With the objects by type.
    pub fn of(process: &mut Process) -> Result<Self, Error> {
        Moment::with(census::take(process)?, process)
    }

    /// Without types, which costs less.
    pub fn in_short(process: &mut Process) -> Result<Self, Error> {
        Moment::with(census::take_without_types(process)?, process)
    }

    /// Of a process that need not be there.
    pub fn of_pid(pid: i32) -> Result<Self, Error> {
        // Before anything of it is read: a process that is not there is not one without pymalloc.
        Facts::of(pid)?;
        Moment::of(&mut Process::open(pid)?)
    }

    fn with((look, census): (Look, Census), process: &Process) -> Result<Self, Error> {
        let resident = process.memory().resident()?;
        Ok(Moment {
            parts: Parts::of(&look, &census, &resident),
            census,
        })
    }
}
