//! Runs the C and C++ programs of `c_tests/` against the built library: linked with it, with it preloaded, and some with the
//! static library.
//!
//! Owns: compiling those programs, and what their runner alone can judge: how a program was ended, what came out on stderr, what
//! a setting changed. What must hold: each program makes sure by itself that pymalloc is its malloc; a program ends with
//! status 0 or says on stderr why not; none runs longer than its limit.

mod common;

use common::{Outcome, SMALL_ARENAS, SONAME, library, repository, run, static_library};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// How a program comes to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
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
fn output_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let geometry = if SMALL_ARENAS { "small" } else { "default" };
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("c_tests")
            .join(geometry);
        fs::create_dir_all(&directory).expect("the target directory can be written");
        directory
    })
}

/// A directory with the library under the names that the linker and the loader look for.
fn link_directory() -> &'static Path {
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
fn compiler(source: &str) -> Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cplusplus = source.ends_with(".cpp");
    let mut build = cc::Build::new();
    build
        .target(&target)
        .host(&target)
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
    command.arg(repository().join("c_tests").join(source));
    command
}

fn must_compile(mut command: Command, output: &Path) {
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
fn compile(source: &'static str, way: Way) -> PathBuf {
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
fn command(source: &'static str, way: Way, arguments: &[&str]) -> Command {
    let mut command = match way {
        Way::Preloaded => common::preloaded(compile(source, way)),
        _ => Command::new(compile(source, way)),
    };
    command.args(arguments).env_remove("PYMALLOC_CONF");
    command
}

fn expect_success(source: &'static str, way: Way, arguments: &[&str], seconds: u64) -> Outcome {
    let outcome = run(
        &mut command(source, way, arguments),
        Duration::from_secs(seconds),
    );
    outcome.expect_success(&format!("{source} {arguments:?}, {way:?}"));
    // The figures that some programs print, for `--nocapture`.
    print!("{}", outcome.stdout);
    outcome
}

/// A module a program, with a test a way. The number is the limit in seconds: many times what the
/// program takes, for machines that are slow or busy.
macro_rules! programs {
    ($($name:ident: $source:literal, $arguments:expr, $seconds:literal, [$($test:ident: $way:ident),*];)*) => {$(
        mod $name {
            use super::*;
            $(
                #[test]
                fn $test() {
                    expect_success($source, Way::$way, &$arguments, $seconds);
                }
            )*
        }
    )*};
}

programs! {
    standards: "standards.c", [], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    inspect: "inspect.c", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    own_names: "api.c", [], 60, [linked: Linked, with_static_library: Static];
    stress_seed_1: "stress.c", ["1"], 120, [linked: Linked];
    stress_seed_2: "stress.c", ["2"], 120, [preloaded: Preloaded];
    stress_seed_3: "stress.c", ["3", "30000"], 120, [with_static_library: Static];
    stale_bytes: "stale_bytes.c", [], 60, [linked: Linked, preloaded: Preloaded];
    fork_threads: "fork_threads.c", [], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    fork_of_a_thread_that_holds_its_heap: "fork_held.c", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    waiting_in_real_time: "waiting.c", ["realtime"], 60, [linked: Linked, preloaded: Preloaded];
    waiting_for_a_nice_thread: "waiting.c", ["nice"], 60, [linked: Linked, preloaded: Preloaded];
    fork_beside_stdio: "fork_stdio.c", ["threads"], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    fork_inside_stdio: "fork_stdio.c", ["inside"], 60, [linked: Linked, preloaded: Preloaded];
    fork_inside_stdio_of_one_thread: "fork_stdio.c", ["inside-alone"], 60, [linked: Linked, preloaded: Preloaded];
    trim_beside_threads_and_forks: "trim_beside.c", [], 120, [linked: Linked, preloaded: Preloaded];
    short_threads: "short_threads.c", [], 120, [linked: Linked, preloaded: Preloaded];
    producer_and_consumer: "producer_consumer.c", ["pair"], 120, [linked: Linked, preloaded: Preloaded];
    sleeping_owner: "producer_consumer.c", ["sleeper"], 60, [linked: Linked, preloaded: Preloaded];
    exhaustion: "exhaustion.c", [], 120, [linked: Linked, preloaded: Preloaded];
    map_limit: "map_limit.c", [], 60, [linked: Linked, preloaded: Preloaded];
    map_limit_small: "map_limit_small.c", [], 180, [preloaded: Preloaded];
    retained_of_two_buffers: "retained.c", ["twice"], 60, [preloaded: Preloaded];
    retained_through_phases: "retained.c", ["phases"], 60, [preloaded: Preloaded];
    retained_until_more_is_dropped: "retained.c", ["dropped"], 60, [preloaded: Preloaded];
    retained_in_pools_until_runs_raise_the_peak: "retained.c", ["runs"], 60, [preloaded: Preloaded];
    retained_beyond_what_one_call_gives_up: "retained.c", ["bounded"], 60, [preloaded: Preloaded];
    retained_until_some_calls: "retained.c", ["calls"], 120, [preloaded: Preloaded];
    destructors_of_keys: "late_free.c", ["keys"], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    first_blocks_in_the_last_destructors: "late_free.c", ["first"], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    pools_adopted_and_freed: "shared_pools.c", ["adopted"], 120, [linked: Linked, preloaded: Preloaded];
    pools_claimed_by_two: "shared_pools.c", ["claimed"], 120, [linked: Linked, preloaded: Preloaded];
    mixed_frees: "shared_pools.c", ["mixed"], 60, [linked: Linked, preloaded: Preloaded];
    pools_left_nearly_full: "shared_pools.c", ["nearly"], 60, [linked: Linked, preloaded: Preloaded];
    idle_threads: "shared_pools.c", ["idle"], 60, [linked: Linked, preloaded: Preloaded];
    threads_in_locked_memory: "slot_map.c", ["locked"], 60, [linked: Linked, preloaded: Preloaded];
    locked_memory_under_a_limit: "slot_map.c", ["limit"], 60, [linked: Linked, preloaded: Preloaded];
    threads_under_a_limit_of_addresses: "slot_map.c", ["addresses"], 60, [linked: Linked, preloaded: Preloaded];
    slot_maps_outgrown: "slot_map.c", ["threads"], 120, [linked: Linked, preloaded: Preloaded];
    slot_maps_that_cannot_be_unmapped: "slot_map.c", ["refused"], 120, [linked: Linked, preloaded: Preloaded];
    slot_maps_outgrown_and_forks: "slot_map.c", ["fork"], 120, [linked: Linked, preloaded: Preloaded];
    pages_dropped: "pages.c", ["drop"], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    pages_and_other_threads: "pages.c", ["others"], 60, [linked: Linked, preloaded: Preloaded];
    pages_and_forks: "pages.c", ["fork"], 60, [linked: Linked, preloaded: Preloaded];
    pages_of_blocks_with_marks: "pages.c", ["marks"], 60, [linked: Linked, preloaded: Preloaded];
    pages_locked: "pages.c", ["locked"], 60, [linked: Linked, preloaded: Preloaded];
    mappings_contents: "mappings.c", ["contents"], 120, [linked: Linked, preloaded: Preloaded];
    mappings_reused: "mappings.c", ["reused"], 60, [preloaded: Preloaded];
    mappings_unwritten: "mappings.c", ["unwritten"], 60, [preloaded: Preloaded];
    mappings_holes: "mappings.c", ["holes"], 60, [preloaded: Preloaded];
    mappings_resized: "mappings.c", ["resized"], 60, [preloaded: Preloaded];
    returned_though_zeroed: "returned.c", ["zeroed"], 60, [preloaded: Preloaded];
    returned_when_shrunk: "returned.c", ["shrunk"], 60, [preloaded: Preloaded];
    returned_though_one_is_locked: "returned.c", ["locked"], 60, [preloaded: Preloaded];
    returned_where_all_is_locked: "returned.c", ["refused"], 60, [preloaded: Preloaded];
    returned_beside_protected_blocks: "returned.c", ["protected"], 60, [linked: Linked, preloaded: Preloaded];
    returned_after_equal_spikes: "returned.c", ["retained"], 60, [preloaded: Preloaded];
    returned_when_forgotten: "returned.c", ["forgotten"], 60, [preloaded: Preloaded];
    returned_from_a_busy_thread: "returned.c", ["busy"], 60, [preloaded: Preloaded];
    returned_little_by_little: "returned.c", ["bounded"], 60, [preloaded: Preloaded];
    returned_from_threads_that_ended: "returned.c", ["ended"], 60, [preloaded: Preloaded];
    promise_of_one_thread: "promise.c", ["1", "1"], 120, [linked: Linked, preloaded: Preloaded];
    promise_of_two_threads: "promise.c", ["2", "2"], 120, [linked: Linked, with_static_library: Static];
    promise_of_four_threads: "promise.c", ["4", "3"], 120, [linked: Linked, preloaded: Preloaded];
    statistics_are_exact: "statistics.c", ["figures"], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    statistics_of_other_versions: "statistics.c", ["structure"], 60, [linked: Linked];
    statistics_that_cannot_be_written: "statistics.c", ["errors"], 60, [linked: Linked];
    snapshot_of_known_blocks: "heapmap.c", ["blocks"], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    snapshot_of_numbers_alone: "heapmap.c", ["counts"], 60, [linked: Linked];
    snapshot_of_other_threads: "heapmap.c", ["others"], 60, [linked: Linked, preloaded: Preloaded];
    snapshot_of_purged_pages: "heapmap.c", ["purged"], 60, [linked: Linked, preloaded: Preloaded];
    snapshots_while_threads_work: "heapmap.c", ["busy"], 120, [linked: Linked, preloaded: Preloaded];
    snapshot_without_memory: "heapmap.c", ["memory"], 60, [linked: Linked, preloaded: Preloaded];
    snapshots_in_children: "heapmap.c", ["fork"], 120, [linked: Linked, preloaded: Preloaded];
    snapshot_read_in_the_same_process: "heapmap.c", ["pipe"], 120, [linked: Linked, preloaded: Preloaded];
    snapshots_that_cannot_be_written: "heapmap.c", ["errors"], 60, [linked: Linked];
    realloc_growth: "realloc_growth.c", [], 60, [linked: Linked, preloaded: Preloaded];
    arenas: "arenas.c", ["1"], 60, [linked: Linked, preloaded: Preloaded];
    interposed_system_functions: "interposed.c", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    usable_size_of_protected_blocks: "usable_size.c", [], 60, [linked: Linked, preloaded: Preloaded];
    more_than_all_memory: "overcommit.c", [], 60, [linked: Linked, preloaded: Preloaded];
    more_than_can_be: "too_large.c", [], 60, [linked: Linked, preloaded: Preloaded];
    own_operators: "own_operators.cpp", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    own_malloc: "own_malloc.cpp", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    cpp_features: "cpp_features.cpp", [], 60, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
}

/// The functions of the malloc family make the system calls that the README names, and no others.
mod system_calls {
    use super::*;

    /// What the README says that a filter of system calls must know.
    fn named() -> Vec<String> {
        let text = fs::read_to_string(repository().join("README.md")).expect("there is a README");
        let (_, rest) = text
            .split_once(
                "A filter of system calls that ends the process at one it does not know must know ",
            )
            .expect("the README names the system calls");
        let (list, _) = rest.split_once('.').expect("a sentence ends");
        let names = list.split('`').skip(1).step_by(2);
        names.map(str::to_string).collect()
    }

    fn are_those_named(way: Way) {
        let named = named();
        assert!(named.len() >= 5, "{named:?}");
        let names: Vec<&str> = named.iter().map(String::as_str).collect();
        expect_success("filtered.c", way, &names, 60);
    }

    #[test]
    fn linked() {
        are_those_named(Way::Linked);
    }

    #[test]
    fn preloaded() {
        are_those_named(Way::Preloaded);
    }
}

/// Forms of `operator new` that fail in a plugin.
mod failing_new {
    use super::*;

    /// Compiles the plugin, with further arguments of the compiler.
    fn plugin(name: &str, arguments: &[&str]) -> String {
        let output = output_directory().join(name);
        let mut command = compiler("failing_new_plugin.cpp");
        command.args(arguments);
        must_compile(command, &output);
        output.to_str().expect("the path is UTF-8").to_string()
    }

    fn plugins() -> &'static [String; 2] {
        static PLUGINS: OnceLock<[String; 2]> = OnceLock::new();
        PLUGINS.get_or_init(|| {
            let with_its_own = ["-shared", "-fPIC", "-static-libstdc++", "-static-libgcc"];
            [
                plugin("failing_new_plugin.so", &["-shared", "-fPIC"]),
                plugin("failing_new_static.so", &with_its_own),
            ]
        })
    }

    fn in_plugins(way: Way) {
        let [shared, with_its_own] = plugins();
        expect_success("failing_new.c", way, &[shared], 60);
        expect_success("failing_new.c", way, &[with_its_own], 60);
        expect_success("failing_new.c", way, &[shared, with_its_own], 60);
        expect_success("failing_new.c", way, &[with_its_own, shared], 60);
    }

    #[test]
    fn in_plugins_linked() {
        in_plugins(Way::Linked);
    }

    #[test]
    fn in_plugins_preloaded() {
        in_plugins(Way::Preloaded);
    }

    #[test]
    fn in_plugins_with_static_library() {
        in_plugins(Way::Static);
    }

    /// Programs, with the C++ library in them and without.
    #[test]
    fn in_programs_preloaded() {
        let with_its_own = ["-DPROGRAM", "-static-libstdc++", "-static-libgcc"];
        for (name, arguments) in [
            ("failing_new", &with_its_own[..1]),
            ("failing_new_static", &with_its_own),
            ("failing_new_fixed", &["-DPROGRAM", "-no-pie"]),
        ] {
            let program = plugin(name, arguments);
            let outcome = run(&mut common::preloaded(program), Duration::from_secs(60));
            outcome.expect_success(name);
        }
    }
}

/// Programs whose output says that their last steps were taken, in this order and no other.
mod ends {
    use super::*;

    fn expect_lines(outcome: &Outcome, lines: &[&str]) {
        let found: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(found, lines, "{}", outcome.describe());
    }

    fn exit_handlers(way: Way) {
        let outcome = expect_success("late_free.c", way, &["atexit"], 60);
        expect_lines(
            &outcome,
            &[
                "first exit handler ran",
                "second exit handler ran",
                "destructor of the program ran",
            ],
        );
    }

    #[test]
    fn exit_handlers_linked() {
        exit_handlers(Way::Linked);
    }

    #[test]
    fn exit_handlers_preloaded() {
        exit_handlers(Way::Preloaded);
    }

    #[test]
    fn exit_handlers_with_static_library() {
        exit_handlers(Way::Static);
    }

    /// The library that late_free.c loads and unloads.
    fn guest_library() -> &'static Path {
        static GUEST: OnceLock<PathBuf> = OnceLock::new();
        GUEST.get_or_init(|| {
            let output = output_directory().join("late_free_library.so");
            let mut command = compiler("late_free_library.c");
            command.args(["-shared", "-fPIC"]);
            must_compile(command, &output);
            output
        })
    }

    fn library_destructors(way: Way) {
        let path = guest_library().to_str().expect("the path is UTF-8");
        let outcome = expect_success("late_free.c", way, &["library", path], 60);
        let (begun, ended) = (
            "constructor of the library ran",
            "destructor of the library ran",
        );
        let mut lines: Vec<&str> = outcome.stdout.lines().collect();
        // Which of the two comes first at the end of the process is the loader's choice.
        lines.retain(|line| *line != "destructor of the program ran");
        assert_eq!(
            lines,
            [begun, ended, begun, ended, begun, ended],
            "{}",
            outcome.describe()
        );
    }

    #[test]
    fn library_destructors_linked() {
        library_destructors(Way::Linked);
    }

    #[test]
    fn library_destructors_preloaded() {
        library_destructors(Way::Preloaded);
    }

    fn destructors_of_cpp(way: Way) {
        let outcome = expect_success("late_free_cpp.cpp", way, &[], 120);
        expect_lines(&outcome, &["static destructor ran"]);
    }

    #[test]
    fn destructors_of_cpp_linked() {
        destructors_of_cpp(Way::Linked);
    }

    #[test]
    fn destructors_of_cpp_preloaded() {
        destructors_of_cpp(Way::Preloaded);
    }

    #[test]
    fn destructors_of_cpp_with_static_library() {
        destructors_of_cpp(Way::Static);
    }

    #[test]
    fn the_library_itself_opened_and_closed() {
        let path = library().to_str().expect("the path is UTF-8");
        expect_success("late_dlopen.c", Way::Alone, &[path], 60);
    }

    #[test]
    fn a_plugin_with_the_static_library_unloaded() {
        let plugin = output_directory().join("plugin.so");
        let mut command = compiler("late_free_library.c");
        // Its calls are to the library in it, not to that of the program.
        command.args(["-shared", "-fPIC", "-Wl,-Bsymbolic"]);
        command.arg(static_library());
        must_compile(command, &plugin);
        let path = plugin.to_str().expect("the path is UTF-8");
        expect_success("unloaded_plugin.c", Way::Alone, &[path], 60);
    }

    #[test]
    fn the_library_itself_opened_when_no_key_is_left() {
        let path = library().to_str().expect("the path is UTF-8");
        expect_success("no_keys.c", Way::Alone, &[path], 60);
    }
}

