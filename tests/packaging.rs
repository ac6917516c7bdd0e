//! What `make install` lays down, used as a stranger would use it: from the shell, Python, C, C++, CMake and Rust.
//!
//! Owns: the one installed tree that every test here looks at, under cargo's folder for the tests' files. The programs that are
//! built against it are in `tests/packaging/`; each ends with `ok` once it has seen that its memory is the library's.
//! What must hold: an installed tree is complete, and the shared library asks nothing of a process but the C library.
//!
//! Only on the default geometry: that is the one that is installed.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Longer than anything here takes, a build of the library on a busy machine included.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const VERSION: &str = env!("CARGO_PKG_VERSION");
const PREFIX: &str = "/opt/pymalloc";
/// The shared library, stripped, is loaded into every process: it stays small.
const MAX_STRIPPED_SIZE: u64 = 128 * 1024;

/// The standard names that DESIGN's list gives; the own ones are read off the header.
const STANDARD_NAMES: &[&str] = &[
    "malloc",
    "free",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "malloc_trim",
    "malloc_stats",
    "malloc_info",
    "mallinfo",
    "mallinfo2",
    "mallopt",
    "cfree",
    "free_sized",
    "free_aligned_sized",
    // operator new and new[]: plain, nothrow, aligned, aligned and nothrow.
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    // operator delete and delete[]: plain, nothrow, sized, aligned, sized and aligned, aligned and nothrow.
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
];

/// Runs a command to its end and returns what it printed; anything but success fails the test with all of it.
fn run(command: &mut Command) -> String {
    let outcome = common::run(command, TIME_LIMIT);
    outcome.expect_success(&format!("{command:?}"));
    outcome.stdout
}

/// A program built by a test: it must end well and say so.
fn run_program(command: &mut Command) {
    assert_eq!(run(command).trim(), "ok", "{command:?}");
}

/// A fresh folder for one test's files.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("packaging")
        .join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an old test folder can be removed");
    }
    std::fs::create_dir_all(&folder).expect("a test folder can be made");
    folder
}

/// DESTDIR of the installed tree.
fn destdir() -> &'static Path {
    static DESTDIR: OnceLock<PathBuf> = OnceLock::new();
    DESTDIR.get_or_init(|| {
        let destdir = scratch("installed");
        run(make()
            .arg("install")
            .arg(format!("DESTDIR={}", destdir.display())));
        destdir
    })
}

fn make() -> Command {
    let mut make = Command::new("make");
    make.current_dir(ROOT)
        .arg("--no-print-directory")
        .arg(format!("PREFIX={PREFIX}"))
        // An outer make's jobs and variables are not for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    make
}

fn installed(path: &str) -> PathBuf {
    destdir().join(&PREFIX[1..]).join(path)
}

fn shared_library() -> PathBuf {
    installed(&format!("lib/libpymalloc.so.{VERSION}"))
}

fn source(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/packaging").join(name)
}

/// A C or C++ compiler with the flags that every program here is compiled with.
fn compiler(name: &str) -> Command {
    let mut command = Command::new(name);
    command.args([
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-pthread",
    ]);
    command
}

/// What pkg-config answers, word by word.
fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let answer = run(Command::new("pkg-config")
        .args(arguments)
        .arg("pymalloc")
        .env("PKG_CONFIG_PATH", installed("lib/pkgconfig"))
        .env("PKG_CONFIG_SYSROOT_DIR", destdir()));
    answer.split_whitespace().map(String::from).collect()
}

fn dynamic_section(file: &Path) -> String {
    run(Command::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(file))
}

/// The values in square brackets of the lines of a dynamic section that carry `tag`.
fn dynamic_values(file: &Path, tag: &str) -> Vec<String> {
    dynamic_section(file)
        .lines()
        .filter(|line| line.contains(tag))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_string()))
        .collect()
}

/// The symbol names that nm lists.
fn symbols(file: &Path, which: &str) -> BTreeSet<String> {
    run(Command::new("nm").args(["--dynamic", which]).arg(file))
        .lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .map(String::from)
        .collect()
}

