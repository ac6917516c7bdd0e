//! What may stay resident without a live block: every share, with its reason.
//!
//! The promise (`docs/memory.md`) is 8 MiB, and an eighth of the pages in use, and what is retained. It is shared out so, with the default settings:
//!
//! | what stays | in a small process | in a large one | here |
//! | --- | --- | --- | --- |
//! | free slots of arenas | 1 MiB | and a sixteenth | `FREE_SLOTS` |
//! | unscanned bytes in pools | 1 MiB | and a thirty-second | `UNSCANNED` |
//! | headers, slot maps, and the bins of threads that sleep | 2 MiB | and a thirty-second | what these two leave; nothing is held against it |
//! | freed mappings | 4 MiB | no more | `conf::MAPPING_CACHE` |
//! | retained, of all kinds | 32 MiB | or an eighth | `retained` |
//!
//! What grows is a part of the bytes of pools that may be resident, which holds the free parts of pools as well. What is free in pools before a
//! process has 2 MiB of them (`pool::events`), and the few empty pools that a heap keeps, count to the third row.
//!
//! What must hold: the first three are `conf::RESIDENT_BUDGET`, and the part that `conf::BUDGET_PART` allows.

use crate::conf;

/// A share of the resident budget. `arena::allowance` tells how many bytes it is.
#[derive(Clone, Copy)]
pub struct Share {
    /// It gets `conf::RESIDENT_BUDGET` divided by this...
    fixed_divisor: usize,
    /// ... and what `conf::BUDGET_PART` allows divided by this.
    growing_divisor: usize,
}

/// All of it.
pub const WHOLE: Share = Share {
    fixed_divisor: 1,
    growing_divisor: 1,
};

/// Free slots that hold pages. With an eighth of both, three C programs of `make bench` take 5 to 17 % more time, and
/// two CPython programs of ten 1 to 3 % less memory.
pub const FREE_SLOTS: Share = Share {
    fixed_divisor: 4,
    growing_divisor: 2,
};

/// Unscanned bytes of pools. With twice as much, a program of drifting sizes (`drift` of `make bench`) saves a twentieth of its time and
/// takes a twentieth more memory.
pub const UNSCANNED: Share = Share {
    fixed_divisor: 4,
    growing_divisor: 4,
};

impl Share {
    /// The share in bytes, in a process whose pools have `resident` bytes resident.
    #[inline]
    pub fn bytes(self, resident: usize) -> usize {
        let growing = resident.checked_div(conf::BUDGET_PART.get() * self.growing_divisor);
        // A part of 0 allows nothing.
        (conf::RESIDENT_BUDGET.get() / self.fixed_divisor).saturating_add(growing.unwrap_or(0))
    }
}

/// Bytes that all kinds together may retain resident in a small process, 32 MiB. `large` of `make bench`, whose free blocks are twice as
/// much, takes half as much time again under this limit. Without one, two buffers of 1,000 MiB would leave all of them.
pub const RETAINED_MOST: usize = 32 << 20;
/// In a large one they may retain this part of what is in use (1/8).
pub const RETAINED_PART: usize = 8;

/// Bytes that all kinds together may retain resident while `in_use` are in use.
pub fn retained(in_use: usize) -> usize {
    RETAINED_MOST.max(in_use / RETAINED_PART)
}

/// Freed mappings that stay when a block that is a mapping raises the peak, since they may serve it soon: half of what may be retained.
/// With none, buffers of 1 to 24 MiB fault in half as many pages again (`mappings.c reused`). With all, they pass their peak by as much.
pub const KEPT_FOR_OWN: usize = RETAINED_MOST / 2;