/// Frees into pools that lie further apart than a thread's slot map reaches at first, by the instructions that they take.
mod far_apart {
    use super::*;

    /// Instructions of a whole run.
    fn instructions(kind: &str, pairs: u32) -> f64 {
        let program = compile("slot_map.c", Way::Preloaded);
        let arena = if SMALL_ARENAS { 256 << 10 } else { 1 << 20 };
        let mut command = common::preloaded("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([kind.into(), pairs.to_string(), arena.to_string()])
            .env_remove("PYMALLOC_CONF");
        let outcome = run(&mut command, Duration::from_secs(300));
        outcome.expect_success(kind);
        let words = outcome.stderr.split_once("Collected : ");
        let number = words.and_then(|(_, rest)| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("callgrind tells no number: {}", outcome.describe()))
    }

    fn instructions_of_a_pair(kind: &str) -> f64 {
        const PAIRS: u32 = 20_000;
        (instructions(kind, 2 * PAIRS) - instructions(kind, PAIRS)) / f64::from(PAIRS)
    }

    #[test]
    fn frees_are_as_quick_as_close_together() {
        if !common::has(&["valgrind"]) {
            return;
        }
        let together = instructions_of_a_pair("together");
        let spread = instructions_of_a_pair("spread");
        assert!(
            spread < together * 1.05,
            "a pair takes {spread:.1} instructions, close together {together:.1}"
        );
    }
}

/// Without the library, the programs fail: else none of the above would show anything.
#[test]
fn programs_notice_when_the_library_is_not_there() {
    let outcome = run(
        &mut command("standards.c", Way::Alone, &[]),
        Duration::from_secs(60),
    );
    assert!(!outcome.status.success(), "{}", outcome.describe());
    assert!(
        outcome
            .stderr
            .contains("pymalloc_inspect is not in this process"),
        "{}",
        outcome.describe()
    );
}

/// Wrong pointers: one line on stderr that names the call and the pointer, then SIGABRT.
mod misuse {
    use super::*;

