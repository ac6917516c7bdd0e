//! The census: what lies in the blocks of a running program, told from outside. Of CPython, the objects by type.
//!
//! - `pages`: which pages of the process are resident;
//! - `blocks`: every block, by its address, and what is known of it;
//! - `objects`: which block a Python object starts in, and the type of it;
//! - `owners`: whose a block is that is no object, such as the items of a list;
//! - `floor`: the pages that hold a block in use, and what lies on each;
//! - `sparse`: the pages that stay for little, by what lies on them;
//! - `counts`: the sums of all that, by type and by size class.
//!
//! Nothing is asked of the program, and nothing in it is changed. It goes on meanwhile, so that a count is one of some moment for each block.
//!
//! What must hold: whatever bytes are read, nothing here fails or loops, and it takes no more memory than `blocks` says.

mod blocks;
mod counts;
mod floor;
mod objects;
mod owners;
mod pages;
mod sparse;

pub use counts::{Census, Row, SPARE, UNKNOWN};
pub use sparse::{Group, PART, Sparse};

use crate::outside::{ARENA_SIZE, Error, Look, Process};
use blocks::{Blocks, State};
use objects::Types;
use pages::Pages;

/// Takes the census of a process. What it counts as a whole is told too.
pub fn take(process: &mut Process) -> Result<(Look, Census), Error> {
    count(process, true)
}

/// The same without the types, for which each block is read once, and nothing is followed: all blocks are unknown.
pub fn take_without_types(process: &mut Process) -> Result<(Look, Census), Error> {
    count(process, false)
}

fn count(process: &mut Process, with_types: bool) -> Result<(Look, Census), Error> {
    let (look, places) = process.look_closer()?;
    let memory = process.memory();
    let pages = Pages::of(memory.pid);
    let mut blocks = Blocks::of(places.parts, look.whole.resident);
    let mut types = Types::new(memory);
    for batch in blocks.batches() {
        let read = blocks.read(batch.clone(), memory, &pages)?;
        for (part, bytes) in batch.zip(&read) {
            blocks.judge(part, bytes, pages.size, &mut |block, state: State| {
                if with_types {
                    types.state_of(block)
                } else {
                    state
                }
            });
        }
    }
    if with_types {
        owners::find(&mut blocks, memory, &pages)?;
    }
    let mut census = counts::sum(&blocks, &pages, types.into_names());
    census.arenas_resident = pages.resident_bytes(&places.arenas, ARENA_SIZE);
    Ok((look, census))
}
