//! `pymalloc-run`, the Python module and its example: their tests are in `tests/run/`, in Python as these are.
//!
//! Owns: nothing but the command, and the library that they are to use.
//!
//! Only on the default geometry: nothing here depends on it.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[test]
fn commands_run_on_the_library_as_they_do_without() {
    let mut command = common::unittests("tests/run");
    command.env("PYMALLOC_LIBRARY", common::library());
    let outcome = common::run(&mut command, TIME_LIMIT);
    outcome.expect_success("tests/run");
    // Python before 3.12 calls it a success when no test was found.
    assert!(
        outcome.stderr.contains("test_module") && outcome.stderr.contains("\nOK"),
        "{}",
        outcome.describe()
    );
}
