//! `pymalloc-watch PID`: a live view of a running process's heap, read from outside.
//!
//! - `watch`: the process, its latest two looks and what came before;
//! - `census`: what lies in its blocks, of CPython the objects by type;
//! - `moment`: what its memory consists of;
//! - `why`: what grows, and a verdict;
//! - `snapshot`, `difference`: a moment as a file, and what lies between two;
//! - `exporter`: the same for Prometheus;
//! - `facts`: what `/proc` tells of it;
//! - `view`: what is shown, as lines of plain pieces;
//! - `screen`: the live view;
//! - `keys`: the keys that are pressed;
//! - `arguments`: the command line.
//!
//! What goes wrong is one line on stderr: status 1, or 2 for a mistake in the arguments. A process that ends is no mistake.

mod arguments;
mod census;
mod difference;
mod exporter;
mod facts;
mod keys;
mod moment;
mod outside;
mod screen;
mod snapshot;
mod view;
mod watch;
mod why;

use arguments::{Form, Request, Topic, arguments};
use difference::Difference;
use moment::Moment;
use outside::Error;
use snapshot::Snapshot;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use view::{Glyphs, Table};
use watch::Watch;
use why::Why;

fn main() -> ExitCode {
    let request = match arguments() {
        Ok(request) => request,
        Err(error) => {
            eprintln!("pymalloc-watch: {error} (--help tells more)");
            return ExitCode::from(2);
        }
    };
    match request {
        Request::Print(text) => told(io::stdout().write_all(text.as_bytes())),
        Request::Show(pid, Topic::Heap, form) => look(pid, &form),
        Request::Show(pid, topic, form) => match text_of(pid, topic, &form) {
            Ok(text) => told(io::stdout().write_all(text.as_bytes())),
            Err(error) => refused(&explained(pid, &error)),
        },
        Request::Snapshot(pid, path) => match Snapshot::of(pid) {
            Ok(snapshot) => match snapshot.write(&path) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refused(&format!("{}: {error}", path.display())),
            },
            Err(error) => refused(&explained(pid, &error)),
        },
        Request::Difference(paths, form) => match difference(&paths, &form) {
            Ok(text) => told(io::stdout().write_all(text.as_bytes())),
            Err(line) => refused(&line),
        },
        Request::Export(pids, address) => match exporter::serve(&pids, address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => refused(&line),
        },
    }
}

/// Says in one line why not.
fn refused(line: &str) -> ExitCode {
    eprintln!("pymalloc-watch: {}", view::printable(line));
    ExitCode::FAILURE
}

/// Shows the heap, live or as text.
fn look(pid: i32, form: &Form) -> ExitCode {
    let mut watch = match Watch::start(pid) {
        Ok(watch) => watch,
        Err(error) => return refused(&explained(pid, &error)),
    };
    match form.count {
        None if can_draw() => told(screen::run(&mut watch, form.interval)),
        count => told(print(&mut watch, form, count.unwrap_or(1))),
    }
}

/// What is told of the blocks of a process, or of why it has its memory.
fn text_of(pid: i32, topic: Topic, form: &Form) -> Result<String, Error> {
    if topic == Topic::Why {
        let why = Why::of(pid, form.duration)?;
        let command = facts::command(pid);
        return Ok(match form.json {
            true => format!("{}\n", view::why_json(&why, pid, &command)),
            false => titled(pid, &command, &view::why(&why)),
        });
    }
    let census = Moment::of_pid(pid)?.census;
    let command = facts::command(pid);
    let (most, width) = (form.most, view::PLAIN);
    Ok(match (form.json, topic == Topic::Types) {
        (true, true) => format!("{}\n", view::census_json(&census, pid, &command)),
        (true, false) => format!("{}\n", view::pins_json(&census, pid, &command)),
        (false, true) => titled(pid, &command, &view::census(&census, most, width)),
        (false, false) => titled(pid, &command, &view::pins(&census, most, width)),
    })
}

fn titled(pid: i32, command: &str, lines: &[view::Line]) -> String {
    format!("process {pid}: {command}\n{}", text(lines))
}

fn text(lines: &[view::Line]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What lies between two snapshots. The error is a line.
fn difference(paths: &[PathBuf; 2], form: &Form) -> Result<String, String> {
    let [before, after] = paths
        .each_ref()
        .map(|path| Snapshot::read(path).map_err(|error| format!("{}: {error}", path.display())));
    let (before, after) = (before?, after?);
    let difference = Difference::between(&before, &after);
    Ok(match form.json {
        true => format!("{}\n", serde_json::json!(difference)),
        false => text(&view::difference(
            (&before, &after),
            &difference,
            form.most,
            view::PLAIN,
        )),
    })
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
fn print(watch: &mut Watch, form: &Form, count: u64) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let mut due = Instant::now();
    for turn in 0..count {
        if turn > 0 {
            due += form.interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            watch.look();
            if let Some(end) = watch.end() {
                eprintln!("pymalloc-watch: {end}");
                break;
            }
        }
        if form.json {
            output.write_all(&watch.latest().look.json)?;
        } else {
            watch.count_blocks();
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
