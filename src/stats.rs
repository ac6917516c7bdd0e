//! Statistics: counted when they are asked for, by a walk over all arenas. Nothing is kept for them on a fast path.
//!
//! The walk holds the arenas still, not the threads: what they allocate and free meanwhile is counted or not.
//! Of a pool that another thread allocates from, all blocks that were cut count as in use.

use crate::arena;
use crate::geometry::{ARENA_SIZE, SLOT_SIZE};
use crate::heap::{Heap, roster};
use crate::large;
use crate::learn;
use crate::mapping;
use crate::pool::{Pool, pages};
use crate::report::Line;
use crate::size_class::{CLASSES, TABLE};

/// Figures of one size class.
#[derive(Clone, Copy, Default)]
pub struct ClassCounts {
    pub pools: usize,
    pub blocks_in_use: usize,
    pub blocks_free: usize,
    pub blocks_untouched: usize,
}

/// Figures of the whole library.
pub struct Stats {
    pub classes: [ClassCounts; CLASSES],
    pub arenas: arena::Counts,
    pub free_slots: usize,
    pub runs: usize,
    pub run_bytes: usize,
    pub mappings: mapping::Counts,
    pub heaps: roster::Counts,
    /// Bytes of the blocks noted in used pools, whose pages may be free.
    pub loose_bytes: usize,
    /// Bytes of purged pages inside pools.
    pub purged_inside: usize,
    /// Bytes kept beyond the slack, since they were given back too early before.
    pub learned_bytes: usize,
}

/// Counts everything; `own` is the calling thread's heap.
pub fn collect(own: Option<&Heap>) -> Stats {
    let mut stats = Stats {
        classes: [ClassCounts::default(); CLASSES],
        arenas: arena::Counts::default(),
        free_slots: 0,
        runs: 0,
        run_bytes: 0,
        mappings: mapping::counts(),
        heaps: roster::counts(),
        loose_bytes: pages::loose_bytes(),
        purged_inside: arena::purged_inside(),
        learned_bytes: learn::kept_bytes(),
    };
    let Stats {
        classes,
        free_slots,
        runs,
        run_bytes,
        ..
    } = &mut stats;
    let arenas = arena::each(|view| {
        *free_slots += view.free_slots;
        for header in view.runs() {
            // SAFETY: the header of an allocated run, and the arenas are held still.
            let pool = unsafe { Pool::at(header) };
            if pool.class() == 0 {
                *runs += 1;
                *run_bytes += large::size_of(pool);
                continue;
            }
            let (counts, class) = (&mut classes[pool.class()], &TABLE[pool.class()]);
            let cut = pool.cut_blocks() as usize;
            let in_use = match own {
                Some(heap) => heap.blocks_in_use(pool),
                None => pool.blocks_in_use(),
            } as usize;
            counts.pools += 1;
            counts.blocks_in_use += in_use;
            let hidden = pool.hidden_blocks() as usize;
            counts.blocks_free += cut.saturating_sub(in_use + hidden);
            counts.blocks_untouched += class.blocks as usize - cut + hidden;
        }
    });
    stats.arenas = arenas;
    stats
}

impl Stats {
    /// Bytes of the blocks that the program has, all layers together.
    pub fn bytes_in_use(&self) -> usize {
        self.in_classes(|counts| counts.blocks_in_use) + self.run_bytes + self.mappings.live_bytes
    }

    /// Bytes of blocks that were freed and are kept, freed mappings included.
    pub fn bytes_free(&self) -> usize {
        self.in_classes(|counts| counts.blocks_free) + self.mappings.cached_bytes
    }

    /// Bytes of address space that the arenas take.
    pub fn arena_bytes(&self) -> usize {
        self.arenas.live * ARENA_SIZE
    }

    /// Bytes of free slots.
    pub fn free_slot_bytes(&self) -> usize {
        self.free_slots * SLOT_SIZE
    }

    fn in_classes(&self, blocks: impl Fn(&ClassCounts) -> usize) -> usize {
        self.classes
            .iter()
            .zip(&TABLE)
            .map(|(counts, class)| blocks(counts) * class.block_size as usize)
            .sum()
    }

    /// The classes that have pools, with their block size.
    pub fn used_classes(&self) -> impl Iterator<Item = (usize, usize, &ClassCounts)> {
        self.classes
            .iter()
            .zip(&TABLE)
            .enumerate()
            .filter(|(_, (counts, _))| counts.pools > 0)
            .map(|(class, (counts, entry))| (class, entry.block_size as usize, counts))
    }

