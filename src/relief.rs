//! Relief: the library gives memory back before it takes new, when the system has no more, and when the program asks.
//!
//! What must hold: the caller holds no lock.

use crate::arena;
use crate::heap::{self, open_full_pools};
use crate::mapping;
use crate::os;
use crate::retain;
use crate::thread;
use core::ptr;

/// Gives up retained memory of all kinds before `bytes` more are touched, if that raises the peak, as far as one call goes.
#[inline(never)]
pub fn make_room(bytes: usize) {
    if bytes > 0 {
        let at_once = bytes.min(retain::MOST_AT_ONCE);
        arena::before_new_memory(bytes, &mut || {
            mapping::give_up_for_own(at_once);
            arena::give_up(at_once);
            heap::give_up(at_once);
        });
    }
}

/// As `attempt` for a block of a pool. When the system has no more, pools that are not worth looking for otherwise serve as well.
pub fn or_after_relief(attempt: impl Fn() -> Option<*mut u8>) -> *mut u8 {
    attempt()
        .or_else(|| (relieve() | open_full_pools()).then(attempt).flatten())
        .unwrap_or(ptr::null_mut())
}

/// From here on the system is asked first whether it would map so much: no kept memory is to go for an attempt that fails all the same.
const ASKED_FIRST: usize = 1 << 30;

/// As `relieve`, for `size` bytes in one piece. False at once where the system would not map them even if all came back that could: then
/// nobody walks over anything, and no kept memory is lost. Else true: the attempt itself may have brought something back.
#[cold]
pub fn relieve_for(size: usize) -> bool {
    let may_come = size < ASKED_FIRST || could_come(size);
    if may_come {
        relieve();
    }
    may_come
}

/// Whether the system would map `size` bytes in one piece if all came back that could.
fn could_come(size: usize) -> bool {
    let mappings = mapping::counts();
    let at_most = arena::address_bytes() + mappings.cached_bytes + mappings.lazy_bytes;
    os::could_map_block(size.saturating_sub(at_most))
}

/// Unmaps all that is kept for later, since the system has no more. True if there was anything. No pages go back: the system has no more
/// addresses, mappings, or memory that it may promise, and purged pages still take all three. It walks over pools that have free blocks.
#[cold]
fn relieve() -> bool {
    heap::relieve(thread::own(), false) | mapping::trim() | arena::trim()
}

/// Returns everything to the system that can be returned now. True if there was anything.
pub fn trim() -> bool {
    heap::trim(thread::own()) | mapping::trim() | arena::trim()
}
