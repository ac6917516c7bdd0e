//! `pymalloc-watch`: what it says of a process against what that says of itself, and of processes that it cannot watch.
//!
//! Owns: the processes that it watches (`heap.c`, `other.c`).

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{Outcome, SMALL_ARENAS, SONAME};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Longer than anything here takes, a build of the tool on a busy machine included.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// A user that owns nothing here.
const NOBODY: u32 = 65_534;

/// The folder of this test's files. The geometries' tests use the same one, one after the other.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch");
        std::fs::create_dir_all(&scratch).expect("a test folder can be made");
        scratch
    })
}

/// The tool, which cargo builds before this test.
const TOOL: &str = env!("CARGO_BIN_EXE_pymalloc-watch");

fn compile(source: &str, program: &str, arguments: &[&OsStr]) -> PathBuf {
    let program = scratch().join(program);
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"])
        .arg(common::repository().join("include"))
        .arg(common::repository().join("watch/tests").join(source))
        .arg("-o")
        .arg(&program)
        .args(arguments);
    common::run(&mut compiler, TIME_LIMIT).expect_success("cc");
    program
}

/// The program with a heap, which needs the library preloaded.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("heap.c", "heap", &[common::library().as_os_str()]))
}

/// A process to be watched, killed in the end.
struct Watched {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Watched {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut watched = Watched { child, output };
        assert_eq!(watched.line(), "ready\n", "{command:?}");
        watched
    }

    fn preloaded(what: &str) -> Self {
        Self::start(common::preloaded(program()).arg(what))
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .expect("its output can be read");
        line
    }

    /// What the process says of itself.
    fn own_json(&mut self) -> String {
        let mut input = self.child.stdin.as_ref().expect("stdin is a pipe");
        input.write_all(b"\n").expect("it reads its input");
        self.line()
    }