    const CALLS: [&str; 5] = [
        "free",
        "realloc",
        "realloc-to-nothing",
        "malloc_usable_size",
        "free-in-another-thread",
    ];
    /// A small and a medium block, a run of slots of an arena, a mapping.
    const POOLED: &[&str] = &["48", "3000"];
    /// Sizes whose pools are longer than a page, in either geometry: blocks are cut a page at a time.
    const LONG_POOLS: &[&str] = &["1136", "3000"];
    /// Sizes whose pools have pages to purge: a pool of 48 bytes is a single page in the small geometry.
    const PURGED: &[&str] = if SMALL_ARENAS {
        LONG_POOLS
    } else {
        &["48", "1136", "3000"]
    };
    const IN_ARENAS: &[&str] = &["48", "3000", "100000"];
    const ALL_SIZES: &[&str] = &["48", "3000", "100000", "2097152"];

    /// The program that knows this kind of misuse.
    fn source_of(kind: &str) -> &'static str {
        match kind {
            "purged" | "purged-end" => "pages.c",
            _ => "misuse.c",
        }
    }

    /// The function that the program calls in the end, by the name that the line on stderr must give it.
    fn function_of(call: &str) -> &str {
        match call {
            "realloc-to-nothing" => "realloc",
            "free-in-another-thread" => "free",
            other => other,
        }
    }

