//! The promise under each setting of transparent huge pages, with a khugepaged that never sleeps.
//!
//! Owns: the system's switches while it runs, which it puts back. They are the whole machine's, so that nothing happens unless
//! `PYMALLOC_TEST_HUGE_PAGES=1` says so (`.ci/run` does), and the caller is root.
//!
//! What must hold: at once, after some seconds of sleep and after a little work no more is resident than is promised. A khugepaged that
//! never sleeps fills 200 MiB in less than two seconds, where it may.

#![cfg(not(feature = "small-arenas"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(120);
/// How long the program sleeps under each setting.
const SECONDS: &str = "8";

const SWITCHES: &str = "/sys/kernel/mm/transparent_hugepage";

/// A switch of the system, put back when it is dropped.
struct Switch {
    path: PathBuf,
    before: String,
}

impl Switch {
    /// `None` where the system has no such switch, or it is not the caller's to set.
    fn find(name: &str) -> Option<Switch> {
        let path = Path::new(SWITCHES).join(name);
        let text = fs::read_to_string(&path).ok()?;
        // Of several words the one in brackets holds.
        let chosen = text.split(['[', ']']).nth(1).unwrap_or(&text);
        let before = chosen.trim().to_owned();
        fs::write(&path, &before).ok()?;
        Some(Switch { path, before })
    }

    fn set(&self, value: &str) {
        fs::write(&self.path, value).expect("it was written before");
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}

fn program() -> PathBuf {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join("huge_pages");
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&output)
        .args(["-fno-builtin-malloc", "-fno-builtin-free"])
        .arg("-I")
        .arg(common::repository().join("include"))
        .arg(common::repository().join("c_tests/huge_pages.c"))
        .arg("-ldl");
    common::run(&mut command, TIME_LIMIT).expect_success("huge_pages.c");
    output
}

#[test]
fn purged_memory_stays_purged_under_each_setting() {
    if std::env::var_os("PYMALLOC_TEST_HUGE_PAGES").is_none_or(|value| value != "1") {
        common::skip(
            "PYMALLOC_TEST_HUGE_PAGES=1 lets root run it; it sets switches of the whole machine",
        );
        return;
    }
    let (Some(enabled), Some(pause)) = (
        Switch::find("enabled"),
        Switch::find("khugepaged/scan_sleep_millisecs"),
    ) else {
        common::skip("no huge pages here, or no right to set them");
        return;
    };
    let program = program();
    pause.set("0");
    for setting in ["always", "madvise", "never"] {
        enabled.set(setting);
        let mut command = common::preloaded(&program);
        command.arg(SECONDS).env_remove("PYMALLOC_CONF");
        let outcome = common::run(&mut command, TIME_LIMIT);
        outcome.expect_success(&format!("huge_pages.c with {setting}"));
        print!("{setting}:\n{}", outcome.stdout);
    }
}
