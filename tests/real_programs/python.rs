//! CPython: its own test suite, a script of ours on every version found, and numpy.

use std::path::PathBuf;
use std::process::Command;

use crate::common;
use crate::harness::{input, project, same_with_and_without};

/// The lines of `scripts/cpython-suite --list`, a CPython from 3.8 on each, oldest first: version, path, and whether it has its tests.
fn listed() -> Vec<String> {
    let list = Command::new(project().join("scripts/cpython-suite"))
        .arg("--list")
        .output()
        .unwrap();
    let lines = String::from_utf8(list.stdout).unwrap();
    assert!(
        !lines.is_empty(),
        "no CPython was found: {}",
        String::from_utf8_lossy(&list.stderr)
    );
    lines.lines().map(str::to_owned).collect()
}

/// The paths of the CPythons.
fn found() -> Vec<PathBuf> {
    let paths = |line: &String| PathBuf::from(line.split(' ').nth(1).unwrap());
    listed().iter().map(paths).collect()
}

/// The version, without its third number, of the CPython whose tests are run here: on the default geometry the newest, on the small one
/// the oldest. The list takes more than a minute on each; `make cpython-suite` runs it on all. `None` where none has its tests.
fn tested() -> Option<String> {
    let mut versions = listed();
    versions.retain(|line| line.ends_with(" tests"));
    let chosen = match cfg!(feature = "small-arenas") {
        true => versions.first(),
        false => versions.last(),
    };
    let version = chosen?.split(' ').next().unwrap();
    Some(version.rsplit_once('.').unwrap().0.to_owned())
}

/// The core list of CPython's own tests, by `scripts/cpython-suite`, which compares them case by case.
#[test]
fn cpython_suite() {
    let Some(version) = tested() else {
        common::lacks("a CPython with its own tests");
        return;
    };
    let mut suite = Command::new(project().join("scripts/cpython-suite"));
    suite.args(["--python", &version]);
    let run = suite
        .env("PYMALLOC_LIBRARY", common::library())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    println!("{report}");
    assert!(
        run.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// Every version, with all objects on malloc and with the small ones on its own allocator.
#[test]
fn cpython_objects() {
    for python in found() {
        let name = format!("objects-{}", python.display().to_string().replace('/', "-"));
        same_with_and_without(&name, &[python.to_str().unwrap()], |side| {
            ["malloc", "pymalloc"].map(|allocator| {
                side.ok(side
                    .command(&python)
                    .env("PYTHONMALLOC", allocator)
                    .env("PYTHONHASHSEED", "0")
                    .arg(input("objects.py")))
            })
        });
    }
}

#[test]
fn numpy() {
    let environment = project().join("target/venv");
    if !environment.join("with-numpy").exists() {
        common::lacks("numpy in target/venv");
        return;
    }
    let python = environment.join("bin/python");
    same_with_and_without("numpy", &[python.to_str().unwrap()], |side| {
        side.ok(side
            .command(&python)
            .env("PYTHONMALLOC", "malloc")
            .env("OPENBLAS_NUM_THREADS", "2")
            .arg(input("numpy_arrays.py")))
    });
}
