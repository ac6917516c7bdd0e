//! `pymalloc-watch PID`: a live view of a running process's heap, read from outside.
//!
//! - `watch`: the process, its latest two looks and what came before;
//! - `facts`: what `/proc` tells of it;
//! - `view`: what is shown, as lines of plain pieces;
//! - `screen`: the live view;
//! - `keys`: the keys that are pressed.
//!
//! What goes wrong is one line on stderr: status 1, or 2 for a mistake in the arguments. A process that ends is no mistake.

mod facts;
mod keys;
mod outside;
mod screen;
mod view;
mod watch;

use outside::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use view::{Glyphs, Table};
use watch::Watch;

const HELP: &str = "\
Usage: pymalloc-watch [OPTION]... PID
Shows the heap of a running process that uses pymalloc, from outside and at no cost to it.

  --once           one look as plain text; what happens anyway where the output is no terminal
  --json           one look as a JSON object, that of pymalloc_stats_json()
  --count N        N looks, as plain text or with --json
  --interval S     seconds between two looks (1)
  --help, --version

Keys of the live view: q quits, h tells the others. Without colours if NO_COLOR is set.
Linux lets root look at any process, and the owner at those that allow it (kernel.yama.ptrace_scope).
";

/// Seconds from one look to the next may be no less and no more.
pub const INTERVALS: (f64, f64) = (0.01, 3600.0);

struct Arguments {
    pid: i32,
    json: bool,
    /// So many looks and no live view.
    count: Option<u64>,
    interval: Duration,
}

enum Request {
    Watch(Arguments),
    Print(String),
}

fn arguments() -> Result<Request, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut pid, mut json, mut count, mut interval) = (None, false, None, 1.0);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("once") => count = count.or(Some(1)),
            Long("json") => json = true,
            Long("count") | Short('n') => count = Some(parser.value()?.parse()?),
            Long("interval") | Short('i') => interval = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Request::Print(HELP.into())),
            Long("version") | Short('V') => {
                let version = pymalloc::VERSION;
                return Ok(Request::Print(format!("pymalloc-watch {version}\n")));
            }
            Value(value) if pid.is_none() => pid = Some(pid_of(&value)?),
            other => return Err(other.unexpected()),
        }
    }
    let pid = pid.ok_or("which process? Its PID is missing")?;
    if !(INTERVALS.0..=INTERVALS.1).contains(&interval) {
        let (least, most) = INTERVALS;
        return Err(format!("an interval is from {least} to {most} seconds").into());
    }
    Ok(Request::Watch(Arguments {
        pid,
        json,
        count: count.or(json.then_some(1)),
        interval: Duration::from_secs_f64(interval),
    }))
}

fn pid_of(value: &OsString) -> Result<i32, lexopt::Error> {
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("{text:?} is no process id").into()),
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Request::Watch(arguments)) => arguments,
        Ok(Request::Print(text)) => return told(io::stdout().write_all(text.as_bytes())),
        Err(error) => {
            eprintln!("pymalloc-watch: {error} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    let mut watch = match Watch::start(arguments.pid) {
        Ok(watch) => watch,
        Err(error) => {
            eprintln!("pymalloc-watch: {}", explained(arguments.pid, &error));
            return ExitCode::FAILURE;
        }
    };
    let count = match arguments.count {
        None if can_draw() => return told(screen::run(&mut watch, arguments.interval)),
        count => count.unwrap_or(1),
    };
    told(print(&mut watch, &arguments, count))
}

/// The one line for a process that cannot be watched.
fn explained(pid: i32, error: &Error) -> String {
    match error {
        Error::Gone => format!("there is no process {pid}"),
        Error::NotPermitted => {
            format!(
                "process {pid} may not be read: run as root, or {}",
                facts::way_in(pid)
            )
        }
        Error::NoPymalloc => format!("process {pid} does not run on pymalloc"),
        Error::OtherBuild(version) => format!(
            "process {pid} runs on another build, pymalloc {version}: use the pymalloc-watch that was built with it"
        ),
        Error::System(error) => format!("process {pid} cannot be read: {error}"),
    }
}

/// Whether there is a terminal that the live view can be drawn on.
fn can_draw() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
    io::stdout().is_terminal() && !dumb
}

/// The status for how the output went. A reader that has had enough is no failure.
fn told(result: io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("pymalloc-watch: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Looks so many times, without a live view.
fn print(watch: &mut Watch, arguments: &Arguments, count: u64) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let mut due = Instant::now();
    for turn in 0..count {
        if turn > 0 {
            due += arguments.interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            watch.look();
            if let Some(end) = watch.end() {
                eprintln!("pymalloc-watch: {end}");
                break;
            }
        }
        if arguments.json {
            output.write_all(&watch.latest().look.json)?;
        } else {
            let glyphs = Glyphs::of_locale();
            for line in view::whole(watch, &Table::default(), &glyphs) {
                writeln!(output, "{line}")?;
            }
            if turn + 1 < count {
                writeln!(output)?;
            }
        }
        output.flush()?;
    }
    Ok(())
}