    /// Writes a table to `sink`, line by line.
    pub fn write(&self, sink: impl Fn(Line)) {
        sink(Line::message().text("statistics"));
        sink(
            Line::empty()
                .text("class   size    pools   in use     free  untouched     bytes in use"),
        );
        for (class, size, counts) in self.used_classes() {
            sink(
                Line::empty()
                    .number_in(class, 5)
                    .number_in(size, 7)
                    .number_in(counts.pools, 9)
                    .number_in(counts.blocks_in_use, 9)
                    .number_in(counts.blocks_free, 9)
                    .number_in(counts.blocks_untouched, 11)
                    .number_in(counts.blocks_in_use * size, 17),
            );
        }
        let pools: usize = self.classes.iter().map(|counts| counts.pools).sum();
        let in_use: usize = self.classes.iter().map(|counts| counts.blocks_in_use).sum();
        for (name, value) in [
            ("arenas mapped now", self.arenas.live),
            ("arenas mapped at most", self.arenas.most),
            ("arenas mapped in all", self.arenas.mapped),
            ("arenas unmapped", self.arenas.unmapped),
            ("bytes per arena", ARENA_SIZE),
            ("free slots in arenas", self.free_slots),
            ("free slots purged", self.arenas.purged),
            (
                "bytes of free slots that may be resident",
                self.arenas.dirty_bytes,
            ),
            ("bytes noted in used pools", self.loose_bytes),
            ("bytes of purged pages in pools", self.purged_inside),
            ("bytes learned to keep", self.learned_bytes),
            ("pools", pools),
            ("blocks in use in pools", in_use),
            ("large blocks", self.runs),
            ("bytes of large blocks", self.run_bytes),
            ("mappings of their own", self.mappings.live),
            ("bytes of these", self.mappings.live_bytes),
            ("bytes of freed mappings kept", self.mappings.cached_bytes),
            ("heaps of threads", self.heaps.live),
            ("spare heaps", self.heaps.spare),
            ("remote frees", self.heaps.remote_frees),
            ("bytes in use", self.bytes_in_use()),
            ("bytes free in pools and caches", self.bytes_free()),
        ] {
            sink(Line::empty().number_in(value, 17).text("  ").text(name));
        }
    }

    /// Writes an XML document to `sink`, line by line.
    pub fn write_xml(&self, sink: impl Fn(Line)) {
        let element = |name: &str, value: usize| {
            sink(
                Line::empty()
                    .text("<")
                    .text(name)
                    .text(">")
                    .number(value)
                    .text("</")
                    .text(name)
                    .text(">"),
            );
        };
        sink(Line::empty().text("<malloc version=\"pymalloc-1\">"));
        for (class, size, counts) in self.used_classes() {
            sink(
                Line::empty()
                    .text("<class number=\"")
                    .number(class)
                    .text("\" size=\"")
                    .number(size)
                    .text("\" pools=\"")
                    .number(counts.pools)
                    .text("\" allocated=\"")
                    .number(counts.blocks_in_use)
                    .text("\" free=\"")
                    .number(counts.blocks_free)
                    .text("\" untouched=\"")
                    .number(counts.blocks_untouched)
                    .text("\"/>"),
            );
        }
        element("arenas", self.arenas.live);
        element("arenas_most", self.arenas.most);
        element("arenas_mapped", self.arenas.mapped);
        element("arenas_unmapped", self.arenas.unmapped);
        element("arena_bytes", self.arena_bytes());
        element("free_slot_bytes", self.free_slot_bytes());
        element("slots_purged", self.arenas.purged);
        element("dirty_slot_bytes", self.arenas.dirty_bytes);
        element("loose_bytes", self.loose_bytes);
        element("purged_page_bytes", self.purged_inside);
        element("learned_bytes", self.learned_bytes);
        element("large_blocks", self.runs);
        element("large_bytes", self.run_bytes);
        element("mappings", self.mappings.live);
        element("mapping_bytes", self.mappings.live_bytes);
        element("kept_mapping_bytes", self.mappings.cached_bytes);
        element("heaps", self.heaps.live);
        element("spare_heaps", self.heaps.spare);
        element("remote_frees", self.heaps.remote_frees);
        element("bytes_in_use", self.bytes_in_use());
        element("bytes_free", self.bytes_free());
        sink(Line::empty().text("</malloc>"));
    }
}
