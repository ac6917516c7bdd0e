//! The cache of freed mappings, so that a loop of large temporaries does not fault its pages anew each time.
//!
//! What it owns: at most `CACHED` freed mappings, oldest first. One is split for a smaller block, and joined again when that is freed. The
//! system still sees two mappings where two were joined: it refuses to resize a block across both, and that block is copied.
//!
//! Pages of a mapping that the program has never written are worth nothing when the mapping serves again. No block is taken from them,
//! nothing is joined behind them, they go back first, and they do not count as wanted.
//!
//! The end of a mapping may be *lazy*: the system may take its pages at any moment. It does not count as resident.

use super::part::{fits, has_room, joined, split_start, touches};
use super::written::{UNWRITTEN_PART, written_part};
use crate::registry::Entry;

/// The most freed mappings that are kept. Few, since they are searched one by one.
const CACHED: usize = 16;

/// A freed mapping.
#[derive(Clone, Copy)]
pub struct Kept {
    pub whole: Entry,
    /// Bytes in front of the pages that were never written.
    written: usize,
    /// Bytes at its end whose pages the system may take at any moment. Perhaps more are.
    pub lazy: usize,
}

const NONE: Kept = Kept {
    whole: Entry {
        address: 0,
        size: 0,
    },
    written: 0,
    lazy: 0,
};

impl Kept {
    /// A mapping that was freed just now. Asks the system how much of it was written: not with a lock held.
    pub fn of(whole: Entry) -> Self {
        let written = written_part(&whole);
        let counts_as_written = whole.size - written <= whole.size / UNWRITTEN_PART;
        Kept {
            whole,
            written: if counts_as_written {
                whole.size
            } else {
                written
            },
            lazy: 0,
        }
    }

    /// Bytes that may be resident.
    fn resident(&self) -> usize {
        self.whole.size - self.lazy
    }

    /// The next bytes from its end that are to become lazy, at most `bytes`; and the mapping as it is afterwards.
    pub fn more_lazy(&self, bytes: usize) -> (Entry, Kept) {
        let bytes = bytes.min(self.resident());
        let range = Entry {
            address: self.whole.address + self.resident() - bytes,
            size: bytes,
        };
        let lazier = Kept {
            lazy: self.lazy + bytes,
            ..*self
        };
        (range, lazier)
    }

    fn unwritten(&self) -> usize {
        self.whole.size - self.written
    }

    /// Takes `bytes` off the start, which are written.
    fn split_start(&mut self, bytes: usize) -> Entry {
        debug_assert!(bytes <= self.written);
        self.written -= bytes;
        let start = split_start(&mut self.whole, bytes);
        self.lazy = self.lazy.min(self.whole.size);
        start
    }

    /// Takes `bytes` off the end.
    fn split_end(&mut self, bytes: usize) -> Entry {
        self.whole.size -= bytes;
        self.lazy = self.lazy.saturating_sub(bytes);
        self.written = self.written.min(self.whole.size);
        Entry {
            address: self.whole.address + self.whole.size,
            size: bytes,
        }
    }

    /// Both as one, if they touch, and the pages between them are written. Lazy pages in the middle count as resident.
    fn joined(&self, other: &Self) -> Option<Self> {
        let (lower, upper) = match self.whole.address < other.whole.address {
            true => (self, other),
            false => (other, self),
        };
        let join = touches(&lower.whole, &upper.whole) && lower.unwritten() == 0;
        join.then(|| Kept {
            whole: joined(&lower.whole, &upper.whole),
            written: lower.whole.size + upper.written,
            lazy: upper.lazy + if upper.resident() == 0 { lower.lazy } else { 0 },
        })
    }
}

pub struct Cache {
    /// Freed mappings, oldest first.
    kept: [Kept; CACHED],
    count: usize,
    /// Bytes of all.
    pub bytes: usize,
    /// Those of them that are lazy.
    pub lazy_bytes: usize,
}

impl Cache {
    pub const fn empty() -> Self {
        Cache {
            kept: [NONE; CACHED],
            count: 0,
            bytes: 0,
            lazy_bytes: 0,
        }
    }

    pub fn resident_bytes(&self) -> usize {
        self.bytes - self.lazy_bytes
    }

    /// The kept mappings, oldest first, with their numbers.
    fn all(&self) -> impl DoubleEndedIterator<Item = (usize, &Kept)> {
        let kept = self.kept.get(..self.count).unwrap_or(&[]);
        kept.iter().enumerate()
    }

    fn count(&mut self, kept: &Kept) {
        self.bytes += kept.whole.size;
        self.lazy_bytes += kept.lazy;
    }

    fn uncount(&mut self, kept: &Kept) {
        self.bytes -= kept.whole.size;
        self.lazy_bytes -= kept.lazy;
    }

