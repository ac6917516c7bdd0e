//! Compiles a program of `c_tests/` and runs it.

pub use crate::common::platform::platform;
use crate::common::{
    self, Outcome, SMALL_ARENAS, SONAME, library, repository, run, static_library,
};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How a program comes to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Linked with the shared library.
    Linked,
    /// Not linked with it; `LD_PRELOAD` brings it in.
    Preloaded,
    /// Linked with the static library.
    Static,
    /// Not at all: the program loads it by itself.
    Alone,
}

/// Where the programs are compiled to. The geometries may share a target directory.
pub fn output_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let geometry = if SMALL_ARENAS { "small" } else { "default" };
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("c_tests")
            .join(platform().folder(geometry));
        fs::create_dir_all(&directory).expect("the target directory can be written");
        directory
    })
}

/// A directory with the library under the names that the linker and the loader look for.
pub fn link_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = output_directory().join("lib");
        fs::create_dir_all(&directory).expect("the target directory can be written");
        for name in ["libpymalloc.so", SONAME] {
            let link = directory.join(name);
            // Of an earlier run, and perhaps to another library.
            let _ = fs::remove_file(&link);
            symlink(library(), &link).expect("a link can be made");
        }
        directory
    })
}

/// The compiler with the warnings as errors. `cc` is made for build scripts, which are told the target.
pub fn compiler(source: &str) -> Command {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cplusplus = source.ends_with(".cpp");
    let mut build = cc::Build::new();
    build
        .target(&platform().target)
        .host(&host)
        .opt_level(2)
        .debug(true)
        .cpp(cplusplus)
        .std(if cplusplus { "c++17" } else { "gnu11" })
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .cargo_metadata(false)
        .include(repository().join("include"))
        .flag("-pthread");
    // What the compiler takes for granted of these is what the tests are to find out.
    for name in [
        "malloc",
        "calloc",
        "realloc",
        "free",
        "aligned_alloc",
        "posix_memalign",
    ] {
        build.flag(format!("-fno-builtin-{name}"));
    }
    let mut command = build
        .try_get_compiler()
        .expect("there is a C compiler")
        .to_command();
    command
        .args(&platform().compiler_arguments)
        .arg(repository().join("c_tests").join(source));
    command
}

pub fn must_compile(mut command: Command, output: &Path) {
    // To another name first, so that a second test run in the same directory never meets half a program.
    let unfinished = output.with_extension(std::process::id().to_string());
    let result = command
        .arg("-o")
        .arg(&unfinished)
        .output()
        .expect("the compiler can be run");
    assert!(
        result.status.success(),
        "{:?} {:?} fails:\n{}",
        command.get_program(),
        command.get_args().collect::<Vec<_>>(),
        String::from_utf8_lossy(&result.stderr)
    );
    fs::rename(&unfinished, output).expect("the program can be renamed");
}

/// Compiles a program for one way, once a run.
pub fn compile(source: &'static str, way: Way) -> PathBuf {
    type Cell = &'static OnceLock<PathBuf>;
    static COMPILED: Mutex<Option<HashMap<(&str, Way), Cell>>> = Mutex::new(None);
    // The lock is not held while a program compiles: two tests may compile two programs.
    let cell: Cell = {
        let mut compiled = COMPILED.lock().expect("no test panics with the lock");
        compiled
            .get_or_insert_with(HashMap::new)
            .entry((source, way))
            .or_insert_with(|| Box::leak(Box::default()))
    };
    cell.get_or_init(|| {
        let (stem, _) = source.rsplit_once('.').expect("a source has an extension");
        let mut command = compiler(source);
        match way {
            Way::Linked => {
                command
                    .arg("-L")
                    .arg(link_directory())
                    .arg("-lpymalloc")
                    .arg(format!("-Wl,-rpath,{}", link_directory().display()));
            }
            Way::Static => {
                command.arg(static_library()).arg("-Wl,-u,pymalloc_inspect");
                command.args(platform().static_arguments);
            }
            Way::Preloaded | Way::Alone => {}
        }
        // `find` in check.h looks names up at run time, also those that the program has linked in; and what a program has in the place
        // of the C library's functions is to be what others find.
        command.args(["-rdynamic", "-ldl"]);
        let output = output_directory().join(format!("{stem}-{way:?}").to_lowercase());
        must_compile(command, &output);
        output
    })
    .clone()
}

/// The command that runs a program, with no settings but its own.
pub fn command(source: &'static str, way: Way, arguments: &[&str]) -> Command {
    let mut command = match way {
        Way::Preloaded => common::preloaded(compile(source, way)),
        _ => platform().command(compile(source, way)),
    };
    command.args(arguments).env_remove("PYMALLOC_CONF");
    if let Some(settings) = platform().settings(source) {
        command.env("PYMALLOC_CONF", settings);
    }
    command
}

pub fn expect_success(source: &'static str, way: Way, arguments: &[&str], seconds: u64) -> Outcome {
    let outcome = run(
        &mut command(source, way, arguments),
        Duration::from_secs(seconds * platform().patience),
    );
    outcome.expect_success(&format!("{source} {arguments:?}, {way:?}"));
    // The figures that some programs print, for `--nocapture`.
    print!("{}", outcome.stdout);
    outcome
}
