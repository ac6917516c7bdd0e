//! What `/proc` tells of a process.

use crate::outside::Error;
use crate::view::printable;
use std::fs;
use std::path::Path;

/// As version 1 of control groups says that there is no limit: this and more.
const NO_LIMIT: u64 = 1 << 60;

/// What changes from one look to the next.
pub struct Facts {
    /// When it was started, in the system's ticks: tells it from a later process of the same number.
    pub started: u64,
    /// Page faults since then.
    pub faults: u64,
    pub parent: i32,
}

impl Facts {
    pub fn of(pid: i32) -> Result<Self, Error> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        // The command, which may hold anything, is in parentheses; behind it are numbers, from field 3 on.
        let end = text.iter().rposition(|byte| *byte == b')').unwrap_or(0);
        let text = String::from_utf8_lossy(&text[end..]);
        let fields: Vec<&str> = text.split_ascii_whitespace().skip(1).collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or("");
        if matches!(field(3), "Z" | "X") {
            return Err(Error::Gone);
        }
        let number = |at| field(at).parse().unwrap_or(0u64);
        Ok(Facts {
            started: number(22),
            faults: number(10).saturating_add(number(12)),
            parent: field(4).parse().unwrap_or(0),
        })
    }
}

/// The command line, as one line that a terminal can be given.
pub fn command(pid: i32) -> String {
    let read = |name| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let mut text = read("cmdline");
    while text.last() == Some(&0) {
        text.pop();
    }
    if text.is_empty() {
        text = read("comm");
    }
    let mut words = String::from_utf8_lossy(text.trim_ascii()).into_owned();
    // Between two arguments there is a zero.
    words = words.replace(char::is_control, " ");
    printable(&words)
}

/// What the user must do to be let in.
pub fn way_in(pid: i32) -> String {
    let owner = fs::read_to_string(format!("/proc/{pid}/status")).ok();
    let owner = owner.as_deref().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u32>().ok()
    });
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::geteuid() };
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match owner {
        Some(owner) if owner != own => format!("as its user (id {owner})"),
        _ if !matches!(scope.trim(), "" | "0") => {
            "allow it: sysctl kernel.yama.ptrace_scope=0".into()
        }
        _ => "where it is not shut off (a container, seccomp, prctl)".into(),
    }
}

/// The most bytes that were resident at one time.
pub fn peak(pid: i32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The control group of a process, and the least limit on memory that it and those above it have, as far as this program sees them.
pub fn control_group(pid: i32) -> Option<(String, Option<u64>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path_of = |start: &str| {
        let line = text.lines().find(|line| {
            line.split_once(':')
                .is_some_and(|(_, rest)| rest.starts_with(start))
        })?;
        line.splitn(3, ':').nth(2)
    };
    // Version 1 where memory has a tree of its own, otherwise version 2.
    let (path, top, file) = match path_of("memory:") {
        Some(path) => (path, "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        None => (path_of(":")?, "/sys/fs/cgroup", "memory.max"),
    };
    let limits = Path::new(path).ancestors().filter_map(|path| {
        let folder = Path::new(top).join(path.strip_prefix("/").ok()?);
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
    });
    Some((printable(path), limits.min()))
}
