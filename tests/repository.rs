//! What a stranger finds in the repository and in the crate: links that lead somewhere, an index of all pages, a crate with what belongs in it,
//! examples that run.
//!
//! Owns: a package of the crate, under cargo's folder for the tests' files.
//!
//! Only on the default geometry: nothing here depends on it.

#![cfg(not(feature = "small-arenas"))]

mod common;

use common::repository;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longer than anything here takes, a build of the library on a busy machine included.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Folders whose pages are not the repository's.
const OTHERS: [&str; 3] = ["target", ".git", "shared"];

/// What a command printed; anything but success fails the test.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(repository()).args(arguments);
    let outcome = common::run(&mut command, TIME_LIMIT);
    outcome.expect_success(&format!("{command:?}"));
    outcome.stdout
}

/// All Markdown files of the repository.
fn pages() -> Vec<PathBuf> {
    let (mut folders, mut pages) = (vec![repository().to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
            let path = entry.expect("an entry can be read").path();
            let is_other = OTHERS.iter().any(|other| path.ends_with(other));
            if path.is_dir() && !path.is_symlink() && !is_other {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Where the links of a page lead, those to other sites and to places in the page itself left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    assert!(pages.len() > 8, "found only {pages:?}");
    let mut lost = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).expect("a page can be read");
        let folder = page.parent().expect("a page lies in a folder");
        let of_page = links(&text).filter(|target| !folder.join(target).exists());
        lost.extend(of_page.map(|target| format!("{}: {target}", page.display())));
    }
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn support_matrix_is_that_of_the_record() {
    let mut command = Command::new(repository().join("scripts/support-matrix"));
    let outcome = common::run(command.arg("--check"), TIME_LIMIT);
    outcome.expect_success("scripts/support-matrix --check");
}

#[test]
fn index_names_every_page() {
    let index = fs::read_to_string(repository().join("docs/README.md")).expect("there is an index");
    let named: Vec<_> = links(&index).collect();
    let docs = repository().join("docs");
    for page in pages() {
        let Ok(name) = page.strip_prefix(&docs) else {
            continue;
        };
        let is_named = named.iter().any(|named| Path::new(named) == name);
        assert!(
            is_named || name == Path::new("README.md"),
            "docs/README.md does not name {}",
            name.display()
        );
    }
}

#[test]
fn crate_has_its_sources_and_no_pictures() {
    const BESIDE_SOURCES: [&str; 8] = [
        ".cargo_vcs_info.json",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Cargo.toml.orig",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
    ];
    let listed = cargo(&["package", "--list", "--allow-dirty", "--offline"]);
    let files: Vec<_> = listed.lines().collect();
    let (sources, beside): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.starts_with("src/") || file.starts_with("examples/"));
    let unexpected: Vec<_> = sources
        .iter()
        .filter(|file| !file.ends_with(".rs") && **file != "src/README.md")
        .chain(beside.iter().filter(|file| !BESIDE_SOURCES.contains(file)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    // The first is there only in a checkout.
    let missing: Vec<_> = BESIDE_SOURCES[1..]
        .iter()
        .filter(|file| !beside.contains(file))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(sources.contains(&"src/lib.rs") && sources.contains(&"examples/inspect.rs"));
}

/// Without the rest of the repository around it.
#[test]
fn crate_builds_on_its_own() {
    let target = concat!(env!("CARGO_TARGET_TMPDIR"), "/package");
    cargo(&[
        "package",
        "--package",
        "pymalloc",
        "--allow-dirty",
        "--offline",
        "--target-dir",
        target,
    ]);
}

/// What an example prints, built as a program of a user's would be: in a package of its own, without what the tests need.
fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("example-{name}"));
    let root = repository();
    let manifest = format!(
        "[package]\nname = {name:?}\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [[bin]]\nname = {name:?}\npath = {:?}\n\n\
         [dependencies]\npymalloc = {{ path = {root:?} }}\n\n[workspace]\n",
        root.join(format!("examples/{name}.rs"))
    );
    fs::create_dir_all(&folder).expect("a folder can be made");
    let manifest_path = folder.join("Cargo.toml");
    fs::write(&manifest_path, manifest).expect("a manifest can be written");
    // The versions that the library is tested with, and nothing to fetch.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("Cargo.lock is there");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(&folder)
        .args(["run", "--quiet", "--offline", "--target-dir", "target"]);
    let outcome = common::run(&mut command, TIME_LIMIT);
    outcome.expect_success(name);
    outcome.stdout
}

/// The number of MiB at the end of each line.
fn mebibytes(printed: &str) -> Vec<usize> {
    printed
        .lines()
        .filter_map(|line| line.strip_suffix(" MiB")?.rsplit(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn example_of_a_global_allocator_gives_memory_back() {
    let printed = example("global_allocator");
    let [before, full, after] = mebibytes(&printed)[..] else {
        panic!("{printed}");
    };
    assert!(full > before + 90 && after < before + 16, "{printed}");
}

#[test]
fn example_of_inspect_tells_where_values_lie() {
    let printed = example("inspect");
    for (line, told) in printed.lines().zip([
        "Pool, Allocated: block",
        "Pool, Allocated: block",
        "Large, Allocated: block 0 of 114688 bytes",
        "Mapping, Allocated: block 0 of",
        "None, None: block 0 of 0 bytes",
    ]) {
        assert!(line.contains(told), "{line}: not {told}");
    }
    assert_eq!(printed.lines().count(), 5, "{printed}");
}
