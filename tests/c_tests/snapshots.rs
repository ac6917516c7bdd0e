//! Snapshots of the heap that settings ask for.

use super::harness::*;
use crate::common::{Outcome, run};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = "heapmap.c";
const SIGNAL: &str = "12";

/// A file that does not exist yet.
fn new_file(name: &str) -> PathBuf {
    let path = output_directory().join(name);
    // Of an earlier run.
    let _ = fs::remove_file(&path);
    path
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

fn run_with(settings: &str, arguments: &[&str]) -> Outcome {
    let outcome = run(
        command(SOURCE, Way::Linked, arguments).env("PYMALLOC_CONF", settings),
        Duration::from_secs(60),
    );
    outcome.expect_success(&format!("{arguments:?} with PYMALLOC_CONF={settings}"));
    outcome
}

/// How many snapshots a file has; all of them are whole.
fn count(path: &Path) -> usize {
    let outcome = expect_success(SOURCE, Way::Linked, &["read", text_of(path)], 60);
    let number = outcome.stdout.split(' ').next();
    number
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{}", outcome.describe()))
}

#[test]
fn at_exit() {
    let path = new_file("exit.jsonl");
    for runs in 1..=2 {
        let outcome = run_with(&format!("heapmap={}", path.display()), &["work"]);
        assert_eq!(outcome.stderr, "");
        assert_eq!(count(&path), runs);
    }
    let mode = fs::metadata(&path)
        .expect("the file is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn on_a_signal_and_in_a_child() {
    let path = new_file("signal.jsonl");
    let settings = format!("stats_signal={SIGNAL},heapmap={}", path.display());
    let outcome = run_with(&settings, &["signals", SIGNAL, text_of(&path)]);
    let tables = outcome.stderr.matches("pymalloc: statistics\n").count();
    assert_eq!(tables, 4, "{}", outcome.describe());
    // The child ends without exit handlers.
    assert_eq!(count(&path), 5);
}

#[test]
fn at_intervals() {
    let path = new_file("every.jsonl");
    let settings = format!("heapmap_every=5,heapmap={}", path.display());
    run_with(&settings, &["wait", text_of(&path), "20"]);
    assert!(count(&path) > 20);
}

#[test]
fn of_processes_by_number() {
    let pattern = new_file("process-%p-%p-%.jsonl");
    let settings = format!("heapmap={}", pattern.display());
    let mut child = command(SOURCE, Way::Linked, &["work"])
        .env("PYMALLOC_CONF", settings)
        .spawn()
        .expect("the program can be run");
    let id = child.id();
    assert!(child.wait().expect("a child can be waited for").success());
    let path = output_directory().join(format!("process-{id}-{id}-%.jsonl"));
    assert_eq!(count(&path), 1);
    fs::remove_file(path).expect("the file can be removed");
}

/// Many processes append to one file at the same time.
#[test]
fn of_processes_in_one_file() {
    const PROCESSES: usize = 8;
    let path = new_file("together.jsonl");
    let settings = format!("heapmap_every=3,heapmap={}", path.display());
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            command(SOURCE, Way::Linked, &["work"])
                .env("PYMALLOC_CONF", &settings)
                .spawn()
                .expect("the program can be run")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("a child can be waited for").success());
    }
    assert!(count(&path) >= PROCESSES);
}

fn expect_one_line(path: &Path, settings: &str, arguments: &[&str], reason: &str) {
    let settings = format!("{settings}heapmap={}", path.display());
    let outcome = run_with(&settings, arguments);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with("pymalloc: heapmap: ") && line.contains(reason)),
        "PYMALLOC_CONF={settings}: {}",
        outcome.describe()
    );
}

#[test]
fn that_cannot_be_written_get_one_line() {
    let link = new_file("link.jsonl");
    symlink("target.jsonl", &link).expect("a link can be made");
    let pipe = new_file("pipe.jsonl");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo can be run").success());
    for (path, reason) in [
        (Path::new("/nonexistent/heap.jsonl"), "no such folder"),
        (output_directory(), "a folder"),
        (&link, "a symbolic link"),
        (&pipe, "a pipe that nobody reads"),
        (Path::new("/dev/full"), "no space left"),
    ] {
        expect_one_line(path, "", &["work"], reason);
    }
    // Said once, however often it fails.
    expect_one_line(
        Path::new("/dev/full"),
        "heapmap_every=1,",
        &["work"],
        "no space left",
    );
}

/// What is there already is not harmed.
#[test]
fn that_do_not_fit_leave_the_file_as_it_was() {
    let path = new_file("limited.jsonl");
    run_with(&format!("heapmap={}", path.display()), &["work"]);
    let before = fs::read(&path).expect("the file is there");
    expect_one_line(&path, "", &["limit", text_of(&path)], "");
    assert!(before == fs::read(&path).expect("the file is there"));
}