    /// What is wrong with the way in which the library met a misuse; `None` if nothing is.
    fn complaint(way: Way, kind: &str, call: &str, size: &str) -> Option<String> {
        let outcome = run(
            &mut command(source_of(kind), way, &[kind, call, size]),
            Duration::from_secs(20),
        );
        let complain = |reason: &str| {
            Some(format!(
                "{call} of {kind}, {size} bytes, {way:?}: {reason}: {}",
                outcome.describe()
            ))
        };
        let stdout: Vec<&str> = outcome.stdout.lines().collect();
        let [pointer] = stdout[..] else {
            return complain(if stdout.is_empty() {
                "the program did not come to the misuse"
            } else {
                "not caught"
            });
        };
        if outcome.status.signal() != Some(libc::SIGABRT) {
            return complain("not ended by SIGABRT");
        }
        let stderr: Vec<&str> = outcome.stderr.lines().collect();
        let [line] = stderr[..] else {
            return complain("not one line on stderr");
        };
        if !line.starts_with("pymalloc: ") || !outcome.stderr.ends_with('\n') {
            return complain("not a whole line that starts with `pymalloc: `");
        }
        let is_double_free = line.contains("double free");
        if kind.starts_with("purged") && !line.ends_with(": the block is already free") {
            return complain("the line does not say that the block was freed before");
        }
        if is_double_free && !function_of(call).starts_with("free") {
            return complain("the line speaks of a double free, and nothing was to be freed");
        }
        if kind.starts_with("purged") && function_of(call).starts_with("free") && !is_double_free {
            return complain("the line does not say that the block was freed twice");
        }
        if !line.contains(&format!("{}(", function_of(call))) {
            return complain("the line does not name the call");
        }
        let names_pointer = line.match_indices(pointer).any(|(at, _)| {
            let after = line[at + pointer.len()..].chars().next();
            !after.is_some_and(|next| next.is_ascii_hexdigit())
        });
        if !names_pointer {
            return complain("the line does not name the pointer");
        }
        None
    }

