//! Counts the figures, by a walk over all arenas.
//!
//! The walk holds the arenas still, not the threads: what they allocate and free meanwhile is counted or not.

use super::figures::{self, Stats};
use crate::arena;
use crate::budget::WHOLE;
use crate::conf;
use crate::geometry::ARENA_SIZE;
use crate::heap;
use crate::large;
use crate::mapping;
use crate::os;
use crate::pool::{Pool, State, unscanned_bytes};
use crate::retain;
use crate::size_class::{CLASSES, TABLE};

/// Figures of pools: of one, or of a size class.
#[derive(Clone, Copy, Default)]
pub struct Blocks {
    pub pools: usize,
    pub in_use: usize,
    /// Freed, on whatever list.
    pub free: usize,
    /// Never handed out, or on purged pages.
    pub untouched: usize,
}

/// Figures of the whole library, and those of each size class.
pub struct Counted {
    /// The number of the process; 0 until `of_this_process` asks for it.
    pub pid: u32,
    pub whole: Stats,
    /// Blocks in pools that were freed.
    pub free_blocks: usize,
    classes: [Blocks; CLASSES],
}

/// Row of the table of size classes.
type Row = [usize; figures::COLUMNS];

impl Blocks {
    /// Counts the blocks of a pool, in an arena that is held still. Those in bins count as in use.
    pub fn of(pool: &Pool) -> Blocks {
        let carved = pool.carved_blocks();
        let listed = carved.saturating_sub(pool.purged_blocks());
        let in_use = match pool.state() {
            State::Used | State::InHand | State::Abandoned | State::Full => {
                pool.in_use().saturating_sub(pool.remote.count())
            }
            State::Vacant => 0,
        }
        .min(listed);
        Blocks {
            pools: 1,
            in_use: in_use as usize,
            free: (listed - in_use) as usize,
            untouched: (pool.size_class().blocks - listed) as usize,
        }
    }

    /// Counts as free the blocks in bins, which to their pools are in use.
    fn free_from_bin(&mut self, count: usize) {
        let count = count.min(self.in_use);
        self.in_use -= count;
        self.free += count;
    }

    fn add(&mut self, other: Blocks) {
        self.pools += other.pools;
        self.in_use += other.in_use;
        self.free += other.free;
        self.untouched += other.untouched;
    }
}

/// Walks over all arenas, and adds their pools to `classes`. Blocks in bins count as in use. Returns the figures of the arenas, the number of
/// their free slots, and the number and bytes of large blocks.
#[inline]
fn walk(classes: &mut [Blocks; CLASSES]) -> (arena::Counts, usize, usize, usize) {
    let (mut free_slots, mut large, mut large_bytes) = (0, 0, 0);
    let counts = arena::each(&mut |view| {
        free_slots += view.free_slots;
        for header in view.runs() {
            // SAFETY: the header of an allocated run, and the arenas are held still.
            let pool = unsafe { Pool::at(header) };
            match classes.get_mut(pool.class()) {
                Some(class) if pool.class() > 0 => class.add(Blocks::of(pool)),
                _ => {
                    large += 1;
                    large_bytes += large::size_of(pool);
                }
            }
        }
    });
    (counts, free_slots, large, large_bytes)
}

/// Counts everything that the library knows by itself. It makes no system call: a filter may end the process at one that it does not
/// know, and the functions of the malloc family tell these figures.
#[inline(never)]
pub fn collect() -> Counted {
    let (mappings, heaps) = (mapping::counts(), heap::counts());
    let mut classes = [Blocks::default(); CLASSES];
    let (arenas, free_slots, large, large_bytes) = walk(&mut classes);
    for (blocks, in_bin) in classes.iter_mut().zip(heaps.in_bins) {
        blocks.free_from_bin(in_bin);
    }
    let (mut free_blocks, mut in_use, mut free) = (0, 0, 0);
    for (blocks, class) in classes.iter().zip(&TABLE) {
        free_blocks += blocks.free;
        in_use += blocks.in_use * class.block_size as usize;
        free += blocks.free * class.block_size as usize;
    }
    let (unscanned, retained) = (unscanned_bytes(), retain::retained_bytes());
    let whole = Stats {
        resident: 0,
        bytes_in_use: in_use + large_bytes + mappings.live_bytes,
        bytes_free: free + mappings.cached_bytes,
        arenas_live: arenas.live,
        arenas_most: arenas.most,
        arenas_mapped: arenas.mapped,
        arenas_unmapped: arenas.unmapped,
        arenas_bytes: ARENA_SIZE,
        slots_free: free_slots,
        slots_purged: arenas.purged,
        slots_dirty_bytes: arenas.dirty_bytes,
        pages_unscanned_bytes: unscanned,
        pages_purged_bytes: arena::purged_inside(),
        retained_bytes: retained,
        large_count: large,
        large_bytes,
        mappings_count: mappings.live,
        mappings_bytes: mappings.live_bytes,
        mappings_kept_bytes: mappings.cached_bytes,
        heaps_live: heaps.live,
        heaps_spare: heaps.spare,
        remote_frees: heaps.remote_frees,
        budget_used_bytes: arenas.dirty_bytes + unscanned + mappings.cached_bytes,
        budget_bytes: arena::allowance(WHOLE)
            .saturating_add(conf::MAPPING_CACHE.get())
            .saturating_add(retained),
        lazy_bytes: arenas.lazy_bytes + mappings.lazy_bytes,
    };
    Counted {
        pid: 0,
        whole,
        classes,
        free_blocks,
    }
}

impl Counted {
    /// The same figures with those that only the system knows.
    #[inline(never)]
    pub fn of_this_process(mut self) -> Self {
        self.pid = os::process_id();
        self.whole.resident = os::resident_bytes();
        self
    }

    /// Visits a row for each class that has pools: what `figures::COLUMNS` names.
    #[inline(never)]
    pub fn each_row(&self, visit: &mut dyn FnMut(&Row)) {
        for (class, (blocks, entry)) in self.classes.iter().zip(&TABLE).enumerate() {
            if blocks.pools > 0 {
                visit(&[
                    class,
                    entry.block_size as usize,
                    blocks.pools,
                    blocks.in_use,
                    blocks.free,
                    blocks.untouched,
                ]);
            }
        }
    }
}
