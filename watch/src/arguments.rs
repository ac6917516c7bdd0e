//! The command line.
//!
//! What must hold: each mistake in it is told in one line, before anything is looked at.

use lexopt::prelude::*;
use std::ffi::{OsStr, OsString};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

pub const HELP: &str = "\
Usage: pymalloc-watch [OPTION]... PID
Shows the heap of a running process that uses pymalloc, from outside and at no cost to it.

  --once           one look as plain text; what happens anyway where the output is no terminal
  --count N        N looks, as plain text or with --json
  --interval S     seconds between two looks (1)
  --why            a leak, fragmentation, or neither; and what resident memory consists of
  --for S          with --why: seconds for which it watches what grows (10)
  --types          the objects of a Python process by type: how many, their bytes, and the bytes of pages that they pin
  --pins           what lies on pages that stay for little: what would go back if it were freed, by types and size class
  --snapshot PID -o FILE   writes down what --types and --pins tell
  --diff A B       what lies between two such files: growth, fragmentation, by type and size class
  --exporter PID...        serves figures for Prometheus until it is ended; with --all those of every process on pymalloc
  --listen ADDRESS with --exporter: where (127.0.0.1:9273)
  --most N         with --types, --pins and --diff: so many rows (40)
  --json           JSON: one look as of pymalloc_stats_json(), or what the other options tell
  --help, --version

Keys of the live view: q quits, h tells the others. Without colours if NO_COLOR is set.
Linux lets root look at any process, and the owner at those that allow it (kernel.yama.ptrace_scope).
";

/// Seconds from one look to the next, or for which growth is watched, may be no less and no more.
pub const INTERVALS: (f64, f64) = (0.01, 3600.0);

/// Rows that are shown, and seconds that `--why` takes, where the user does not say.
const MOST_ROWS: usize = 40;
const WHY_SECONDS: f64 = 10.0;
/// Where metrics are served: only this machine can ask.
const LOOPBACK: &str = "127.0.0.1";
const LISTEN: &str = ":9273";

/// What is to be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The heap as the library counts it.
    Heap,
    Types,
    Pins,
    Why,
}

/// How it is to be shown.
pub struct Form {
    pub json: bool,
    /// So many looks and no live view.
    pub count: Option<u64>,
    pub interval: Duration,
    pub most: usize,
    pub duration: Duration,
}

pub enum Request {
    Show(i32, Topic, Form),
    Snapshot(i32, PathBuf),
    Difference([PathBuf; 2], Form),
    /// No process: all of them.
    Export(Vec<i32>, SocketAddr),
    Print(String),
}

/// What was given, before it is known whether it fits together.
struct Given {
    values: Vec<OsString>,
    /// The option that says what to do.
    task: Option<Task>,
    json: bool,
    all: bool,
    output: Option<PathBuf>,
    listen: String,
    count: Option<u64>,
    interval: f64,
    most: usize,
    seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Show(Topic),
    Snapshot,
    Difference,
    Export,
}

pub fn arguments() -> Result<Request, lexopt::Error> {
    let mut given = Given {
        values: Vec::new(),
        task: None,
        json: false,
        all: false,
        output: None,
        listen: LISTEN.into(),
        count: None,
        interval: 1.0,
        most: MOST_ROWS,
        seconds: WHY_SECONDS,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("once") => given.count = given.count.or(Some(1)),
            Long("json") => given.json = true,
            Long("count") | Short('n') => given.count = Some(parser.value()?.parse()?),
            Long("interval") | Short('i') => given.interval = parser.value()?.parse()?,
            Long("types") => given.task = Some(Task::Show(Topic::Types)),
            Long("pins") => given.task = Some(Task::Show(Topic::Pins)),
            Long("why") => given.task = Some(Task::Show(Topic::Why)),
            Long("snapshot") => given.task = Some(Task::Snapshot),
            Long("diff") => given.task = Some(Task::Difference),
            Long("exporter") => given.task = Some(Task::Export),
            Long("output") | Short('o') => given.output = Some(parser.value()?.into()),
            Long("all") => given.all = true,
            Long("listen") => given.listen = parser.value()?.string()?,
            Long("most") => given.most = parser.value()?.parse()?,
            Long("for") => given.seconds = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Request::Print(HELP.into())),
            Long("version") | Short('V') => {
                let version = pymalloc::VERSION;
                return Ok(Request::Print(format!("pymalloc-watch {version}\n")));
            }
            Value(value) => given.values.push(value),
            other => return Err(other.unexpected()),
        }
    }
    given.request()
}

impl Given {
    fn request(self) -> Result<Request, lexopt::Error> {
        let (least, longest) = INTERVALS;
        let is_allowed = |time| (least..=longest).contains(time);
        if ![self.interval, self.seconds].iter().all(is_allowed) {
            return Err(format!("a time is from {least} to {longest} seconds").into());
        }
        let task = self.task.unwrap_or(Task::Show(Topic::Heap));
        if task == Task::Snapshot && self.output.is_none() {
            return Err("where to? --snapshot needs -o FILE".into());
        }
        if self.output.is_some() && task != Task::Snapshot {
            return Err("-o goes with --snapshot alone".into());
        }
        Ok(match task {
            Task::Show(topic) => Request::Show(self.pid()?, topic, self.form()),
            Task::Snapshot => Request::Snapshot(self.pid()?, self.output.unwrap_or_default()),
            Task::Difference => match <[OsString; 2]>::try_from(self.values.clone()) {
                Ok(files) => Request::Difference(files.map(PathBuf::from), self.form()),
                Err(_) => return Err("--diff needs two files".into()),
            },
            Task::Export => Request::Export(self.pids()?, address(&self.listen)?),
        })
    }

    fn form(&self) -> Form {
        Form {
            json: self.json,
            count: self.count.or(self.json.then_some(1)),
            interval: Duration::from_secs_f64(self.interval),
            most: self.most,
            duration: Duration::from_secs_f64(self.seconds),
        }
    }

    fn pid(&self) -> Result<i32, lexopt::Error> {
        match self.values.as_slice() {
            [] => Err("which process? Its PID is missing".into()),
            [value] => pid_of(value),
            [_, other, ..] => Err(lexopt::Error::UnexpectedArgument(other.clone())),
        }
    }

    fn pids(&self) -> Result<Vec<i32>, lexopt::Error> {
        match (self.values.is_empty(), self.all) {
            (true, false) => Err("which processes? Their PIDs are missing, or --all".into()),
            (false, true) => Err("either PIDs or --all".into()),
            _ => self.values.iter().map(|value| pid_of(value)).collect(),
        }
    }
}

fn pid_of(value: &OsStr) -> Result<i32, lexopt::Error> {
    let text = value.to_string_lossy();
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("{text:?} is no process id").into()),
    }
}

/// Where to listen: an address with a port, or a port alone, which is this machine's own.
fn address(text: &str) -> Result<SocketAddr, lexopt::Error> {
    let text = match text.starts_with(':') {
        true => format!("{LOOPBACK}{text}"),
        false => text.into(),
    };
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    found.ok_or_else(|| format!("{text:?} is no address to listen at, as 127.0.0.1:9273 is").into())
}
