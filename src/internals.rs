//! What the other crates of this repository take from the library. It is no part of the interface: anything here may change in every version.
//!
//! What must hold: all that is named here is taken, so that the compiler still tells what nobody uses. `structures` is for `pymalloc-watch` alone,
//! the rest for the C library (`c/`) too.

pub mod alloc {
    pub use crate::alloc::{allocate_aligned_beyond_bins, allocate_beyond_bins, free_elsewhere};
    pub use crate::fast::{
        allocate, allocate_aligned, allocate_aligned_from, allocate_from, allocate_or,
        allocate_zeroed, allocate_zeroed_or, free, free_or, resize_or, usable_size,
    };
    pub use crate::relief::trim;
    pub use crate::resize::resize;
}
pub mod fault {
    pub use crate::fault::Call;
}
pub mod geometry {
    pub use crate::geometry::{
        ARENA_MASK, ARENA_SIZE, BLOCK_ALIGN, HEADER_SIZE, SLOT_SHIFT, SLOT_SIZE, SLOTS,
    };
}
pub mod heapmap {
    pub use crate::heapmap::write;
}
pub mod inspect {
    pub use crate::inspect::{Info, Kind, inspect};
}
pub mod os {
    pub use crate::os::{abort, map, map_aligned, page_size, round_to_pages, set_errno, try_unmap};
}
pub mod report {
    pub use crate::report::{BUFFER, Sink, Text, line, message};
}
pub mod stats {
    pub use crate::stats::{Blocks, Counted, Stats, collect, print};
}
pub mod thread {
    pub use crate::thread::{current_for_derived, link_derived, slot_table_for_derived};
}

/// For `pymalloc-watch` alone: the structures of the library, in which it lays those of another process.
pub mod structures {
    pub use crate::heap::Heap;
    pub use crate::large::size_of as size_of_run;
    pub use crate::mapping::MAPPINGS;
    pub use crate::mapping::table_elsewhere as table_of_mappings_elsewhere;
    pub use crate::pool::{Block, Pool};
    pub use crate::process::look_outside;
    pub use crate::registry::{Entry, Registry};
    pub use crate::signpost::{LAYOUT, NOTE_NAME, NOTE_TYPE, PARTS, VERSION_SIZE, own_parts};

    pub mod arena {
        pub use crate::arena::outside::{
            enter, forget_overflow, may_be_base, take_map, take_overflow,
        };
        pub use crate::arena::{ARENAS, each};
    }
    pub mod heaps {
        pub use crate::heap::heaps::outside::{enter, forget};
    }
}
