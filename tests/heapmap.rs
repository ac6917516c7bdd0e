//! `scripts/heapmap`, the page that draws heap maps: its own tests, which are in `tests/heapmap/`, in Python as it is.
//!
//! Owns: nothing but the command. They draw made-up snapshots, so that one geometry is enough.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::time::Duration;

/// Ten times what it takes on a quiet machine.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[test]
fn page_passes_its_own_tests() {
    let outcome = common::run(&mut common::unittests("tests/heapmap"), TIME_LIMIT);
    outcome.expect_success("the tests in tests/heapmap");
    // Python before 3.12 calls it a success when no test was found.
    assert!(
        outcome.stderr.contains("test_every_figure_is_in_the_page"),
        "{}",
        outcome.describe()
    );
    // Why a test was left out, for who runs them.
    for line in outcome
        .stderr
        .lines()
        .filter(|line| line.contains("skipped"))
    {
        println!("{line}");
    }
}