    /// Looks at it with the tool.
    fn watch(&self, options: &[&str]) -> Outcome {
        watch(&self.pid(), options)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(pid: &str, options: &[&str]) -> Outcome {
    common::run(Command::new(TOOL).args(options).arg(pid), TIME_LIMIT)
}

/// The one line for what cannot be watched, and status 1.
fn expect_refusal(outcome: &Outcome, wanted: &str) {
    assert!(
        outcome.status.code() == Some(1)
            && outcome.stdout.is_empty()
            && outcome.stderr.lines().count() == 1
            && outcome.stderr.starts_with("pymalloc-watch: ")
            && outcome.stderr.contains(wanted),
        "wanted: {wanted}; {}",
        outcome.describe()
    );
}

/// The members of a JSON object that stay the same while its process does nothing.
fn lasting(json: &str) -> (&str, &str) {
    let (head, rest) = json.split_once(",\"time\":").expect("an object");
    let (_, figures) = rest.split_once(",\"bytes_in_use\":").expect("figures");
    (head, figures)
}

/// A figure by the text in front of it.
fn figure(json: &str, before: &str) -> usize {
    let (_, rest) = json
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {json}"));
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().expect("a number")
}

fn expect_agreement(watched: &mut Watched) {
    let own = watched.own_json();
    let outcome = watched.watch(&["--json"]);
    outcome.expect_success("pymalloc-watch --json");
    let (seen, own) = (lasting(&outcome.stdout), lasting(&own));
    // There is something of each kind to be told wrongly.
    for before in [
        "\"large\":{\"count\":",
        "\"mappings\":{\"count\":",
        "\"kept_bytes\":",
        "\"remote_frees\":",
        "\"slots\":{\"free\":",
        "\"unscanned_bytes\":",
        "\"purged_bytes\":",
    ] {
        // Pools of a page have none that could be purged by itself.
        let can_be = !SMALL_ARENAS || before != "\"purged_bytes\":";
        assert!(figure(own.1, before) > 0 || !can_be, "{before}{}", own.1);
    }
    assert_eq!(seen, own);
}

#[test]
fn figures_are_those_that_the_process_has() {
    let mut watched = Watched::preloaded("still");
    expect_agreement(&mut watched);
    let outcome = watched.watch(&["--once"]);
    outcome.expect_success("pymalloc-watch --once");
    let arenas = figure(&watched.own_json(), "\"arenas\":{\"live\":");
    assert!(
        outcome.stdout.contains(&format!("arenas {arenas} live"))
            && outcome.stdout.contains("heaps 2, 0 spare")
            && outcome.stdout.contains("untouched"),
        "{}",
        outcome.describe()
    );
}

#[test]
fn a_library_inside_the_program_is_found() {
    let library = common::static_library().as_os_str();
    let program = compile("heap.c", "heap_static", &[library, "-ldl".as_ref()]);
    expect_agreement(&mut Watched::start(Command::new(program).arg("still")));
}

#[test]
fn a_library_that_is_gone_from_the_disk_is_found() {
    let folder = scratch().join("gone");
    std::fs::create_dir_all(&folder).expect("a test folder can be made");
    let copy = folder.join(SONAME);
    std::fs::copy(common::library(), &copy).expect("the library can be copied");
    let mut watched = Watched::start(
        Command::new(program())
            .arg("still")
            .env("LD_PRELOAD", &copy),
    );
    std::fs::remove_file(&copy).expect("the copy can be removed");
    expect_agreement(&mut watched);
}

#[test]
fn a_busy_process_is_watched_for_long() {
    let watched = Watched::preloaded("busy");
    let outcome = watched.watch(&["--json", "--count", "200", "--interval", "0.01"]);
    outcome.expect_success("200 looks");
    assert_eq!(outcome.stdout.lines().count(), 200);
    for line in outcome.stdout.lines() {
        let in_use = figure(line, "\"bytes_in_use\":");
        let arenas = figure(line, "\"arenas\":{\"live\":") * figure(line, "\"bytes\":");
        // Four threads keep 5,000 blocks of up to 3 kB, and five of up to 2 MB.
        assert!(
            in_use > 100_000 && in_use < 60_000_000 && arenas < 400_000_000,
            "{line}"
        );
    }
    // The watched process is none the worse for it.
    assert!(Path::new(&format!("/proc/{}", watched.pid())).exists());
}

#[test]
fn a_heap_of_garbage_harms_nobody() {
    let watched = Watched::preloaded("garbage");
    let outcome = watched.watch(&["--json", "--count", "200", "--interval", "0.01"]);
    outcome.expect_success("200 looks");
    assert_eq!(outcome.stdout.lines().count(), 200);
    for _ in 0..20 {
        let outcome = watched.watch(&["--types", "--json"]);
        outcome.expect_success("a census");
        assert!(outcome.stdout.ends_with("}\n"), "{}", outcome.describe());
        watched
            .watch(&["--why", "--for", "0.1"])
            .expect_success("a verdict");
    }
}

/// The blocks of a C program are counted, and none of them is taken for an object.
#[test]
fn a_census_counts_what_is_no_object() {
    let mut watched = Watched::preloaded("still");
    let in_use = figure(&watched.own_json(), "\"bytes_in_use\":");
    let outcome = watched.watch(&["--types", "--json"]);
    outcome.expect_success("pymalloc-watch --types --json");
    let (_, total) = outcome.stdout.split_once("\"total\":").expect("a total");
    assert_eq!(figure(total, "\"objects\":"), 0, "{total}");
    assert_eq!(figure(total, "\"held_bytes\":"), in_use, "{total}");
}

#[test]
fn the_live_view_minds_its_terminal() {
    let watched = Watched::preloaded("still");
    let mut command = Command::new("python3");
    command
        .arg("-B")
        .arg(common::repository().join("watch/tests/terminal.py"))
        .arg(TOOL)
        .arg(watched.pid());
    let outcome = common::run(&mut command, TIME_LIMIT);
    outcome.expect_success("terminal.py");
    assert_eq!(outcome.stdout, "ok\n");
}

#[test]
fn a_process_that_ends_is_no_mistake() {
    let mut watched = Watched::preloaded("busy");
    let mut looking = Command::new(TOOL)
        .args(["--json", "--count", "1000000", "--interval", "0.01"])
        .arg(watched.pid())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool can be run");
    let mut output = BufReader::new(looking.stdout.take().expect("stdout is a pipe"));
    let mut line = String::new();
    for _ in 0..3 {
        output.read_line(&mut line).expect("there are looks");
    }
    watched.child.kill().expect("it can be killed");
    output.read_to_string(&mut line).expect("the tool ends");
    let ended = looking.wait_with_output().expect("the tool ends");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{:?} {stderr}", ended.status);
    let pid = watched.pid();
    assert_eq!(stderr, format!("pymalloc-watch: process {pid} has ended\n"));
}

#[test]
fn what_cannot_be_watched_gets_one_line() {
    // More than a process id can be.
    expect_refusal(&watch("2000000000", &[]), "there is no process 2000000000");

    let mut sleep = Command::new("sleep");
    let mut sleep = sleep.arg("300").spawn().expect("sleep can be run");
    let outcome = watch(&sleep.id().to_string(), &["--once"]);
    sleep.kill().expect("it can be killed");
    sleep.wait().expect("it can be waited for");
    expect_refusal(&outcome, "does not run on pymalloc");

    let other = Watched::start(&mut Command::new(compile("other.c", "other", &[])));
    expect_refusal(&other.watch(&[]), "another build, pymalloc 9.8.7-of-others");
    drop(other);

    let watched = Watched::preloaded("still");
    // A file of its own, since nobody may not look into every folder.
    let copy = std::env::temp_dir().join(format!("pymalloc-watch-{}", watched.pid()));
    std::fs::copy(TOOL, &copy).expect("the tool can be copied");
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut command = Command::new(&copy);
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let outcome = match is_root {
        true => common::run(
            command.arg(watched.pid()).uid(NOBODY).gid(NOBODY),
            TIME_LIMIT,
        ),
        false => common::run(command.arg("1"), TIME_LIMIT),
    };
    std::fs::remove_file(&copy).expect("it is ours");
    expect_refusal(&outcome, "may not be read: run as root, or as its user");
}

#[test]
fn mistakes_in_the_arguments_get_one_line() {
    for arguments in [
        &[][..],
        &["x"],
        &["-1"],
        &["0"],
        &["1", "2"],
        &["--never", "1"],
        &["--interval", "0", "1"],
        &["--interval", "nan", "1"],
        &["--count", "-1", "1"],
        &["--count"],
        &["--types", "--most", "-1", "1"],
        &["--why", "--for", "0", "1"],
    ] {
        let outcome = common::run(Command::new(TOOL).args(arguments), TIME_LIMIT);
        assert!(
            outcome.status.code() == Some(2)
                && outcome.stdout.is_empty()
                && outcome.stderr.lines().count() == 1
                && outcome.stderr.starts_with("pymalloc-watch: "),
            "{arguments:?}: {}",
            outcome.describe()
        );
    }
}

#[test]
fn a_full_disk_gets_one_line() {
    let watched = Watched::preloaded("still");
    let full = std::fs::File::create("/dev/full").expect("Linux has it");
    let output = Command::new(TOOL)
        .args(["--json", &watched.pid()])
        .stdout(full)
        .output()
        .expect("the tool can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.lines().count() == 1 && stderr.contains("No space left"),
        "{stderr}"
    );
}
