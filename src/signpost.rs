//! The signpost: where the library's statics are, for `pymalloc-watch`, which reads them from outside.
//!
//! What it owns: an ELF note, `pymalloc`. A note is found in the memory of a process by its program headers, whether the
//! library is preloaded, linked or inside the program, stripped, replaced on disk or in a container. Nothing is exported for it,
//! nothing is relocated for it and nothing runs for it.
//!
//! ```text
//!   name size, description size, type, "pymalloc", LAYOUT, version, the distance from here to each of the statics
//! ```
//!
//! What must hold: two builds with the same `LAYOUT`, which the version is a part of, name the same statics in the same order, with
//! the same structures in them.

use crate::arena;
use crate::conf::{self, Setting};
use crate::geometry::{ARENA_SHIFT, HEADER_SHIFT, MAX_POOLED, SLOT_SHIFT};
use crate::heap::heaps;
use crate::layout::mix;
use crate::mapping;
use crate::pool;
use crate::registry;
use crate::retain;
use crate::size_class::CLASSES;
use core::arch::global_asm;

/// How many statics the statistics are made of. Of a setting it is the value alone.
pub const PARTS: usize = 12;

/// The number of everything that is read from outside.
pub const LAYOUT: u64 = mix(&[
    crate::layout::of_text(env!("CARGO_PKG_VERSION")),
    PARTS as u64,
    ARENA_SHIFT as u64,
    SLOT_SHIFT as u64,
    HEADER_SHIFT as u64,
    MAX_POOLED as u64,
    CLASSES as u64,
    arena::LAYOUT,
    pool::LAYOUT,
    registry::LAYOUT,
    mapping::LAYOUT,
    heaps::LAYOUT,
]);

/// The name of the note, and its type.
pub const NOTE_NAME: &[u8] = b"pymalloc\0";
pub const NOTE_TYPE: u32 = 1;
/// Bytes of the version in it, which ends with zeroes.
pub const VERSION_SIZE: usize = 16;

/// Without bytes. A Rust program links an object file of this crate only for something in it that is used: this one is, and the
/// note is in the same file.
#[used]
static LINKED: () = ();

global_asm!(
    ".pushsection .note.pymalloc, \"a\", @note",
    ".balign 4",
    ".long {name_size}",
    ".long 775f - 772f",
    ".long {note_type}",
    ".asciz \"pymalloc\"",
    ".balign 4",
    "772:",
    ".quad {layout}",
    "773:",
    concat!(".asciz \"", env!("CARGO_PKG_VERSION"), "\""),
    "774:",
    ".space {version_size} - (774b - 773b)",
    ".quad {arenas} - .",
    ".quad {map} - .",
    ".quad {taken} - .",
    ".quad {large} - .",
    ".quad {purged_inside} - .",
    ".quad {unscanned} - .",
    ".quad {retained} - .",
    ".quad {mapping_cache} + {value} - .",
    ".quad {resident_budget} + {value} - .",
    ".quad {budget_part} + {value} - .",
    ".quad {mappings} - .",
    ".quad {heaps} - .",
    "775:",
    ".popsection",
    name_size = const NOTE_NAME.len(),
    note_type = const NOTE_TYPE,
    layout = const LAYOUT,
    version_size = const VERSION_SIZE,
    arenas = sym arena::ARENAS,
    map = sym arena::MAP,
    taken = sym arena::TAKEN_SLOTS,
    large = sym arena::LARGE_SLOTS,
    purged_inside = sym arena::PURGED_INSIDE,
    unscanned = sym pool::UNSCANNED,
    retained = sym retain::RETAINED,
    mapping_cache = sym conf::MAPPING_CACHE,
    resident_budget = sym conf::RESIDENT_BUDGET,
    budget_part = sym conf::BUDGET_PART,
    value = const Setting::VALUE,
    mappings = sym mapping::MAPPINGS,
    heaps = sym heaps::LAST,
);

/// This program's own statics, in the order of the note: start and size.
pub fn own_parts() -> [(*mut u8, usize); PARTS] {
    fn part<T: Sync>(part: &'static T) -> (*mut u8, usize) {
        (core::ptr::from_ref(part).cast_mut().cast(), size_of::<T>())
    }
    [
        part(&arena::ARENAS),
        part(&arena::MAP),
        part(&arena::TAKEN_SLOTS),
        part(&arena::LARGE_SLOTS),
        part(&arena::PURGED_INSIDE),
        part(&pool::UNSCANNED),
        part(&retain::RETAINED),
        part(conf::MAPPING_CACHE.place()),
        part(conf::RESIDENT_BUDGET.place()),
        part(conf::BUDGET_PART.place()),
        part(&mapping::MAPPINGS),
        part(&heaps::LAST),
    ]
}