    /// Splits mapping number `index`. Returns the part that `split` takes off it.
    #[inline(never)]
    fn split(&mut self, index: usize, split: impl FnOnce(&mut Kept) -> Entry) -> Entry {
        let mut kept = self.kept[index];
        self.uncount(&kept);
        let entry = split(&mut kept);
        self.count(&kept);
        self.kept[index] = kept;
        entry
    }

    /// Takes mapping number `index` out.
    #[inline(never)]
    fn take(&mut self, index: usize) -> Kept {
        let last = self.count - 1;
        let kept = self.kept[index];
        for place in index..last {
            self.kept.swap(place, place + 1);
        }
        self.count = last;
        self.uncount(&kept);
        kept
    }

    /// Takes the oldest out.
    pub fn take_oldest(&mut self) -> Option<Entry> {
        (self.count > 0).then(|| self.take(0).whole)
    }

    /// Takes the oldest out if there is no place for one more.
    pub fn take_if_full(&mut self, newcomer: &Kept) -> Option<Entry> {
        let is_full = self.count == CACHED && self.beside(newcomer).is_none();
        is_full.then(|| self.take(0).whole)
    }

    /// Takes the end of a mapping out, or all of it when nothing would be left.
    fn take_end(&mut self, index: usize, bytes: usize) -> Entry {
        if bytes >= self.kept[index].whole.size {
            return self.take(index).whole;
        }
        self.split(index, |kept| kept.split_end(bytes))
    }

    /// Takes pages out that were never written, however many they are: they serve least.
    pub fn take_unwritten(&mut self) -> Option<Entry> {
        let (index, unwritten) = self
            .all()
            .map(|(index, kept)| (index, kept.unwritten()))
            .find(|(_, unwritten)| *unwritten > 0)?;
        Some(self.take_end(index, unwritten))
    }

    /// Takes `bytes`, whole pages, off the end of the oldest mapping; with `resident` of the oldest that is not lazy. Not all of it:
    /// a joined one may be most of the cache.
    pub fn take_oldest_end(&mut self, bytes: usize, resident: bool) -> Option<Entry> {
        let (index, _) = self
            .all()
            .find(|(_, kept)| !resident || kept.resident() > 0)?;
        Some(self.take_end(index, bytes))
    }

    /// The number of a mapping that may be joined with `newcomer`, and both as one.
    #[inline(never)]
    fn beside(&self, newcomer: &Kept) -> Option<(usize, Kept)> {
        self.all()
            .find_map(|(index, other)| Some((index, newcomer.joined(other)?)))
    }

    /// Takes the oldest mapping out that is not lazy as a whole.
    pub fn take_oldest_resident(&mut self) -> Option<Kept> {
        let (index, _) = self.all().find(|(_, kept)| kept.resident() > 0)?;
        Some(self.take(index))
    }

    /// Puts a mapping back, for which there is a place, as the oldest.
    pub fn keep_oldest(&mut self, kept: Kept) {
        self.keep(kept);
        self.kept[..self.count].rotate_right(1);
    }

    /// Keeps a freed mapping, for which there is a place, joined with those that it touches, so that the parts of one come together again. The
    /// system may still see two in them: then it refuses to resize the whole.
    #[inline(never)]
    pub fn keep(&mut self, mut newcomer: Kept) {
        while let Some((index, both)) = self.beside(&newcomer) {
            self.take(index);
            newcomer = both;
        }
        self.count(&newcomer);
        self.kept[self.count] = newcomer;
        self.count += 1;
    }

    /// The largest mapping, to be resized so that its pages serve again: none fits a block.
    pub fn take_smaller(&mut self) -> Option<Kept> {
        let (index, _) = self.all().max_by_key(|(_, kept)| kept.whole.size)?;
        Some(self.take(index))
    }

    /// The newest mapping that fits: its pages are the likeliest to be in a processor's cache. Else the start of the smallest larger one,
    /// if it was written that far; the rest keeps its place in the list.
    pub fn reuse(&mut self, size: usize, align: usize) -> Option<Kept> {
        let fitting = self
            .all()
            .rev()
            .find(|(_, kept)| fits(&kept.whole, size, align))
            .map(|(index, _)| index);
        if let Some(index) = fitting {
            return Some(self.take(index));
        }
        let (index, _) = self
            .all()
            .filter(|(_, kept)| has_room(&kept.whole, size, align) && kept.written > size)
            .min_by_key(|(_, kept)| kept.whole.size)?;
        let lazy = self.kept[index].lazy;
        let whole = self.split(index, |kept| kept.split_start(size));
        Some(Kept {
            whole,
            written: size,
            lazy: lazy - self.kept[index].lazy,
        })
    }
}
