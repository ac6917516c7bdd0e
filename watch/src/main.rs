//! `pymalloc-watch PID`: a live view of a running process's heap, read from outside.
//!
//! - `watch`: the process, its latest two looks and what came before;
//! - `census`: what lies in its blocks, of CPython the objects by type;
//! - `why`: what its memory consists of, and a verdict;
//! - `facts`: what `/proc` tells of it;
//! - `view`: what is shown, as lines of plain pieces;
//! - `screen`: the live view;
//! - `keys`: the keys that are pressed.
//!
//! What goes wrong is one line on stderr: status 1, or 2 for a mistake in the arguments. A process that ends is no mistake.

mod census;
mod facts;
mod keys;
mod outside;
mod screen;
mod view;
mod watch;
mod why;

use facts::Facts;
use outside::{Error, Process};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use view::{Glyphs, Table};
use watch::Watch;
use why::Why;

const HELP: &str = "\
Usage: pymalloc-watch [OPTION]... PID
Shows the heap of a running process that uses pymalloc, from outside and at no cost to it.

  --once           one look as plain text; what happens anyway where the output is no terminal
  --count N        N looks, as plain text or with --json
  --interval S     seconds between two looks (1)
  --types          the objects of a Python process by type: how many, their bytes, and the bytes of pages that they pin
  --most N         with --types: so many types (40)
  --why            a leak, fragmentation, or neither; and what resident memory consists of
  --for S          with --why: seconds for which it watches what grows (10)
  --json           JSON: one look as of pymalloc_stats_json(), or what --types or --why tells
  --help, --version

Keys of the live view: q quits, h tells the others. Without colours if NO_COLOR is set.
Linux lets root look at any process, and the owner at those that allow it (kernel.yama.ptrace_scope).
";

/// Seconds from one look to the next, or for which growth is watched, may be no less and no more.
pub const INTERVALS: (f64, f64) = (0.01, 3600.0);

/// Types that are shown, and seconds that `--why` takes, where the user does not say.
const MOST_TYPES: usize = 40;
const WHY_SECONDS: f64 = 10.0;

/// What is to be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    /// The heap as the library counts it.
    Heap,
    Types,
    Why,
}

struct Arguments {
    pid: i32,
    topic: Topic,
    json: bool,
    /// So many looks and no live view.
    count: Option<u64>,
    interval: Duration,
    most: usize,
    duration: Duration,
}

enum Request {
    Watch(Arguments),
    Print(String),
}

fn arguments() -> Result<Request, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut pid, mut json, mut count, mut interval) = (None, false, None, 1.0);
    let (mut topic, mut most, mut seconds) = (Topic::Heap, MOST_TYPES, WHY_SECONDS);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("once") => count = count.or(Some(1)),
            Long("json") => json = true,
            Long("count") | Short('n') => count = Some(parser.value()?.parse()?),
            Long("interval") | Short('i') => interval = parser.value()?.parse()?,
            Long("types") => topic = Topic::Types,
            Long("most") => most = parser.value()?.parse()?,
            Long("why") => topic = Topic::Why,
            Long("for") => seconds = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Request::Print(HELP.into())),
            Long("version") | Short('V') => {
                let version = pymalloc::VERSION;
                return Ok(Request::Print(format!("pymalloc-watch {version}\n")));
            }
            Value(value) if pid.is_none() => pid = Some(pid_of(&value)?),
            other => return Err(other.unexpected()),
        }
    }
    let (least, longest) = INTERVALS;
    if [interval, seconds]
        .iter()
        .any(|time| !(least..=longest).contains(time))
    {
        return Err(format!("a time is from {least} to {longest} seconds").into());
    }
    Ok(Request::Watch(Arguments {
        pid: pid.ok_or("which process? Its PID is missing")?,
        topic,
        json,
        count: count.or(json.then_some(1)),
        interval: Duration::from_secs_f64(interval),
        most,
        duration: Duration::from_secs_f64(seconds),
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
    let text = match arguments.topic {
        Topic::Heap => None,
        Topic::Types => Some(types(&arguments)),
        Topic::Why => Some(why(&arguments)),
    };
    match text {
        Some(Ok(text)) => return told(io::stdout().write_all(text.as_bytes())),
        Some(Err(error)) => return refused(arguments.pid, &error),
        None => {}
    }
    let mut watch = match Watch::start(arguments.pid) {
        Ok(watch) => watch,
        Err(error) => return refused(arguments.pid, &error),
    };
    let count = match arguments.count {
        None if can_draw() => return told(screen::run(&mut watch, arguments.interval)),
        count => count.unwrap_or(1),
    };
    told(print(&mut watch, &arguments, count))
}

fn refused(pid: i32, error: &Error) -> ExitCode {
    eprintln!("pymalloc-watch: {}", explained(pid, error));
    ExitCode::FAILURE
}

/// What is told of the types of a process.
fn types(arguments: &Arguments) -> Result<String, Error> {
    let pid = arguments.pid;
    // As `Watch::start`.
    Facts::of(pid)?;
    let (_, census) = census::take(&mut Process::open(pid)?)?;
    let command = facts::command(pid);
    Ok(match arguments.json {
        true => format!("{}\n", view::census_json(&census, pid, &command)),
        false => titled(
            pid,
            &command,
            &view::census(&census, arguments.most, view::PLAIN),
        ),
    })
}

/// What is told of why a process has its memory.
fn why(arguments: &Arguments) -> Result<String, Error> {
    let pid = arguments.pid;
    let why = Why::of(pid, arguments.duration)?;
    let command = facts::command(pid);
    Ok(match arguments.json {
        true => format!("{}\n", view::why_json(&why, pid, &command)),
        false => titled(pid, &command, &view::why(&why)),
    })
}

fn titled(pid: i32, command: &str, lines: &[view::Line]) -> String {
    let lines = lines.iter().map(|line| format!("{line}\n"));
    format!("process {pid}: {command}\n{}", lines.collect::<String>())
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
