//! Plugins that are opened with RTLD_DEEPBIND: what happens without libpymalloc-deepbind.so, and with it in front.
//!
//! Owns: compiling the host and its plugins of `c_tests/deepbind*.c`. What must hold: with the library of `deepbind/` in front a host with such
//! plugins runs on pymalloc to its end, and finds all that it finds without.
//!
//! Only on the default geometry: nothing here depends on it.

#![cfg(not(feature = "small-arenas"))]

mod common;

use common::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Compiles one source of `c_tests` into a folder.
fn compile(source: &str, output: &Path, arguments: &[&str]) {
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(output)
        .arg(common::repository().join("c_tests").join(source))
        .args(arguments)
        .arg("-ldl");
    common::run(&mut command, TIME_LIMIT).expect_success(source);
}

/// A folder with the host, its plugin, and in a folder below the library that only the plugin finds.
fn host(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("deepbind-{name}"));
    fs::create_dir_all(folder.join("own")).expect("the target directory can be written");
    let shared = ["-shared", "-fPIC"];
    compile("deepbind.c", &folder.join("host"), &[]);
    let plugin = [&shared[..], &["-Wl,-rpath,$ORIGIN/own"]].concat();
    compile("deepbind_plugin.c", &folder.join("plugin.so"), &plugin);
    let inner = [&shared[..], &["-DINNER"]].concat();
    let path = folder.join("own/pymalloc-test-inner.so");
    compile("deepbind_plugin.c", &path, &inner);
    folder
}

/// The host, with these libraries preloaded.
fn run_host(folder: &Path, how: &str, preloaded: &[&Path]) -> Outcome {
    let names: Vec<_> = preloaded
        .iter()
        .map(|path| path.to_str().expect("a path of these tests is text"))
        .collect();
    let mut command = Command::new(folder.join("host"));
    command
        .arg(how)
        .arg(folder)
        .env("LD_PRELOAD", names.join(":"));
    common::run(&mut command, TIME_LIMIT)
}

#[test]
fn plugins_opened_deeply_run_with_the_library_in_front() {
    let folder = host("runs");
    for how in ["dlopen", "dlmopen"] {
        for preloaded in [&[][..], &[common::deepbind(), common::library()]] {
            let outcome = run_host(&folder, how, preloaded);
            outcome.expect_success(&format!("{how} with {preloaded:?}"));
            assert_eq!(outcome.stdout, "ok\n");
        }
    }
}

/// What the library is there for. Should this ever end well, README's limits are wrong, and the library can go.
#[test]
fn plugins_opened_deeply_free_with_the_c_library_without_it() {
    let folder = host("fails");
    let outcome = run_host(&folder, "dlopen", &[common::library()]);
    assert!(!outcome.status.success(), "{}", outcome.describe());
}

#[test]
fn it_exports_what_it_changes_and_nothing_else() {
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=just-symbols"])
        .arg(common::deepbind());
    let listed = common::run(&mut nm, TIME_LIMIT);
    listed.expect_success("nm");
    assert_eq!(listed.stdout, "dlmopen\ndlopen\n");
}
