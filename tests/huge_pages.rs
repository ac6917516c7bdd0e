//! The promise under each setting of transparent huge pages, with a khugepaged that never sleeps: the short form of `make test-huge-pages`.
//!
//! The system's switches are the whole machine's, so that nothing happens unless `PYMALLOC_TEST_HUGE_PAGES=1` says so (`.ci/run` does), and the
//! caller is root. `scripts/test-huge-pages` sets them and puts them back.
//!
//! What must hold: the script fails where the promise is not kept, and this does with it. A khugepaged that never sleeps fills 200 MiB in less
//! than two seconds, where it may.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::process::Command;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(300);
/// How long each program sleeps under each setting.
const SECONDS: &str = "8";
/// What the script ends with where it may not set the switches, or there are none.
const REFUSED: i32 = 77;

#[test]
fn purged_memory_stays_purged_under_each_setting() {
    if std::env::var_os("PYMALLOC_TEST_HUGE_PAGES").is_none_or(|value| value != "1") {
        common::skip(
            "PYMALLOC_TEST_HUGE_PAGES=1 lets root run it; it sets switches of the whole machine",
        );
        return;
    }
    let mut command = Command::new("scripts/test-huge-pages");
    command
        .current_dir(common::repository())
        .args(["--short", "--seconds", SECONDS])
        .env("PYMALLOC_LIBRARY", common::library());
    let outcome = common::run(&mut command, TIME_LIMIT);
    if outcome.status.code() == Some(REFUSED) {
        common::skip(outcome.stderr.trim());
        return;
    }
    print!("{}", outcome.stdout);
    outcome.expect_success("scripts/test-huge-pages --short");
}
