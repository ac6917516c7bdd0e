//! The figures of the whole library: a structure for C programs, and the one list of their names and meanings, of which the table,
//! the XML and the JSON are made.
//!
//! What must hold: the lines of `FIGURES` are the fields of `Stats`, in their order. New figures come last: the size of the
//! structure is its version.

use core::ptr;

/// Figures of the whole library, counted by pymalloc_stats_get(): bytes where the name says so, else numbers. Later versions of the
/// library add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stats {
    /// Bytes of the whole process that are resident; 0 where /proc is not there. malloc_stats() and malloc_info() do not ask for it.
    pub resident: usize,
    /// Bytes of the blocks that the program has.
    pub bytes_in_use: usize,
    /// Bytes of the blocks that were freed and may be resident, freed mappings that are kept included.
    pub bytes_free: usize,
    /// Arenas mapped now.
    pub arenas_live: usize,
    /// The most that were mapped at one time.
    pub arenas_most: usize,
    /// Arenas mapped since the start.
    pub arenas_mapped: usize,
    /// Arenas unmapped since the start.
    pub arenas_unmapped: usize,
    /// Bytes of an arena.
    pub arenas_bytes: usize,
    /// Free slots of all arenas. An arena has 64 slots, of which one is its own.
    pub slots_free: usize,
    /// Free slots whose pages were given back since the start.
    pub slots_purged: usize,
    /// Bytes of the free slots that may be resident.
    pub slots_dirty_bytes: usize,
    /// Bytes of the blocks freed in pools since these were last scanned for free pages.
    pub pages_unscanned_bytes: usize,
    /// Bytes of the pages inside pools that were given back and are not in use again.
    pub pages_purged_bytes: usize,
    /// Bytes that may stay resident beyond all else since they were given back too early before.
    pub retained_bytes: usize,
    /// Large blocks: those that take whole slots.
    pub large_count: usize,
    /// Bytes of these.
    pub large_bytes: usize,
    /// Blocks that are mappings of their own.
    pub mappings_count: usize,
    /// Bytes of these.
    pub mappings_bytes: usize,
    /// Bytes of the freed mappings that are kept.
    pub mappings_kept_bytes: usize,
    /// Heaps that threads have.
    pub heaps_live: usize,
    /// Heaps that wait for a thread.
    pub heaps_spare: usize,
    /// Blocks freed since the start by threads that did not own their pool.
    pub remote_frees: usize,
    /// Bytes that may be resident without a live block: free slots, what was freed in pools, and freed mappings.
    pub budget_used_bytes: usize,
    /// How many that may be.
    pub budget_bytes: usize,
    /// Bytes without a live block, beside these, that the system may take at any moment. While it has memory enough they still count as resident.
    pub lazy_bytes: usize,
}

/// A line a figure, in the order of the fields: its name, and what it is. In JSON `group.name` is the member `name` of the object
/// `group`; elsewhere the name is that of the field. One text, since a list of texts would need a relocation each.
const FIGURES: &[u8] = b"\
resident bytes resident in the whole process
bytes_in_use bytes in use
bytes_free bytes free in pools and kept mappings
arenas.live arenas mapped now
arenas.most arenas mapped at most
arenas.mapped arenas mapped in all
arenas.unmapped arenas unmapped
arenas.bytes bytes per arena
slots.free free slots in arenas
slots.purged free slots purged
slots.dirty_bytes bytes of free slots that may be resident
pages.unscanned_bytes bytes freed in pools since their last scan
pages.purged_bytes bytes of purged pages in pools
retained_bytes bytes retained
large.count large blocks
large.bytes bytes of large blocks
mappings.count mappings of their own
mappings.bytes bytes of these
mappings.kept_bytes bytes of freed mappings kept
heaps.live heaps of threads
heaps.spare spare heaps
remote_frees remote frees
budget.used_bytes bytes without a live block that may be resident
budget.bytes bytes that are allowed to
lazy_bytes bytes that the system may take at any moment
";

const COUNT: usize = size_of::<Stats>() / size_of::<usize>();

const _: () = {
    let (mut lines, mut at) = (0, 0);
    while at < FIGURES.len() {
        lines += (FIGURES[at] == b'\n') as usize;
        at += 1;
    }
    assert!(lines == COUNT);
};

/// The names of what is known of a size class.
const COLUMN_NAMES: &[u8] = b"class size pools in_use free untouched ";

/// How many those are.
pub(super) const COLUMNS: usize = 6;

/// A figure.
pub struct Figure {
    /// The object that it is a member of in JSON; empty for none.
    pub group: &'static [u8],
    pub name: &'static [u8],
    pub meaning: &'static [u8],
    pub value: usize,
}

impl Figure {
    /// Whether it was asked for: every process has something resident.
    pub fn is_known(&self) -> bool {
        self.value > 0 || self.name != b"resident"
    }
}

/// Takes the part before the first `byte` off a text; nothing if it is not there.
#[inline(never)]
fn take_up_to<'a>(text: &mut &'a [u8], byte: u8) -> &'a [u8] {
    let mut parts = text.splitn(2, |found| *found == byte);
    match (parts.next(), parts.next()) {
        (Some(before), Some(behind)) => {
            *text = behind;
            before
        }
        _ => b"",
    }
}

impl Stats {
    /// Visits all figures, in order.
    #[inline(never)]
    pub fn each(&self, visit: &mut dyn FnMut(&Figure)) {
        // SAFETY: the structure is laid out as in C and has no fields but these.
        let values = unsafe { &*ptr::from_ref(self).cast::<[usize; COUNT]>() };
        let mut lines = FIGURES;
        for value in values {
            let mut meaning = take_up_to(&mut lines, b'\n');
            let mut name = take_up_to(&mut meaning, b' ');
            let group = take_up_to(&mut name, b'.');
            visit(&Figure {
                group,
                name,
                meaning,
                value: *value,
            });
        }
    }
}

/// Visits the figures of a row, each with its name.
#[inline(never)]
pub fn each_of(row: &[usize; COLUMNS], visit: &mut dyn FnMut(&[u8], usize)) {
    let mut names = COLUMN_NAMES;
    for value in row {
        visit(take_up_to(&mut names, b' '), *value);
    }
}
