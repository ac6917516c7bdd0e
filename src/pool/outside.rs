//! The header of a pool of another process, copied while that went on (`outside::mirror` of `pymalloc-watch`).

use super::header::Pool;
use crate::geometry::MAX_RUN_SLOTS;
use crate::size_class::CLASSES;
use crate::sync::Ordering;

impl Pool {
    /// The purged pages, a bit each, the first in the lowest.
    pub fn purged_pages(&self) -> u32 {
        self.purged.bits()
    }

    /// Makes a header one that can be read, whatever it says. There are `room` slots from its own to the end of the arena.
    pub fn settle(&self, room: usize) {
        // Relaxed, here and below: there is one thread here.
        let makes_sense = match self.class.load(Ordering::Relaxed) as usize {
            0 => self.slots() <= room.min(MAX_RUN_SLOTS),
            class if class < CLASSES => {
                self.slots() == self.size_class().slots as usize && self.slots() <= room
            }
            _ => false,
        };
        if !makes_sense {
            self.class.store(0, Ordering::Relaxed);
            self.slots.store(0, Ordering::Relaxed);
        }
        if self.class() == 0 {
            return;
        }
        self.set_carved_blocks(self.carved_blocks().min(self.size_class().blocks));
        self.purged.keep_first(self.pages());
        let left = self.local.left.load(Ordering::Relaxed) as u32;
        let in_use = self.local.countdown().saturating_add(left);
        self.local
            .left
            .store(in_use.min(self.carved_blocks()) as u16, Ordering::Relaxed);
        self.local.set_countdown(0);
    }
}
