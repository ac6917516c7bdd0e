//! The supply of slots in the model: one pool, in memory that a check has laid out as an arena. It stands for the real one, since arenas are mapped, and
//! would outlive a run.
//!
//! What must hold: what it says of the pool is what the arenas would say. After its release nobody may look at the pool any more.

use crate::pool::{Block, Owner, Pool};
use crate::sync::modelled;
use std::cell::Cell;
use std::ptr;

thread_local! {
    static POOL: Cell<Option<&'static Pool>> = const { Cell::new(None) };
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// A run begins, whose pool this is.
pub fn begin_run(pool: &'static Pool) {
    POOL.set(Some(pool));
    TAKEN.set(false);
}

/// As outside. There is one pool for each run.
pub fn take<'a>(class: usize, owner: *const Owner) -> Option<&'a Pool> {
    let pool = POOL.get().filter(|_| !TAKEN.replace(true))?;
    pool.become_used_first(class, owner);
    Some(pool)
}

/// As outside.
pub fn release(pool: &Pool) {
    assert!(POOL.get().is_some_and(|taken| ptr::eq(taken, pool)));
    modelled::release();
}

/// As outside.
pub fn pool_of_block(block: &Block, _: usize) -> Option<&'static Pool> {
    pool_around(block)
}

/// As outside.
pub fn pool_around(_: &Block) -> Option<&'static Pool> {
    POOL.get()
}
