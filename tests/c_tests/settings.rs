//! The environment variable `PYMALLOC_CONF`.

use super::harness::*;
use crate::common::{self, Outcome, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = "settings.c";
const WORK: &str = "worked";

fn run_with(way: Way, settings: &str, arguments: &[&str]) -> Outcome {
    let outcome = run(
        command(SOURCE, way, arguments).env("PYMALLOC_CONF", settings),
        Duration::from_secs(60),
    );
    outcome.expect_success(&format!("PYMALLOC_CONF={settings}, {way:?}"));
    outcome
}

/// The lines on stderr before and after the one that the program itself writes when its work is done.
fn around_work(outcome: &Outcome) -> (Vec<&str>, Vec<&str>) {
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let at = lines
        .iter()
        .position(|line| *line == WORK)
        .unwrap_or_else(|| panic!("{}", outcome.describe()));
    (lines[..at].to_vec(), lines[at + 1..].to_vec())
}

fn expect_one_warning(way: Way, settings: &str, named: &str) {
    let outcome = run_with(way, settings, &["work"]);
    let (before, after) = around_work(&outcome);
    assert!(
        before.len() == 1 && before[0].starts_with("pymalloc: ") && after.is_empty(),
        "PYMALLOC_CONF={settings}, {way:?}: not one warning: {}",
        outcome.describe()
    );
    assert!(
        before[0].contains(named),
        "PYMALLOC_CONF={settings}: the warning does not name `{named}`: {}",
        before[0]
    );
}

/// What is wrong, and what of it the warning must name.
const WRONG: &[(&str, &str)] = &[
    ("nonsense=1", "nonsense"),
    ("nonsense", "nonsense"),
    ("mapping_cach=1m", "mapping_cach"),
    ("mapping_cache_=1m", "mapping_cache_"),
    ("MAPPING_CACHE=1m", "MAPPING_CACHE"),
    ("mapping_cache", "mapping_cache"),
    ("mapping_cache=", "mapping_cache"),
    ("mapping_cache=abc", "mapping_cache"),
    ("mapping_cache=m", "mapping_cache"),
    ("mapping_cache=-1", "mapping_cache"),
    ("mapping_cache=1x", "mapping_cache"),
    ("mapping_cache=1mm", "mapping_cache"),
    ("mapping_cache=18446744073709551616", "mapping_cache"),
    ("mapping_cache=99999999999g", "mapping_cache"),
    ("empty_arenas=2", "empty_arenas"),
    ("empty_arenas=-1", "empty_arenas"),
    ("empty_arenas=yes", "empty_arenas"),
    ("stats_at_exit=maybe", "stats_at_exit"),
    ("stats_at_exit=", "stats_at_exit"),
    ("stats_signal=65", "stats_signal"),
    ("stats_signal=9", "stats_signal"),
    ("stats_signal=32", "stats_signal"),
    ("stats_signal=USR2", "stats_signal"),
    ("heapmap=", "heapmap"),
    ("heapmap", "heapmap"),
    ("heapmap_every=100", "heapmap_every"),
    ("empty_arenas=0,nonsense=2,mapping_cache=1m", "nonsense"),
    ("empty_arenas=0,mapping_cache=1q", "mapping_cache"),
];

#[test]
fn wrong_settings_warn_once() {
    for (settings, named) in WRONG {
        for way in [Way::Linked, Way::Preloaded] {
            expect_one_warning(way, settings, named);
        }
    }
}

/// What is wrong, and the right form that its warning shows.
const FORMS: &[(&str, &str)] = &[
    (
        "resident_budget=lots",
        "\" is not a number; write resident_budget=4m, or",
    ),
    ("resident_budget=4 mb", "; write resident_budget=4m, or"),
    ("retain=yes", "; write retain=0 or =1"),
    (
        "empty_arenas=2",
        "\" is out of range; write empty_arenas=0 or =1",
    ),
    ("stats_signal=USR2", "; write stats_signal=N, from 0 to 64"),
    (
        "buget_part=4",
        "\" is not a setting; the nearest is budget_part",
    ),
    (
        "RESIDENT_BUDGET=4m",
        "\" is not a setting; the nearest is resident_budget",
    ),
    ("mapping_cach=1m", "; the nearest is mapping_cache"),
    ("stats_on_exit=1", "; the nearest is stats_at_exit"),
    ("heap_map=/tmp/x", "; the nearest is heapmap"),
    (
        "slack=4m",
        "\" is obeyed, but is called resident_budget now",
    ),
    ("off", "\" is for pymalloc run; LD_PRELOAD= takes out"),
    ("learning=1", "\" is obeyed, but is called retain now"),
];

#[test]
fn a_warning_shows_the_right_form() {
    for (settings, form) in FORMS {
        expect_one_warning(Way::Preloaded, settings, form);
    }
    let far = run_with(Way::Preloaded, "nonsense=1", &["work"]);
    assert!(!far.stderr.contains("nearest"), "{}", far.describe());
}

/// Units by the longer names that people give them: what is said of a number that is out of range tells that it was understood.
#[test]
fn units_have_several_names() {
    for unit in [
        "k", "K", "kb", "KB", "KiB", "mb", "MB", "MiB", "gb", "GiB", "gib",
    ] {
        let settings = format!("resident_budget=1{unit},mapping_cache=4{unit}");
        let outcome = run_with(Way::Preloaded, &settings, &["work"]);
        assert!(around_work(&outcome).0.is_empty(), "{}", outcome.describe());
        expect_one_warning(Way::Preloaded, &format!("retain=1{unit}"), "out of range");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_at_the_start() {
    let settings = "heapmap=/nonexistent/heap.jsonl";
    for way in [Way::Linked, Way::Preloaded, Way::Static] {
        expect_one_warning(way, settings, "no such folder");
    }
}

#[test]
fn a_very_long_wrong_setting_warns_once() {
    expect_one_warning(
        Way::Preloaded,
        &format!("{}=1", "n".repeat(60_000)),
        "nnnnnnnn",
    );
    expect_one_warning(
        Way::Preloaded,
        &format!("mapping_cache={}", "9".repeat(60_000)),
        "mapping_cache",
    );
    expect_one_warning(
        Way::Preloaded,
        &format!("heapmap=/{}", "9".repeat(4096)),
        "too long",
    );
}

#[test]
fn good_settings_are_silent() {
    for settings in [
        "",
        "mapping_cache=0",
        "mapping_cache=1048576",
        "mapping_cache=512k",
        "mapping_cache=64m",
        "mapping_cache=1g",
        "empty_arenas=0",
        "empty_arenas=1",
        "stats_at_exit=0",
        "stats_signal=0",
        "stats_signal=64",
        "mapping_cache=1m,empty_arenas=0,stats_at_exit=0",
    ] {
        for way in [Way::Linked, Way::Preloaded] {
            let outcome = run_with(way, settings, &["work"]);
            let (before, after) = around_work(&outcome);
            assert!(
                before.is_empty() && after.is_empty(),
                "PYMALLOC_CONF={settings}, {way:?}: {}",
                outcome.describe()
            );
        }
    }
}

#[test]
fn statistics_are_printed_at_exit_when_asked_for() {
    // Also beside a wrong setting, which costs its warning alone.
    for (settings, warnings) in [
        ("stats_at_exit=1", 0),
        ("nonsense=1,stats_at_exit=1", 1),
        ("stats_at_exit=1,nonsense=1", 1),
    ] {
        for way in [Way::Linked, Way::Preloaded, Way::Static] {
            let outcome = run_with(way, settings, &["work"]);
            let (before, after) = around_work(&outcome);
            assert_eq!(before.len(), warnings, "{}", outcome.describe());
            assert!(
                after.len() >= 3 && after.iter().any(|line| line.contains("arena")),
                "PYMALLOC_CONF={settings}, {way:?}: no table after the end: {}",
                outcome.describe()
            );
        }
    }
}

#[test]
fn the_mapping_cache_has_the_size_that_was_set() {
    for way in [Way::Linked, Way::Preloaded] {
        for (settings, fate) in [
            ("mapping_cache=0", "returned\n"),
            ("mapping_cache=1m", "returned\n"),
            ("mapping_cache=64m", "kept\n"),
        ] {
            let outcome = run_with(way, settings, &["mapping", "8388608"]);
            assert_eq!(
                outcome.stdout, fate,
                "8 MiB with PYMALLOC_CONF={settings}, {way:?}"
            );
        }
    }
}

#[test]
fn no_empty_arena_is_kept_when_none_is_to_be() {
    for way in [Way::Linked, Way::Preloaded] {
        let outcome = run(
            command("arenas.c", way, &["0"]).env("PYMALLOC_CONF", "empty_arenas=0,retain=0"),
            Duration::from_secs(60),
        );
        outcome.expect_success("arenas.c 0 with empty_arenas=0");
    }
}

/// A program with more rights than its user must not be steered by that user's environment.
#[test]
fn set_user_id_programs_ignore_the_settings() {
    const NOBODY: u32 = 65534;
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        common::skip("only root can make a program of another user");
        return;
    }
    // The static way, for a loader that runs with more rights ignores LD_PRELOAD as well.
    let settings = "nonsense=1,stats_at_exit=1";
    let plain = compile(SOURCE, Way::Static);
    let privileged = output_directory().join("settings-set-user-id");
    // By another process: were it written here, a child that another test starts meanwhile would hold it open
    // for writing, and it could not be run ("text file busy").
    let copied = Command::new("cp").arg(&plain).arg(&privileged).status();
    assert!(
        copied.expect("cp can be run").success(),
        "a program can be copied"
    );
    std::os::unix::fs::chown(&privileged, Some(NOBODY), Some(NOBODY))
        .expect("root can give a file away");
    fs::set_permissions(&privileged, fs::Permissions::from_mode(0o4755))
        .expect("root can set any mode");
    let outcome = run(
        platform()
            .command(&privileged)
            .arg("secure")
            .env("PYMALLOC_CONF", settings),
        Duration::from_secs(60),
    );
    fs::remove_file(&privileged).expect("root can remove any file");
    outcome.expect_success("a set-user-id program");
    if outcome.stdout != "secure\n" {
        common::skip("this file system gives set-user-id programs no other rights");
        return;
    }
    assert_eq!(outcome.stderr, "", "the settings were not ignored");
    let outcome = run_with(Way::Static, settings, &["secure"]);
    assert_eq!(outcome.stdout, "not secure\n");
    assert!(
        outcome.stderr.lines().count() >= 2,
        "without set-user-id the settings count: {}",
        outcome.describe()
    );
}
