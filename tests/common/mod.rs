//! What the tests of the built library share: finding or building it, running programs with a time limit, and skipping what this machine cannot run.
//!
//! Owns: the one build of the shared and of the static library that the tests of a run use, and the list of what was skipped.
//! What must hold: the library under test has the geometry that the tests themselves were compiled with. A test that does not run is in that list.

// Each test program uses its own part of this.
#![allow(dead_code)]

pub mod platform;

use platform::platform;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Whether these tests, and so the library that they test, are of the small geometry.
pub const SMALL_ARENAS: bool = cfg!(feature = "small-arenas");

/// The name that programs linked with the library look for.
pub const SONAME: &str = "libpymalloc.so.0";

/// The top of the repository: the folder of the crate that is tested, or the one above.
pub fn repository() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders
        .find(|folder| folder.join("c_tests").is_dir())
        .expect("every crate lies in the repository")
}

/// The shared library: the one that `PYMALLOC_LIBRARY` names, or else the one that is built from this source.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| named_or_built("PYMALLOC_LIBRARY", "libpymalloc.so"))
}

/// The static library: the one that `PYMALLOC_STATIC_LIBRARY` names, or else the one that is built from this source.
pub fn static_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let built = named_or_built("PYMALLOC_STATIC_LIBRARY", "libpymalloc.a");
        weakened(&built)
    })
}

/// The static library with weak names, as `make` leaves it.
fn weakened(built: &Path) -> PathBuf {
    let weak = built.with_file_name("libpymalloc-weak.a");
    // To another name first: several test runs may do this at a time.
    let unfinished = weak.with_extension(std::process::id().to_string());
    let output = Command::new(platform().objcopy)
        .args(["--wildcard", "--weaken-symbols"])
        .arg(repository().join("scripts/weak-names"))
        .args([built, unfinished.as_path()])
        .output()
        .expect("objcopy can be run");
    assert!(
        output.status.success(),
        "objcopy: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&unfinished, &weak).expect("the library can be renamed");
    weak
}

/// The library that is put in front for plugins, built as `make` builds it.
pub fn deepbind() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut make = Command::new("make");
        make.current_dir(repository())
            .args(["--no-print-directory", "--silent", "deepbind"])
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL");
        run(&mut make, Duration::from_secs(300)).expect_success("make deepbind");
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        repository()
            .join(target)
            .join("release/libpymalloc-deepbind.so")
    })
}

/// `pymalloc-watch` of this source, which knows the structures of the library that is tested.
pub fn watch() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(repository())
            .args(["build", "--quiet", "--package", "pymalloc-watch"]);
        run(&mut cargo, Duration::from_secs(300)).expect_success("cargo build");
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        repository().join(target).join("debug/pymalloc-watch")
    })
}

fn named_or_built(variable: &str, file: &str) -> PathBuf {
    match std::env::var_os(variable) {
        // Absolute, because the programs that it is preloaded into may run elsewhere.
        Some(path) => std::fs::canonicalize(&path)
            .unwrap_or_else(|error| panic!("{variable}={}: {error}", path.display())),
        None => build(file),
    }
}

/// Builds the library; quick when it is up to date. Cargo holds no lock while it runs tests, and
/// takes its own against other builds.
fn build(file: &str) -> PathBuf {
    let mut target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => repository().join(directory),
        None => repository().join("target"),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(repository())
        .args(["build", "--release", "--package", "pymalloc-c"]);
    if SMALL_ARENAS {
        cargo.args(["--features", "small-arenas"]);
        // Of its own, or each build would replace the library of the other geometry.
        if !target.ends_with("small") {
            target.push("small");
        }
    }
    let output = cargo
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "the library does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let built = target.join("release").join(file);
    assert!(built.exists(), "the build left no {}", built.display());
    built
}

/// How a program ended, and what it said.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// It was still running at its time limit, and was killed.
    pub timed_out: bool,
}

impl Outcome {
    /// Panics with all that is known, unless the program ended well.
    pub fn expect_success(&self, what: &str) {
        assert!(
            self.status.success() && !self.timed_out,
            "{what}: {}",
            self.describe()
        );
    }

    /// How it ended and what it said, for a person.
    pub fn describe(&self) -> String {
        let end = if self.timed_out {
            String::from("killed at its time limit")
        } else if let Some(signal) = self.status.signal() {
            format!("ended by signal {signal}")
        } else {
            format!("{}", self.status)
        };
        format!(
            "{end} after {:.1} s\nstdout: {}\nstderr: {}",
            self.elapsed.as_secs_f64(),
            self.stdout,
            self.stderr
        )
    }
}

/// Runs a program to its end, or kills it and all that it has started at the time limit.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that its children can be ended with it.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let stdout = read_all(child.stdout.take().expect("stdout is a pipe"));
    let stderr = read_all(child.stderr.take().expect("stderr is a pipe"));

    let mut timed_out = false;
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if start.elapsed() > limit {
            timed_out = true;
            kill_group(child.id());
            break child.wait().expect("a child can be waited for");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let elapsed = start.elapsed();
    // Whoever is left of the group would keep the pipes open for ever.
    kill_group(child.id());
    Outcome {
        status,
        stdout: stdout.join().expect("the pipe can be read"),
        stderr: platform().of_program(stderr.join().expect("the pipe can be read")),
        elapsed,
        timed_out,
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the text as its end would.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Whether all programs that a test needs are there; if not, the test is skipped. `make test-deps` installs them.
///
/// With `PYMALLOC_TEST_ALL=1` it fails instead: nothing may be missing where every change is tested.
pub fn has(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| !is_installed(program))
        .copied()
        .collect();
    missing.is_empty() || {
        lacks(&missing.join(", "));
        false
    }
}

/// Skips a test for something that `make test-deps` installs, or fails as [`has`] does.
pub fn lacks(what: &str) {
    let all = std::env::var_os("PYMALLOC_TEST_ALL").is_some_and(|value| value == "1");
    assert!(!all, "not installed: {what}");
    skip(&format!("not installed: {what}"));
}

fn is_installed(program: &str) -> bool {
    // A path is its own folder's, whichever the folder.
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Says that the calling test, or a part of it, is skipped, and why, in the list that `make test` shows at its end.
pub fn skip(why: &str) {
    let current = thread::current();
    let line = format!("{}: {why}\n", current.name().unwrap_or("a test"));
    print!("skipped: {line}");
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(list);
    // One write, so that lines of several tests do not mix.
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("cargo's folder for tests can be written");
}

fn kill_group(leader: u32) {
    let group = i32::try_from(leader).expect("a process id is an i32");
    // SAFETY: kill takes two numbers and touches no memory of ours. The group is the one that `run` has made; once its last
    // process is gone there is no such group, and nothing happens.
    unsafe {
        libc::kill(-group, libc::SIGKILL);
    }
}

/// A command that runs `program` with the library preloaded.
pub fn preloaded(program: impl AsRef<OsStr>) -> Command {
    let mut command = platform().command(program);
    command.env("LD_PRELOAD", library());
    command
}

/// The command that runs the tests in Python of a folder.
pub fn unittests(folder: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .current_dir(repository())
        .args(["-B", "-m", "unittest", "discover", "--verbose"])
        .args(["--start-directory", folder]);
    command
}
