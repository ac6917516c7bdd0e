//! The tools in Python: `make bench`, `make demo` and the figures of README.md, the page that draws heap maps, `pymalloc-run` with the Python
//! module and its example. Their tests are in `tests/bench_suite/`, `tests/demo/`, `tests/heapmap/` and `tests/run/`, in Python as they are.
//!
//! Owns: nothing but the commands. Side by side, as each waits for most of its time.
//!
//! Only on the default geometry: nothing here depends on it, but for the suite, and that compares the default one.

#![cfg(not(feature = "small-arenas"))]

mod common;

use common::Outcome;
use std::process::Command;
use std::time::Duration;

/// Runs tests that must pass in so many seconds, more than they take on a busy machine, `known` among them: Python before 3.12 calls it
/// a success when no test was found.
fn run_them(mut command: Command, seconds: u64, known: &str) -> Outcome {
    let outcome = common::run(&mut command, Duration::from_secs(seconds));
    outcome.expect_success(known);
    assert!(
        outcome.stderr.contains(known) && outcome.stderr.contains("\nOK"),
        "{}",
        outcome.describe()
    );
    outcome
}

/// The last of them is a small run of `make bench` itself. They may have to make virtual environments.
#[test]
fn bench_suite() {
    let mut command = Command::new("scripts/bench");
    command.current_dir(common::repository()).arg("self-test");
    run_them(command, 900, "test_small_run");
}

/// They draw made-up snapshots.
#[test]
fn heapmap_page() {
    let command = common::unittests("tests/heapmap");
    let outcome = run_them(command, 300, "test_every_figure_is_in_the_page");
    // Why a test was left out, for who runs them.
    let lines = outcome.stderr.lines();
    lines
        .filter(|line| line.contains("skipped"))
        .for_each(|line| println!("{line}"));
}

/// They run no benchmark: what is compared was measured before.
#[test]
fn demo_and_figures() {
    run_them(
        common::unittests("tests/demo"),
        120,
        "test_what_is_quoted_is_what_was_measured",
    );
}

#[test]
fn commands_run_on_the_library_as_they_do_without() {
    common::deepbind();
    let mut command = common::unittests("tests/run");
    command.env("PYMALLOC_LIBRARY", common::library());
    run_them(command, 300, "test_module");
}
