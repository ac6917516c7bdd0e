//! A batch: what goes back to the system in one go. A call makes several.
//!
//! What must hold: the slots of a part are neither free nor taken, and no run starts there, until `Arenas::end_batch`.

use super::header::Arena;
use crate::geometry::{ARENA_SIZE, SLOT_SHIFT};
use crate::os;
use core::ptr;

/// Parts of a batch: runs of slots, or arenas. Each batch takes the lock twice.
const PARTS: usize = 16;

/// A call stops once the system has refused something of so many arenas (locked memory, `vm.max_map_count`).
const REFUSALS: usize = 16;

/// How something goes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The pages of slots go at once.
    Purge,
    /// The system may take the pages of slots at any moment.
    Lazily,
    /// The whole arena is unmapped.
    Unmap,
}

/// A run of slots of an arena, or all of it, on its way to the system.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) arena: *const Arena,
    pub(super) slots: u64,
    pub(super) way: Way,
    /// The slots that may hold pages.
    pub(super) dirty: u64,
    /// The system refused: the pages are as they were. Of an arena that could not be unmapped the pages may have gone.
    pub(super) refused: bool,
    pub(super) unpurged: bool,
}

pub(super) struct Batch {
    pub(super) parts: [Part; PARTS],
    pub(super) count: usize,
    /// Slots of it that go lazily, for whoever chooses more.
    pub(super) lazy_slots: usize,
}

impl Batch {
    pub(super) fn empty() -> Self {
        const NONE: Part = Part {
            arena: ptr::null(),
            slots: 0,
            way: Way::Purge,
            dirty: 0,
            refused: false,
            unpurged: false,
        };
        Batch {
            parts: [NONE; PARTS],
            count: 0,
            lazy_slots: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.count < PARTS
    }

    pub(super) fn push(&mut self, arena: &Arena, slots: u64, way: Way, dirty: u64) {
        if let Some(place) = self.parts.get_mut(self.count) {
            (place.arena, place.slots, place.way, place.dirty) = (arena, slots, way, dirty);
            self.count += 1;
        }
    }

    pub(super) fn parts(&self) -> &[Part] {
        self.parts.get(..self.count).unwrap_or(&[])
    }

    /// Hands the parts to the system. The lock is not held.
    #[inline(never)]
    pub(super) fn carry_out(&mut self) {
        for part in self.parts.iter_mut().take(self.count) {
            let (start, size) = part.range();
            // SAFETY: whole pages that nobody uses or finds. A part that the system refuses to unmap is still mapped.
            unsafe {
                part.refused = match part.way {
                    Way::Unmap => !os::try_unmap(start, size),
                    Way::Lazily if os::free_lazily(start, size) => false,
                    Way::Lazily | Way::Purge => {
                        part.way = Way::Purge;
                        !os::purge(start, size)
                    }
                };
                part.unpurged = part.refused && (part.way != Way::Unmap || !os::purge(start, size));
            }
        }
    }
}

impl Part {
    pub(super) fn range(&self) -> (*mut u8, usize) {
        let base = self.arena as usize;
        if self.way == Way::Unmap {
            return (base as *mut u8, ARENA_SIZE);
        }
        let first = self.slots.trailing_zeros() as usize;
        let start = (base + (first << SLOT_SHIFT)) as *mut u8;
        (start, (self.slots.count_ones() as usize) << SLOT_SHIFT)
    }

    /// Bytes that may be resident.
    pub(super) fn dirty_bytes(&self) -> usize {
        (self.dirty.count_ones() as usize) << SLOT_SHIFT
    }
}

/// A call that gives back.
pub(super) struct Call {
    /// Bytes that it may still give back.
    pub(super) left: usize,
    /// Bytes that it gives back although they may stay.
    pub(super) given_up: usize,
    /// Whether it gives back all there is, not only what may not stay.
    pub(super) everything: bool,
    /// Whether it counts as a turn if the program asks for the same again soon (`retain`). Not where the program gave it back itself.
    pub(super) counts: bool,
    /// Arenas of which the system refused something.
    pub(super) refusing: [*const Arena; REFUSALS],
    pub(super) refusals: usize,
    /// Whether anything went back.
    pub(super) returned: bool,
}

impl Call {
    pub(super) fn of(left: usize) -> Self {
        Call {
            left,
            given_up: 0,
            everything: false,
            counts: true,
            refusing: [ptr::null(); REFUSALS],
            refusals: 0,
            returned: false,
        }
    }

    pub(super) fn note_refusal(&mut self, arena: *const Arena) {
        if let Some(place) = self.refusing.get_mut(self.refusals) {
            *place = arena;
            self.refusals += 1;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0 || self.refusals == REFUSALS
    }

    #[inline(never)]
    pub(super) fn avoids(&self, arena: &Arena) -> bool {
        let refusing = self.refusing.get(..self.refusals).unwrap_or(&[]);
        refusing.contains(&ptr::from_ref(arena))
    }
}
