//! The slack of pools: how many bytes may stay resident in used pools without a live block.
//!
//! What it owns: the two constants. The bytes themselves are counted by `pool::pages`, the pools by `arena`.
//!
//! Together with what the arenas keep of free slots (`arena::DIRTY_ALLOWED`) and the cache of mappings this stays within
//! an eighth of the pages in use and 8 MiB.

use crate::arena;
use crate::pool::pages;

/// Bytes that may be loose in however small a process.
const LOOSE_ALLOWED: usize = 3 << 19;
/// And beside them this part of what is resident in arenas: a thirty-second.
const LOOSE_PART: usize = 32;

fn allowed() -> usize {
    LOOSE_ALLOWED + arena::resident_bytes() / LOOSE_PART
}

/// Whether pools with notes must be looked at.
pub fn is_used_up() -> bool {
    pages::loose_bytes() > allowed()
}

/// Whether a thread that ends must look at those that it leaves.
pub fn is_half_used() -> bool {
    pages::loose_bytes() > allowed() / 2
}
