//! The tools in Python: `make bench`, `make demo` and the figures of README.md, the page that draws heap maps, the command `pymalloc`,
//! the Python module with its example, the wheel, and the recipes of docs/deploy.md. Their tests are in Python too: `tests/bench_suite/`,
//! `tests/demo/`, `tests/heapmap/`, `tests/run/`, `tests/wheel/` and `tests/deploy/`.
//!
//! Owns: nothing but the commands. They run side by side, since each waits for most of its time.
//!
//! Only on the default geometry: nothing here depends on it, but for the suite, and that compares the default one.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::process::Command;
use std::time::Duration;

/// What `scripts/bench self-test` ends with where its virtual environment is not there.
const NO_ENVIRONMENT: i32 = 77;

/// Runs tests that must pass in so many seconds, more than they take on a busy machine, `known` among them: Python before 3.12 calls it
/// a success when no test was found.
fn run_them(mut command: Command, seconds: u64, known: &str) {
    let outcome = common::run(&mut command, Duration::from_secs(seconds));
    if outcome.status.code() == Some(NO_ENVIRONMENT) {
        common::lacks(outcome.stderr.trim());
        return;
    }
    outcome.expect_success(known);
    assert!(
        outcome.stderr.contains(known) && outcome.stderr.contains("\nOK"),
        "{}",
        outcome.describe()
    );
    // A line such as "test_php_with_its_extensions (test_deepbind.Plugins) ... skipped 'not installed: php'".
    for line in outcome.stderr.lines() {
        let Some((test, why)) = line.split_once("skipped '") else {
            continue;
        };
        let (test, why) = (
            test.split(' ').next().unwrap_or(test),
            why.trim_end_matches('\''),
        );
        match why.strip_prefix("not installed: ") {
            Some(program) => common::lacks(&format!("{program}, for {test}")),
            None => common::skip(&format!("{test}: {why}")),
        }
    }
}

/// The last of them is a small run of `make bench` itself.
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
    run_them(command, 300, "test_every_figure_is_in_the_page");
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
    command
        .env("PYMALLOC_LIBRARY", common::library())
        .env("PYMALLOC_WATCH", common::watch());
    run_them(command, 900, "test_module");
}

/// As the page has them; what takes minutes to install is run by `make test-deploy`.
#[test]
fn recipes_do_what_their_page_says() {
    common::deepbind();
    let mut command = common::unittests("tests/deploy");
    command
        .env("PYMALLOC_LIBRARY", common::library())
        .env("PYMALLOC_WATCH", common::watch());
    run_them(command, 300, "test_gunicorn");
}

/// A wheel for this machine, of what the other tests use too.
#[test]
fn wheel_is_whole_and_installs() {
    common::deepbind();
    let mut command = common::unittests("tests/wheel");
    command
        .env("PYMALLOC_LIBRARY", common::library())
        .env("PYMALLOC_WATCH", common::watch());
    run_them(command, 300, "test_each_command_starts");
}

/// What `docs/scaling.md` is made by.
#[test]
fn locks_are_counted_and_the_model_is_right() {
    run_them(
        common::unittests("tests/scaling"),
        300,
        "test_one_queue_is_as_in_the_closed_form",
    );
}
