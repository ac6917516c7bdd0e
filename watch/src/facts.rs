//! What `/proc` tells of a process.

use crate::outside::Error;
use std::fs;

/// What changes from one look to the next.
pub struct Facts {
    /// When it was started, in the system's ticks: tells it from a later process of the same number.
    pub started: u64,
    /// Page faults since then.
    pub faults: u64,
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
            faults: number(10) + number(12),
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
    String::from_utf8_lossy(text.trim_ascii())
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
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
