//! Runs the C and C++ programs of `c_tests/` against the built library: linked with it, with it preloaded, and some with the
//! static library.
//!
//! Owns: compiling those programs (`harness`), and what their runner alone can judge: how a program was ended, what came out on stderr, what
//! a setting changed. What must hold: each program makes sure by itself that pymalloc is its malloc; a program ends with
//! status 0 or says on stderr why not; none runs longer than its limit.

mod common;

#[path = "c_tests/ends.rs"]
mod ends;
#[path = "c_tests/failing_new.rs"]
mod failing_new;
#[path = "c_tests/far_apart.rs"]
mod far_apart;
#[path = "c_tests/harness.rs"]
mod harness;
#[path = "c_tests/misuse.rs"]
mod misuse;
#[path = "c_tests/settings.rs"]
mod settings;
#[path = "c_tests/snapshots.rs"]
mod snapshots;
#[path = "c_tests/system_calls.rs"]
mod system_calls;

use common::run;
use harness::{Way, command};
use std::time::Duration;

/// A module a program, with a test a way. The number is the limit in seconds: many times what the
/// program takes, for machines that are slow or busy.
macro_rules! programs {
    ($($name:ident: $source:literal, $arguments:expr, $seconds:literal, [$($test:ident: $way:ident),*];)*) => {$(
        mod $name {
            use super::common::platform::platform;
            use super::harness::{Way, expect_success};
            $(
                #[test]
                fn $test() {
                    if platform().can_run($source, &$arguments) {
                        expect_success($source, Way::$way, &$arguments, $seconds);
                    }
                }
            )*
        }
    )*};
}

programs! {
    standards: "standards.c", [], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    standards_of_alignment: "standards_alignment.c", [], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
    standards_of_figures: "standards_figures.c", [], 120, [linked: Linked, preloaded: Preloaded, with_static_library: Static];
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
    exhaustion: "exhaustion.c", [], 300, [linked: Linked, preloaded: Preloaded];
    map_limit: "map_limit.c", ["large"], 60, [linked: Linked, preloaded: Preloaded];
    map_limit_small: "map_limit.c", ["small"], 180, [preloaded: Preloaded];
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
    blocks_kept_by_freer: "shared_pools.c", ["kept"], 60, [linked: Linked, preloaded: Preloaded];
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
    pages_of_falling_sizes: "pages.c", ["falling"], 60, [linked: Linked, preloaded: Preloaded];
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