    fn expect_caught(way: Way, kinds: &[&str], calls: &[&str], sizes: &[&str]) {
        let mut complaints = Vec::new();
        for kind in kinds {
            for call in calls {
                for size in sizes {
                    complaints.extend(complaint(way, kind, call, size));
                }
            }
        }
        let all = kinds.len() * calls.len() * sizes.len();
        println!("{} of {all} caught, {way:?}", all - complaints.len());
        assert!(
            complaints.is_empty(),
            "{} of {all}:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
    }

    /// The kinds and sizes by which allocators are compared.
    fn eighteen_of_eighteen(way: Way) {
        let canonical = [
            ("stack", "free"),
            ("static", "free"),
            ("text", "free"),
            ("wild-mapped", "free"),
            ("misaligned", "free"),
            ("interior", "free"),
            ("static", "realloc"),
            ("freed", "free"),
            ("freed-then-others", "free"),
        ];
        let mut complaints = Vec::new();
        for (kind, call) in canonical {
            for size in POOLED {
                complaints.extend(complaint(way, kind, call, size));
            }
        }
        let caught = canonical.len() * POOLED.len() - complaints.len();
        println!("misuse caught: {caught} of 18");
        assert_eq!(
            caught,
            18,
            "misuse caught of 18:\n{}",
            complaints.join("\n")
        );
    }

    macro_rules! both_ways {
        ($($name:ident: $check:expr;)*) => {$(
            mod $name {
                use super::*;

                #[test]
                fn linked() {
                    $check(Way::Linked);
                }

                #[test]
                fn preloaded() {
                    $check(Way::Preloaded);
                }

                #[test]
                fn with_static_library() {
                    $check(Way::Static);
                }
            }
        )*};
    }

    both_ways! {
        canonical: eighteen_of_eighteen;
        memory_of_others: |way| expect_caught(way, &["stack", "static", "text", "wild-mapped", "wild-unreadable"], &CALLS, POOLED);
        no_memory_at_all: |way| expect_caught(way, &["wild-unmapped", "wild-small", "wild-noncanonical", "wild-last"], &CALLS, POOLED);
        misaligned: |way| expect_caught(way, &["misaligned", "misaligned-by-8"], &CALLS, ALL_SIZES);
        interior: |way| expect_caught(way, &["interior", "interior-half"], &CALLS, ALL_SIZES);
        never_returned: |way| expect_caught(way, &["untouched"], &CALLS, LONG_POOLS);
        arena_headers: |way| expect_caught(way, &["arena-header"], &CALLS, IN_ARENAS);
        freed: |way| expect_caught(way, &["freed", "freed-alone", "freed-then-others"], &CALLS, ALL_SIZES);
        freed_on_purged_pages: |way| expect_caught(way, &["purged", "purged-end"], &CALLS, PURGED);
        freed_in_full_pools: |way| expect_caught(way, &["freed-in-full-pool"], &CALLS, POOLED);
        freed_by_others: |way| expect_caught(way, &["freed-by-another-thread", "freed-of-ended-thread"], &CALLS, ALL_SIZES);
    }
}

/// The environment variable `PYMALLOC_CONF`.
mod settings {
    use super::*;

