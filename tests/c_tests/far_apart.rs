//! Frees into pools that lie further apart than a thread's slot map reaches at first, by the instructions that they take.

use super::harness::*;
use crate::common::{self, SMALL_ARENAS, run};
use std::time::Duration;

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
