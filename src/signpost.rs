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
use crate::conf;
use crate::geometry::{ARENA_SHIFT, HEADER_SHIFT, MAX_POOLED, SLOT_SHIFT};
use crate::heap::heaps;
use crate::layout::mix;
use crate::mapping;
use crate::pool;
use crate::registry;
use crate::retain;
use crate::size_class::CLASSES;
use core::arch::global_asm;

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
    pool::Block::free_mark(0) as u64,
    registry::LAYOUT,
    mapping::LAYOUT,
    conf::LAYOUT,
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

/// Makes the note, and `own_parts`, of the statics that the statistics are made of.
macro_rules! parts {
    ($($name:ident = $static:path,)*) => {
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
            $(concat!(".quad {", stringify!($name), "} - ."),)*
            "775:",
            ".popsection",
            name_size = const NOTE_NAME.len(),
            note_type = const NOTE_TYPE,
            layout = const LAYOUT,
            version_size = const VERSION_SIZE,
            $($name = sym $static,)*
        );

        /// How many statics there are.
        pub const PARTS: usize = [$(stringify!($name)),*].len();

        /// This program's own statics, in the order of the note: start and size.
        pub fn own_parts() -> [(*mut u8, usize); PARTS] {
            [$(part(&$static)),*]
        }
    };
}

fn part<T: Sync>(part: &'static T) -> (*mut u8, usize) {
    (core::ptr::from_ref(part).cast_mut().cast(), size_of::<T>())
}

parts! {
    arenas = arena::ARENAS,
    map = arena::MAP,
    taken = arena::TAKEN_SLOTS,
    large = arena::LARGE_SLOTS,
    purged_inside = arena::PURGED_INSIDE,
    unscanned = pool::UNSCANNED,
    retained = retain::RETAINED,
    mapping_cache = conf::MAPPING_CACHE,
    resident_budget = conf::RESIDENT_BUDGET,
    budget_part = conf::BUDGET_PART,
    mappings = mapping::MAPPINGS,
    heaps = heaps::LAST,
}
