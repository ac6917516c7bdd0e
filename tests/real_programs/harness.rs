//! Runs the steps of a test once on the system's malloc and once on the
//! preloaded library, and compares what came out.
//!
//! Owns the environment that a program sees, the folder it runs in, the time
//! limit, and the check that the preload reached the program's malloc. Both
//! runs must be equal in every respect but the preload: the same folder, made
//! anew, and the same short list of environment variables.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::common;

const TIME_LIMIT: Duration = Duration::from_secs(300);

/// What a program needs of the caller's environment to be found and to find its own files.
const KEPT_VARIABLES: [&str; 7] = [
    "PATH",
    "HOME",
    "USER",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "PYENV_ROOT",
];

/// What a finished program showed to the outside.
#[derive(PartialEq, Eq)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(
                f,
                "--- {name}, {} bytes ---\n{}",
                stream.len(),
                shortened(stream)
            )?;
        }
        Ok(())
    }
}

fn shortened(stream: &[u8]) -> String {
    const SHOWN: usize = 3000;
    let text = String::from_utf8_lossy(stream);
    match text.char_indices().nth_back(SHOWN) {
        Some((start, _)) => format!("[...]{}", &text[start..]),
        None => text.into_owned(),
    }
}

/// One side of a comparison: where its programs run, and on which malloc.
pub struct Side {
    preload: Option<&'static Path>,
    folder: PathBuf,
}

impl Side {
    pub fn is_preloaded(&self) -> bool {
        self.preload.is_some()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A command that sees nothing of the caller's but the `KEPT_VARIABLES`.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        for name in KEPT_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("TMPDIR", &self.folder);
        if let Some(library) = self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }

    /// Runs to the end; the exit status is the caller's to judge.
    pub fn run(&self, command: &mut Command) -> Outcome {
        let mut child = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let stdout = drain(child.child.stdout.take().unwrap());
        let stderr = drain(child.child.stderr.take().unwrap());
        let status = child.wait(TIME_LIMIT);
        // Ends what the program left running too: it would hold the pipes open.
        drop(child);
        let outcome = Outcome {
            status,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        };
        // The library speaks only of a misuse or of a setting that it does not know.
        assert!(
            !outcome
                .stderr
                .split(|byte| *byte == b'\n')
                .any(|line| line.starts_with(b"pymalloc: ")),
            "the library complained in {command:?}: {outcome:?}"
        );
        outcome
    }

    /// Runs a program that must succeed.
    pub fn ok(&self, command: &mut Command) -> Outcome {
        let outcome = self.run(command);
        assert!(
            outcome.status.success(),
            "{} the preload, {command:?} failed: {outcome:?}",
            if self.preload.is_some() {
                "with"
            } else {
                "without"
            }
        );
        outcome
    }

    /// Runs a script of the shell, which must succeed.
    pub fn shell(&self, script: &str) -> Outcome {
        self.ok(self
            .command("bash")
            .args(["-euo", "pipefail", "-c", script]))
    }

    /// With the preload, asserts that `command` binds its malloc to the
    /// library: the dynamic linker is asked for every binding it makes.
    fn assert_preload_reaches(&self, command: &mut Command) {
        let Some(library) = self.preload else { return };
        let report = self.path("bindings");
        fs::create_dir_all(&report).unwrap();
        self.run(
            command
                .env("LD_DEBUG", "bindings")
                .env("LD_DEBUG_OUTPUT", report.join("of")),
        );
        let bound = fs::read_dir(&report).unwrap().any(|process| {
            let lines = fs::read(process.unwrap().path()).unwrap();
            binds_malloc_to(&String::from_utf8_lossy(&lines), library)
        });
        assert!(
            bound,
            "the preload does not reach the malloc of {command:?}"
        );
        fs::remove_dir_all(&report).unwrap();
    }
}

fn binds_malloc_to(bindings: &str, library: &Path) -> bool {
    let to = format!(" to {} [0]: normal symbol `", library.display());
    bindings.lines().any(|line| {
        line.split_once(&to).is_some_and(|(_, symbol)| {
            ["malloc'", "calloc'", "free'"]
                .iter()
                .any(|name| symbol.starts_with(name))
        })
    })
}

/// A process group that is ended, at the latest, when this is dropped.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        match command.process_group(0).spawn() {
            Ok(child) => Running { child },
            Err(error) => panic!("cannot start {command:?}: {error}"),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn finished(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.finished() {
                return status;
            }
            assert!(begun.elapsed() < limit, "still running after {limit:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: `kill` reads its two numbers only, and the group is that of the
        // child that `start` made; it holds what the child started and left.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Runs `steps` without the preload and with it, and asserts that what they return is equal.
///
/// `programs` are those that the steps run: where one is not installed the test
/// is skipped. The malloc of each must be the library's on the preloaded side.
pub fn same_with_and_without<T: PartialEq + fmt::Debug>(
    name: &str,
    programs: &[&str],
    steps: impl Fn(&Side) -> T,
) {
    if !common::has(programs) {
        return;
    }
    let library: &'static Path = common::library();
    let [without, with] = [None, Some(library)].map(|preload| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("real_programs")
            .join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        fs::create_dir_all(&folder).unwrap();
        let side = Side { preload, folder };
        for program in programs {
            side.assert_preload_reaches(side.command(program).arg("--version"));
        }
        let result = steps(&side);
        fs::remove_dir_all(&side.folder).unwrap();
        result
    });
    assert!(
        without == with,
        "{name}\n=== without the preload: {without:?}\n=== with: {with:?}"
    );
}

/// A file of the folder `inputs`.
pub fn input(name: &str) -> PathBuf {
    project().join("tests/real_programs/inputs").join(name)
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A short stand-in for bytes that are too long to print when they differ.
#[derive(PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self
            .0
            .iter()
            .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
        write!(f, "{} bytes, checksum {sum:016x}", self.0.len())
    }
}
