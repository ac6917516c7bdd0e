//! Tests of how slots go back and what is counted of them, by the arenas of the test's own process.

use super::account::{HELD_SLOTS, TAKEN_SLOTS};
use super::batch::{Call, Way};
use super::header::USABLE_SLOTS;
use super::*;
use crate::geometry::SLOT_SHIFT;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// One test at a time: there are no other arenas.
static ALONE: Mutex<()> = Mutex::new(());

fn take_some(count: usize) -> Taken {
    take(count, |_| ()).expect("the system has memory")
}

fn release_written(taken: &Taken, count: usize) {
    // SAFETY: a run that was taken, which nobody uses.
    unsafe { release(taken.header, count, true) };
}

#[test]
fn what_was_unmapped_is_held_no_more() {
    let _alone = ALONE.lock();
    for count in [1, USABLE_SLOTS] {
        release_written(&take_some(count), count);
        trim();
        let arenas = ARENAS.lock();
        let taken = arenas.counts.live * USABLE_SLOTS - arenas.free_slots;
        let held = taken + arenas.dirty_slots + arenas.lazy_slots;
        assert_eq!(TAKEN_SLOTS.load(Ordering::Relaxed), taken);
        assert_eq!(HELD_SLOTS.load(Ordering::Relaxed), held);
    }
}

#[test]
fn no_more_goes_lazily_in_one_batch_than_may_be_lazy() {
    let _alone = ALONE.lock();
    trim();
    const LAZY: usize = 5;
    // More than may stay once some must go, and no more than may stay until then.
    let due = ARENAS.lock().dirty_goal() + 4 * LAZY;
    let runs: Vec<_> = (0..2 * due).map(|_| take_some(1)).collect();
    // No two beside each other: a part each.
    runs.iter()
        .step_by(2)
        .for_each(|run| release_written(run, 1));
    let mut call = Call::of(usize::MAX);
    let mut arenas = ARENAS.lock();
    arenas.retained.give_back(LAZY << SLOT_SHIFT, 1);
    arenas.retained.ask(LAZY << SLOT_SHIFT, 0, || 1);
    let mut batch = arenas.choose(&mut call);
    drop(arenas);
    let lazily = batch.parts().iter().filter(|part| part.way == Way::Lazily);
    let slots: u32 = lazily.map(|part| part.slots.count_ones()).sum();
    batch.carry_out();
    ARENAS.lock().end_batch(&batch, &mut call, 1);
    runs.iter()
        .skip(1)
        .step_by(2)
        .for_each(|run| release_written(run, 1));
    trim();
    assert_eq!(slots as usize, LAZY);
}
