//! CPython: its own test suite, a script of ours on every version found, and numpy.

use std::path::PathBuf;
use std::process::Command;

use crate::common;
use crate::harness::{input, install_programs, project, same_with_and_without};

/// What `scripts/cpython-suite --list` says of each CPython from 3.8 on that it finds, oldest first: word `number` of it.
fn listed(number: usize) -> Vec<String> {
    let list = Command::new(project().join("scripts/cpython-suite"))
        .arg("--list")
        .output()
        .unwrap();
    let lines = String::from_utf8(list.stdout).unwrap();
    let words: Vec<_> = lines
        .lines()
        .map(|line| line.split(' ').nth(number).unwrap().to_owned())
        .collect();
    assert!(
        !words.is_empty(),
        "no CPython was found: {}",
        String::from_utf8_lossy(&list.stderr)
    );
    words
}

/// The paths of the CPythons.
fn found() -> Vec<PathBuf> {
    listed(1).into_iter().map(PathBuf::from).collect()
}

/// The newest CPython's version, without its third number.
fn newest() -> String {
    let version = listed(0).pop().unwrap();
    let (minor, _) = version.rsplit_once('.').unwrap();
    minor.to_owned()
}

/// The core list of CPython's own tests, by `scripts/cpython-suite`, which compares them case by case. On the small geometry
/// with the newest version alone: what is different there does not depend on the version, and the list takes minutes.
#[test]
fn cpython_suite() {
    install_programs();
    let mut suite = Command::new(project().join("scripts/cpython-suite"));
    if cfg!(feature = "small-arenas") {
        suite.args(["--python", &newest()]);
    }
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
    install_programs();
    let python = project().join("target/venv/bin/python");
    assert!(
        python.exists(),
        "no target/venv with numpy, and install-test-programs did not make one"
    );
    same_with_and_without("numpy", &[python.to_str().unwrap()], |side| {
        side.ok(side
            .command(&python)
            .env("PYTHONMALLOC", "malloc")
            .env("OPENBLAS_NUM_THREADS", "2")
            .arg(input("numpy_arrays.py")))
    });
}
