//! All mappings: the blocks, and the freed ones that are kept.
//!
//! What it owns: `MAPPINGS`, behind the one lock of the mappings, and how much may stay of them.

use super::cache::Cache;
use super::stuck::Stuck;
use crate::conf;
use crate::layout::layout;
use crate::os;
use crate::registry::{Entry, Registry};
use crate::retain::{self, Retained};
use crate::sync::Lock;

pub struct Mappings {
    pub(super) live: Registry,
    pub(super) live_bytes: usize,
    pub(super) live_count: usize,
    pub(super) cache: Cache,
    pub(super) stuck: Stuck,
    /// Memory that stays beyond `conf::MAPPING_CACHE`.
    pub(super) retained: Retained,
}

pub static MAPPINGS: Lock<Mappings> = Lock::new(Mappings {
    live: Registry::empty(),
    live_bytes: 0,
    live_count: 0,
    cache: Cache::empty(),
    stuck: Stuck::empty(),
    retained: Retained::nothing(),
});

/// See `layout`.
pub const LAYOUT: u64 = layout! {
    Mappings { live, live_bytes, live_count, cache }
    Cache { bytes, lazy_bytes }
    Lock<Mappings> {}
};

impl Mappings {
    /// Counts a live block that was entered.
    pub(super) fn count(&mut self, entry: &Entry) {
        self.live_bytes += entry.size;
        self.live_count += 1;
    }

    pub(super) fn uncount(&mut self, entry: &Entry) {
        self.live_bytes -= entry.size;
        self.live_count -= 1;
    }

    /// Enters a live block, for which there is room.
    pub(super) fn enter(&mut self, entry: Entry) {
        self.live.insert(entry);
        self.count(&entry);
    }

    /// Enters a live block that was promised.
    pub(super) fn fulfil(&mut self, entry: Entry) {
        self.live.fulfil(entry);
        self.count(&entry);
    }

    /// Takes a live block out, if `address` is one.
    pub(super) fn remove(&mut self, address: usize) -> Option<Entry> {
        let entry = self.live.remove(address)?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Takes a live block out that comes back, at this address or another.
    pub(super) fn remove_for_a_while(&mut self, address: usize) -> Option<Entry> {
        let entry = self.live.remove_for_a_while(address)?;
        self.uncount(&entry);
        Some(entry)
    }

    /// Bytes of freed mappings that may be kept, lazy ones included.
    pub(super) fn capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.retained.wanted())
    }

    /// Bytes of freed mappings that may stay resident.
    pub(super) fn resident_capacity(&self) -> usize {
        conf::MAPPING_CACHE
            .get()
            .saturating_add(self.retained.resident())
    }

    /// Takes the next mapping that must go, so that the cache becomes smaller by `bytes`; with `resident` its resident part. With
    /// `counts` the mapping counts as given back (`retain`).
    pub(super) fn give_back(
        &mut self,
        bytes: usize,
        resident: bool,
        counts: bool,
    ) -> Option<Entry> {
        if let Some(entry) = self.cache.take_unwritten() {
            // Not counted: it costs nothing to ask for them again.
            return Some(entry);
        }
        let pages = os::round_to_pages(bytes).unwrap_or(usize::MAX);
        let entry = self.cache.take_oldest_end(pages, resident)?;
        if counts {
            self.retained.give_back(entry.size, retain::now());
        }
        Some(entry)
    }

    /// Takes a mapping that may not stay, before `more` bytes are kept. `None` when none must go.
    pub(super) fn surplus(&mut self, more: usize) -> Option<Entry> {
        let over = (self.cache.bytes + more).saturating_sub(self.capacity());
        if over > 0 && self.cache.bytes > 0 {
            return self.give_back(over, false, true);
        }
        let over = self
            .cache
            .resident_bytes()
            .saturating_sub(self.resident_capacity());
        (over > 0).then(|| self.give_back(over, true, true))?
    }

    /// Bytes that are wanted and unused.
    pub(super) fn unused(&self) -> usize {
        self.cache.bytes.saturating_sub(conf::MAPPING_CACHE.get())
    }

    /// Tells `retained` how many of the wanted bytes are unused; `in_turn` after each change of the cache.
    #[inline(never)]
    pub(super) fn observe(&mut self, in_turn: bool) {
        if self.retained.wanted() == 0 {
            return;
        }
        let (unused, live) = (self.unused(), self.live_bytes);
        match in_turn {
            true => self.retained.observe_in_turn(unused, live, retain::now),
            false => self.retained.observe(unused, live, retain::now()),
        };
    }

    /// Wants `bytes` less, as far as they are unused. Returns how many must go.
    pub(super) fn give_up(&mut self, bytes: usize) -> usize {
        let unused = self.unused();
        self.retained.give_up(bytes, unused)
    }
}
