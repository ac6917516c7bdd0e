//! The header of a pool of another process, copied while that went on (`outside::mirror`).

use super::*;
use crate::geometry::MAX_RUN_SLOTS;
use crate::size_class::CLASSES;

impl Pool {
    /// Makes a header one that can be looked at, whatever it says. There are `room` slots from its own to the end of the arena.
    pub fn settle(&self, room: usize) {
        // Relaxed, here and below: one thread looks.
        let makes_sense = match self.class() {
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
        self.set_cut_blocks(self.cut_blocks().min(self.size_class().blocks));
        self.purged.keep_pages_of(self);
        if matches!(self.state(), State::Used | State::Abandoned) {
            let left = self.local.left.load(Ordering::Relaxed) as u32;
            self.set_in_use(self.local.countdown().saturating_add(left));
        }
    }

    /// Notes the blocks in use, however they were told. The pool is a used one from now on.
    pub fn set_in_use(&self, in_use: u32) {
        let in_use = in_use.min(self.cut_blocks());
        self.set_state(State::Used);
        self.local.left.store(in_use as u16, Ordering::Relaxed);
        self.local.set_countdown(0);
    }

    /// Counts the blocks on a list that starts with `head`. The pool is at `start` in the other process, and `blocks` are the
    /// bytes of its cut blocks. The count ends where the list leads out of these.
    pub fn count_listed(&self, head: usize, start: usize, blocks: &[u8]) -> u32 {
        let (mut count, mut next) = (0, head);
        while count < self.cut_blocks() {
            let offset = next.wrapping_sub(start);
            let block = blocks.get(offset..).and_then(|rest| rest.first_chunk());
            match block {
                Some(word) if offset.is_multiple_of(self.block_size()) => {
                    next = usize::from_ne_bytes(*word);
                }
                _ => break,
            }
            count += 1;
        }
        count
    }
}
