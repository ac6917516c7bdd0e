//! Wrong pointers: one line on stderr that names the call and the pointer, then SIGABRT.

use super::harness::*;
use crate::common::{SMALL_ARENAS, run};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const CALLS: [&str; 5] = [
    "free",
    "realloc",
    "realloc-to-nothing",
    "malloc_usable_size",
    "free-in-another-thread",
];
/// A small and a medium block, a run of slots of an arena, a mapping.
const POOLED: &[&str] = &["48", "3000"];
/// Sizes whose pools are longer than a page, in either geometry: blocks are carved a page at a time.
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
    if kinds
        .iter()
        .any(|kind| !platform().can_run(source_of(kind), &[kind]))
    {
        return;
    }
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
