//! The page floor: the resident pages that hold a byte of a block in use, and what lies on each.
//!
//! What must hold: the bytes in use of a page are at least 1, and at most those of the page, since no two blocks share a byte.

use super::blocks::State;
use super::pages::Pages;
use crate::outside::Part;
use std::ops::Range;

/// Pages whose residence is asked for at once.
const STEP: usize = 1 << 14;

/// A page of the floor.
pub struct OnPage<'a> {
    part: &'a Part,
    states: &'a [State],
    /// From where to where it lies in the part.
    page: Range<usize>,
    /// Bytes of it that blocks in use have.
    pub in_use: usize,
}

impl OnPage<'_> {
    pub fn bytes(&self) -> usize {
        self.page.len()
    }

    /// The blocks in use on it: what each is, and its bytes on the page.
    pub fn blocks(&self) -> impl Iterator<Item = (State, usize)> {
        let (size, page) = (self.part.block_size, &self.page);
        let blocks = page.start / size..page.end.div_ceil(size).min(self.part.blocks);
        blocks.filter_map(move |block| {
            let on_page = page.end.min((block + 1) * size) - page.start.max(block * size);
            (self.states[block] != State::FREE).then_some((self.states[block], on_page))
        })
    }
}

/// Visits the pages of a part that are of the floor.
pub fn each_page(part: &Part, states: &[State], pages: &Pages, visit: &mut dyn FnMut(&OnPage)) {
    let bytes = part.blocks * part.block_size;
    for step in (0..bytes).step_by(STEP * pages.size) {
        let asked = (bytes - step).min(STEP * pages.size);
        let resident = pages.resident(part.start + step, asked);
        let starts = (step..).step_by(pages.size).zip(resident);
        for (start, _) in starts.filter(|(_, resident)| *resident) {
            let mut page = OnPage {
                part,
                states,
                page: start..start + pages.size,
                in_use: 0,
            };
            page.in_use = page.blocks().map(|(_, bytes)| bytes).sum();
            if page.in_use > 0 {
                visit(&page);
            }
        }
    }
}