#[test]
fn installed_tree_is_complete_and_uninstall_removes_it() {
    let destdir = scratch("uninstalled");
    let argument = format!("DESTDIR={}", destdir.display());
    run(make().arg("install").arg(&argument));
    let mut expected = vec![
        "bin/pymalloc".to_string(),
        "bin/pymalloc-heapmap".to_string(),
        "bin/pymalloc-run".to_string(),
        "include/pymalloc.h".to_string(),
        "lib/cmake/pymalloc/pymallocConfig.cmake".to_string(),
        "lib/cmake/pymalloc/pymallocConfigVersion.cmake".to_string(),
        "lib/libpymalloc-deepbind.so".to_string(),
        "lib/libpymalloc.a".to_string(),
        "lib/libpymalloc.so".to_string(),
        "lib/libpymalloc.so.0".to_string(),
        format!("lib/libpymalloc.so.{VERSION}"),
        "lib/pkgconfig/pymalloc.pc".to_string(),
        "share/pymalloc/heapmap".to_string(),
    ];
    for folder in ["heapmap-page", "pymalloc-parts"] {
        let parts = files_under(&Path::new(ROOT).join("scripts").join(folder));
        expected.extend(
            parts
                .iter()
                .filter(|part| !part.starts_with("__pycache__"))
                .map(|part| format!("share/pymalloc/{folder}/{part}")),
        );
    }
    // Only where it was built.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    if Path::new(ROOT)
        .join(target)
        .join("release/pymalloc-watch")
        .exists()
    {
        expected.push("bin/pymalloc-watch".to_string());
    }
    expected.sort();
    assert_eq!(files_under(&destdir.join(&PREFIX[1..])), expected);
    run(make().arg("uninstall").arg(&argument));
    assert_eq!(files_under(&destdir), Vec::<String>::new());
}

/// The files under a folder by their paths from there, sorted.
fn files_under(folder: &Path) -> Vec<String> {
    let listed = run(Command::new("find")
        .arg(folder)
        .args(["-not", "-type", "d", "-printf", "%P\n"]));
    let mut files: Vec<String> = listed.lines().map(String::from).collect();
    files.sort();
    files
}

#[test]
fn links_lead_to_the_library_by_its_soname() {
    assert_eq!(
        dynamic_values(&shared_library(), "(SONAME)"),
        ["libpymalloc.so.0"]
    );
    let real = shared_library()
        .canonicalize()
        .expect("the library is there");
    for link in ["lib/libpymalloc.so", "lib/libpymalloc.so.0"] {
        assert_eq!(
            installed(link)
                .canonicalize()
                .expect("the link leads somewhere"),
            real
        );
    }
}

#[test]
fn shared_library_exports_exactly_its_interface() {
    let header =
        std::fs::read_to_string(installed("include/pymalloc.h")).expect("the header is installed");
    let own = header
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('))
        .filter_map(|word| Some(word.split_once('(')?.0.to_string()))
        .filter(|word| word.starts_with("pymalloc_"));
    let expected: BTreeSet<String> = STANDARD_NAMES
        .iter()
        .map(|name| name.to_string())
        .chain(own)
        .collect();
    let exported = symbols(&shared_library(), "--defined-only");
    let missing: Vec<_> = expected.difference(&exported).collect();
    let unexpected: Vec<_> = exported.difference(&expected).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "not exported: {missing:?}; exported without being in the list: {unexpected:?}"
    );
}

#[test]
fn shared_library_is_small() {
    let size = std::fs::metadata(shared_library())
        .expect("the library is there")
        .len();
    assert!(
        size <= MAX_STRIPPED_SIZE,
        "{size} bytes stripped, more than {MAX_STRIPPED_SIZE}"
    );
}

#[test]
fn shared_library_needs_only_the_c_library() {
    let unexpected: Vec<_> = dynamic_values(&shared_library(), "(NEEDED)")
        .into_iter()
        .filter(|name| !name.starts_with("libc.so") && !name.starts_with("ld-linux"))
        .collect();
    assert!(unexpected.is_empty(), "needs {unexpected:?}");
}

#[test]
fn shared_library_starts_without_text_relocations_or_lazy_binding() {
    let section = dynamic_section(&shared_library());
    assert!(!section.contains("TEXTREL"), "{section}");
    assert!(section.contains("NOW"), "{section}");
}

/// `__tls_get_addr` may call malloc, and costs more than the whole fast path does.
#[test]
fn thread_local_storage_is_initial_exec() {
    let undefined = symbols(&shared_library(), "--undefined-only");
    assert!(
        !undefined
            .iter()
            .any(|name| name.starts_with("__tls_get_addr")),
        "{undefined:?}"
    );
    let section = dynamic_section(&shared_library());
    assert!(section.contains("STATIC_TLS"), "{section}");
}

#[test]
fn c_program_by_pkg_config() {
    if !common::has(&["pkg-config"]) {
        return;
    }
    let folder = scratch("pkg-config");
    let program = folder.join("program");
    assert_eq!(pkg_config(&["--modversion"]), [VERSION]);
    run(compiler("cc")
        .arg("-std=c11")
        .arg(source("program.c"))
        .args(pkg_config(&["--cflags", "--libs"]))
        .arg("-o")
        .arg(&program));
    assert!(dynamic_values(&program, "(NEEDED)").contains(&"libpymalloc.so.0".to_string()));
    run_program(Command::new(&program).env("LD_LIBRARY_PATH", installed("lib")));
}

