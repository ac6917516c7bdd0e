//! The suite behind `make bench`: its own tests, which are in `tests/bench_suite/`, in Python as the suite is.
//!
//! Owns: nothing but the command. The last of those tests is a small run of `make bench` itself.
//!
//! Only on the default geometry: that is the one that is compared.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::process::Command;
use std::time::Duration;

/// Longer than anything here takes, the virtual environments on a busy machine included.
const TIME_LIMIT: Duration = Duration::from_secs(900);

#[test]
fn suite_passes_its_own_tests() {
    let mut command = Command::new("scripts/bench");
    command.current_dir(common::repository()).arg("self-test");
    let outcome = common::run(&mut command, TIME_LIMIT);
    outcome.expect_success("scripts/bench self-test");
    // Python before 3.12 calls it a success when no test was found.
    assert!(
        outcome.stderr.contains("test_small_run") && outcome.stderr.contains("\nOK"),
        "{}",
        outcome.describe()
    );
}