    const SOURCE: &str = "settings.c";
    const WORK: &str = "worked";

    fn run_with(way: Way, settings: &str, arguments: &[&str]) -> Outcome {
        let outcome = run(
            command(SOURCE, way, arguments).env("PYMALLOC_CONF", settings),
            Duration::from_secs(60),
        );
        outcome.expect_success(&format!("PYMALLOC_CONF={settings}, {way:?}"));
        outcome
    }

    /// The lines on stderr before and after the one that the program itself writes when its work is done.
    fn around_work(outcome: &Outcome) -> (Vec<&str>, Vec<&str>) {
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let at = lines
            .iter()
            .position(|line| *line == WORK)
            .unwrap_or_else(|| panic!("{}", outcome.describe()));
        (lines[..at].to_vec(), lines[at + 1..].to_vec())
    }

    fn expect_one_warning(way: Way, settings: &str, named: &str) {
        let outcome = run_with(way, settings, &["work"]);
        let (before, after) = around_work(&outcome);
        assert!(
            before.len() == 1 && before[0].starts_with("pymalloc: ") && after.is_empty(),
            "PYMALLOC_CONF={settings}, {way:?}: not one warning: {}",
            outcome.describe()
        );
        assert!(
            before[0].contains(named),
            "PYMALLOC_CONF={settings}: the warning does not name `{named}`: {}",
            before[0]
        );
    }