#[test]
fn cpp_program_by_pkg_config() {
    if !common::has(&["pkg-config"]) {
        return;
    }
    let folder = scratch("cpp");
    let program = folder.join("program");
    run(compiler("c++")
        .arg("-std=c++17")
        .arg(source("program.cpp"))
        .args(pkg_config(&["--cflags", "--libs"]))
        .arg("-o")
        .arg(&program));
    run_program(Command::new(&program).env("LD_LIBRARY_PATH", installed("lib")));
}

/// Linked in, with nothing left to find at run time: first beside a shared C library, then with everything in one file.
#[test]
fn programs_with_the_static_library() {
    let folder = scratch("static");
    for (compiler_name, standard, text) in [
        ("cc", "-std=c11", "program.c"),
        ("c++", "-std=c++17", "program.cpp"),
    ] {
        for linking in [&["-pie"][..], &["-static", "-DFULLY_STATIC"]] {
            let program = folder.join(format!("{compiler_name}{}", linking[0]));
            run(compiler(compiler_name)
                .arg(standard)
                .args(linking)
                .arg(format!("-I{}", installed("include").display()))
                .arg(source(text))
                .arg(installed("lib/libpymalloc.a"))
                .args(["-lpthread", "-ldl"])
                .arg("-o")
                .arg(&program));
            run_program(&mut Command::new(&program));
        }
    }
}

#[test]
fn cmake_project() {
    if !common::has(&["cmake"]) {
        return;
    }
    let folder = scratch("cmake");
    run(Command::new("cmake")
        .args(["-Wno-dev", "-DCMAKE_BUILD_TYPE=Release"])
        .arg("-S")
        .arg(source("cmake"))
        .arg("-B")
        .arg(&folder)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", installed("").display())));
    run(Command::new("cmake").arg("--build").arg(&folder));
    // The shared one carries the library's folder as its run path: CMake does that in a build tree.
    run_program(&mut Command::new(folder.join("shared")));
    run_program(&mut Command::new(folder.join("static")));
    assert!(
        dynamic_values(&folder.join("shared"), "(NEEDED)")
            .contains(&"libpymalloc.so.0".to_string())
    );
    assert!(
        !dynamic_values(&folder.join("static"), "(NEEDED)")
            .contains(&"libpymalloc.so.0".to_string())
    );
}

/// Also after the tree was moved, and with the library in another folder than `lib`.
#[test]
fn run_and_heap_map_find_their_parts() {
    let folder = scratch("moved");
    run(make()
        .arg("install")
        .arg(format!("LIBDIR={PREFIX}/lib/of/mine"))
        .arg(format!("DESTDIR={}", folder.join("before").display())));
    let moved = folder.join("after");
    std::fs::rename(folder.join("before").join(&PREFIX[1..]), &moved).expect("it can be moved");
    let version = run(Command::new(moved.join("bin/pymalloc-run")).arg("--version"));
    let library = moved.join("lib/of/mine/libpymalloc.so.0");
    assert_eq!(
        version,
        format!("pymalloc {VERSION} ({})\n", library.display())
    );
    let page = folder.join("page.html");
    run(Command::new(moved.join("bin/pymalloc-run"))
        .arg("--heapmap")
        .arg(&page)
        .args(["python3", "-c", ""]));
    assert!(page.exists());
}

#[test]
fn rust_program() {
    let folder = scratch("rust");
    let manifest = format!(
        "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\npymalloc = {{ path = {ROOT:?} }}\n\n[workspace]\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest can be written");
    std::fs::create_dir(folder.join("src")).expect("a source folder can be made");
    std::fs::copy(source("program.rs"), folder.join("src/main.rs")).expect("the program is there");
    // The same versions of the dependencies as the library is tested with, and nothing to fetch.
    std::fs::copy(
        Path::new(ROOT).join("Cargo.lock"),
        folder.join("Cargo.lock"),
    )
    .expect("Cargo.lock is there");
    run(Command::new(env!("CARGO"))
        .current_dir(&folder)
        .args([
            "build",
            "--quiet",
            "--offline",
            "--release",
            "--target-dir",
            "target",
        ])
        // What cargo sets for this test is not for the program.
        .env_remove("CARGO_ENCODED_RUSTFLAGS"));
    run_program(&mut Command::new(folder.join("target/release/program")));
}
