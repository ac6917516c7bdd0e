//! Whose a block is that is no object: the items of a list, the table of a dictionary, the data of an array.
//!
//! A block belongs to the first object that has a pointer into it, or to the object that has the block with the pointer. No type's structure need be known for
//! that, so that extensions are seen as well. A block that two objects share is one's alone. One that no object points to is the
//! interpreter's, or C's.

use super::blocks::{Blocks, Content, State, may_be_address};
use super::pages::Pages;
use crate::outside::{Error, Memory};

/// From an object through blocks that are none: so many in a row are followed. Tables have one; a tree or a list of C++ would have as many as it is long.
const ROUNDS: usize = 3;

/// Finds the owners of blocks of which nothing is known.
pub fn find(blocks: &mut Blocks, memory: &Memory, pages: &Pages) -> Result<(), Error> {
    // In the first round objects are followed, then the blocks that were found in the round before.
    let mut any = true;
    for round in 0..ROUNDS {
        if !std::mem::replace(&mut any, false) {
            break;
        }
        for batch in blocks.batches() {
            let wanted = |state: &State| state.number().is_some() && state.is_held() == (round > 0);
            let of_interest = |part: usize| blocks.states_of(part).iter().any(wanted);
            if !batch.clone().any(of_interest) {
                continue;
            }
            let read = blocks.read(batch.clone(), memory, pages)?;
            let mut pointers = Vec::new();
            for (part, bytes) in batch.zip(&read) {
                blocks.judge(part, bytes, pages.size, &mut |block, state| {
                    if wanted(&state)
                        && let Some(number) = state.number()
                    {
                        pointers.extend(words(block).map(|word| (word, State::held_by(number))));
                    }
                    state
                });
            }
            for (address, owner) in pointers {
                any |= blocks.learn(address, owner);
            }
        }
    }
    Ok(())
}

/// The words of a block that can be pointers.
fn words(block: &Content) -> impl Iterator<Item = usize> {
    let (words, _) = block.bytes.as_chunks::<{ size_of::<usize>() }>();
    let words = words.iter().map(|word| usize::from_ne_bytes(*word));
    words.filter(|word| may_be_address(*word))
}