    /// What is wrong, and what of it the warning must name.
    const WRONG: &[(&str, &str)] = &[
        ("nonsense=1", "nonsense"),
        ("nonsense", "nonsense"),
        ("mapping_cach=1m", "mapping_cach"),
        ("mapping_cache_=1m", "mapping_cache_"),
        ("MAPPING_CACHE=1m", "MAPPING_CACHE"),
        ("mapping_cache", "mapping_cache"),
        ("mapping_cache=", "mapping_cache"),
        ("mapping_cache=abc", "mapping_cache"),
        ("mapping_cache=m", "mapping_cache"),
        ("mapping_cache=-1", "mapping_cache"),
        ("mapping_cache=1x", "mapping_cache"),
        ("mapping_cache=1mm", "mapping_cache"),
        ("mapping_cache=18446744073709551616", "mapping_cache"),
        ("mapping_cache=99999999999g", "mapping_cache"),
        ("empty_arenas=2", "empty_arenas"),
        ("empty_arenas=-1", "empty_arenas"),
        ("empty_arenas=yes", "empty_arenas"),
        ("stats_at_exit=maybe", "stats_at_exit"),
        ("stats_at_exit=", "stats_at_exit"),
        ("stats_signal=65", "stats_signal"),
        ("stats_signal=9", "stats_signal"),
        ("stats_signal=32", "stats_signal"),
        ("stats_signal=USR2", "stats_signal"),
        ("heapmap=", "heapmap"),
        ("heapmap", "heapmap"),
        ("heapmap_every=100", "heapmap_every"),
        ("empty_arenas=0,nonsense=2,mapping_cache=1m", "nonsense"),
        ("empty_arenas=0,mapping_cache=1q", "mapping_cache"),
    ];

    #[test]
    fn wrong_settings_warn_once() {
        for (settings, named) in WRONG {
            for way in [Way::Linked, Way::Preloaded] {
                expect_one_warning(way, settings, named);
            }
        }
    }

    /// What is wrong, and the right form that its warning shows.
    const FORMS: &[(&str, &str)] = &[
        (
            "resident_budget=lots",
            "\" is not a number; write resident_budget=4m, or",
        ),
        ("resident_budget=4 mb", "; write resident_budget=4m, or"),
        ("retain=yes", "; write retain=0 or =1"),
        (
            "empty_arenas=2",
            "\" is out of range; write empty_arenas=0 or =1",
        ),
        ("stats_signal=USR2", "; write stats_signal=N, from 0 to 64"),
        (
            "buget_part=4",
            "\" is not a setting; the nearest is budget_part",
        ),
        (
            "RESIDENT_BUDGET=4m",
            "\" is not a setting; the nearest is resident_budget",
        ),
        ("mapping_cach=1m", "; the nearest is mapping_cache"),
        ("stats_on_exit=1", "; the nearest is stats_at_exit"),
        ("heap_map=/tmp/x", "; the nearest is heapmap"),
        (
            "slack=4m",
            "\" is obeyed, but is called resident_budget now",
        ),
        ("off", "\" is for pymalloc run; LD_PRELOAD= takes out"),
        ("learning=1", "\" is obeyed, but is called retain now"),
    ];

    #[test]
    fn a_warning_shows_the_right_form() {
        for (settings, form) in FORMS {
            expect_one_warning(Way::Preloaded, settings, form);
        }
        let far = run_with(Way::Preloaded, "nonsense=1", &["work"]);
        assert!(!far.stderr.contains("nearest"), "{}", far.describe());
    }

    /// Units by the longer names that people give them: what is said of a number that is out of range tells that it was understood.
    #[test]
    fn units_have_several_names() {
        for unit in [
            "k", "K", "kb", "KB", "KiB", "mb", "MB", "MiB", "gb", "GiB", "gib",
        ] {
            let settings = format!("resident_budget=1{unit},mapping_cache=4{unit}");
            let outcome = run_with(Way::Preloaded, &settings, &["work"]);
            assert!(around_work(&outcome).0.is_empty(), "{}", outcome.describe());
            expect_one_warning(Way::Preloaded, &format!("retain=1{unit}"), "out of range");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_at_the_start() {
        let settings = "heapmap=/nonexistent/heap.jsonl";
        for way in [Way::Linked, Way::Preloaded, Way::Static] {
            expect_one_warning(way, settings, "no such folder");
        }
    }

    #[test]
    fn a_very_long_wrong_setting_warns_once() {
        expect_one_warning(
            Way::Preloaded,
            &format!("{}=1", "n".repeat(60_000)),
            "nnnnnnnn",
        );
        expect_one_warning(
            Way::Preloaded,
            &format!("mapping_cache={}", "9".repeat(60_000)),
            "mapping_cache",
        );
        expect_one_warning(
            Way::Preloaded,
            &format!("heapmap=/{}", "9".repeat(4096)),
            "too long",
        );
    }

    #[test]
    fn good_settings_are_silent() {
        for settings in [
            "",
            "mapping_cache=0",
            "mapping_cache=1048576",
            "mapping_cache=512k",
            "mapping_cache=64m",
            "mapping_cache=1g",
            "empty_arenas=0",
            "empty_arenas=1",
            "stats_at_exit=0",
            "stats_signal=0",
            "stats_signal=64",
            "mapping_cache=1m,empty_arenas=0,stats_at_exit=0",
        ] {
            for way in [Way::Linked, Way::Preloaded] {
                let outcome = run_with(way, settings, &["work"]);
                let (before, after) = around_work(&outcome);
                assert!(
                    before.is_empty() && after.is_empty(),
                    "PYMALLOC_CONF={settings}, {way:?}: {}",
                    outcome.describe()
                );
            }
        }
    }

    #[test]
    fn statistics_are_printed_at_exit_when_asked_for() {
        // Also beside a wrong setting, which costs its warning alone.
        for (settings, warnings) in [
            ("stats_at_exit=1", 0),
            ("nonsense=1,stats_at_exit=1", 1),
            ("stats_at_exit=1,nonsense=1", 1),
        ] {
            for way in [Way::Linked, Way::Preloaded, Way::Static] {
                let outcome = run_with(way, settings, &["work"]);
                let (before, after) = around_work(&outcome);
                assert_eq!(before.len(), warnings, "{}", outcome.describe());
                assert!(
                    after.len() >= 3 && after.iter().any(|line| line.contains("arena")),
                    "PYMALLOC_CONF={settings}, {way:?}: no table after the end: {}",
                    outcome.describe()
                );
            }
        }
    }

    #[test]
    fn the_mapping_cache_has_the_size_that_was_set() {
        for way in [Way::Linked, Way::Preloaded] {
            for (settings, fate) in [
                ("mapping_cache=0", "returned\n"),
                ("mapping_cache=1m", "returned\n"),
                ("mapping_cache=64m", "kept\n"),
            ] {
                let outcome = run_with(way, settings, &["mapping", "8388608"]);
                assert_eq!(
                    outcome.stdout, fate,
                    "8 MiB with PYMALLOC_CONF={settings}, {way:?}"
                );
            }
        }
    }

    #[test]
    fn no_empty_arena_is_kept_when_none_is_to_be() {
        for way in [Way::Linked, Way::Preloaded] {
            let outcome = run(
                command("arenas.c", way, &["0"]).env("PYMALLOC_CONF", "empty_arenas=0,retain=0"),
                Duration::from_secs(60),
            );
            outcome.expect_success("arenas.c 0 with empty_arenas=0");
        }
    }

    /// A program with more rights than its user must not be steered by that user's environment.
    #[test]
    fn set_user_id_programs_ignore_the_settings() {
        const NOBODY: u32 = 65534;
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            common::skip("only root can make a program of another user");
            return;
        }
        // The static way, for a loader that runs with more rights ignores LD_PRELOAD as well.
        let settings = "nonsense=1,stats_at_exit=1";
        let plain = compile(SOURCE, Way::Static);
        let privileged = output_directory().join("settings-set-user-id");
        // By another process: were it written here, a child that another test starts meanwhile would hold it open
        // for writing, and it could not be run ("text file busy").
        let copied = Command::new("cp").arg(&plain).arg(&privileged).status();
        assert!(
            copied.expect("cp can be run").success(),
            "a program can be copied"
        );
        std::os::unix::fs::chown(&privileged, Some(NOBODY), Some(NOBODY))
            .expect("root can give a file away");
        fs::set_permissions(&privileged, fs::Permissions::from_mode(0o4755))
            .expect("root can set any mode");
        let outcome = run(
            Command::new(&privileged)
                .arg("secure")
                .env("PYMALLOC_CONF", settings),
            Duration::from_secs(60),
        );
        fs::remove_file(&privileged).expect("root can remove any file");
        outcome.expect_success("a set-user-id program");
        if outcome.stdout != "secure\n" {
            common::skip("this file system gives set-user-id programs no other rights");
            return;
        }
        assert_eq!(outcome.stderr, "", "the settings were not ignored");
        let outcome = run_with(Way::Static, settings, &["secure"]);
        assert_eq!(outcome.stdout, "not secure\n");
        assert!(
            outcome.stderr.lines().count() >= 2,
            "without set-user-id the settings count: {}",
            outcome.describe()
        );
    }
}

/// Snapshots of the heap that settings ask for.
mod snapshots {
    use super::*;

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
}
