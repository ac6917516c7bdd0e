//! Snapshots: a moment of a process as a file, to be compared with a later one. `docs/snapshots.md` describes the format.
//!
//! What must hold: a file is there whole or not at all, and what was there before stays until then; of a file that is read nothing is believed, and it takes no more memory
//! than some times `MOST_BYTES`.

use crate::census::Census;
use crate::facts::{self, Facts};
use crate::moment::{Moment, Parts};
use crate::outside::{Error, Process};
use crate::view::printable;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What every snapshot begins with.
const FORMAT: &str = "pymalloc snapshot";
/// A later version of this program reads every earlier version of the format, and an earlier one none that is later.
const VERSION: u32 = 1;
/// No snapshot is longer: 32,000 types take a third.
const MOST_BYTES: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    head: Head,
    /// The version of the program that wrote it.
    pymalloc: String,
    /// Seconds since 1970.
    pub time: f64,
    pub pid: i32,
    /// When the process was started, in the system's ticks.
    pub started: u64,
    pub command: String,
    pub parts: Parts,
    pub census: Census,
}

impl Snapshot {
    pub fn of(pid: i32) -> Result<Self, Error> {
        let facts = Facts::of(pid)?;
        let mut process = Process::open(pid)?;
        let moment = Moment::of(&mut process)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Snapshot {
            head: Head {
                format: FORMAT.into(),
                version: VERSION,
            },
            pymalloc: pymalloc::VERSION.into(),
            time: since_1970.map_or(0.0, |time| time.as_secs_f64()),
            pid,
            started: facts.started,
            command: facts::command(pid),
            parts: moment.parts,
            census: moment.census,
        })
    }

    /// Writes it under another name first. An error leaves what was there.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        // What a link leads to is replaced, not the link; and a device or a pipe is written to.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
            return File::options().write(true).open(&target)?.write_all(&text);
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let partial = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&partial)?;
        // With what the disk says once all is on it.
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let result = written.and_then(|()| fs::rename(&partial, &target));
        if result.is_err() {
            // The first error is the one to be told.
            let _ = fs::remove_file(&partial);
        }
        result
    }

    /// Reads one. The error is a line that tells what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let mut text = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text));
        read.map_err(|error| error.to_string())?;
        if text.len() as u64 > MOST_BYTES {
            return Err("it is no snapshot: it is too long for one".into());
        }
        let head: Head = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        if head.format != FORMAT {
            return Err("it is no snapshot of pymalloc's".into());
        }
        if head.version > VERSION {
            return Err(format!(
                "its format is version {}, and pymalloc-watch {} knows up to {VERSION}: use a newer one",
                head.version,
                pymalloc::VERSION
            ));
        }
        let mut snapshot: Snapshot =
            serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        snapshot.command = printable(&snapshot.command);
        let census = &mut snapshot.census;
        for row in census
            .types
            .iter_mut()
            .chain([&mut census.spare, &mut census.unknown])
        {
            row.name = printable(&row.name);
        }
        Ok(snapshot)
    }
}

/// What is wrong, without a word of the file itself.
fn wrong(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Eof => "it ends too early",
        Category::Data => "a part of it is missing, or is not what it should be",
        Category::Syntax | Category::Io => "it is no JSON",
    };
    let (line, column) = (error.line(), error.column());
    format!("it is no snapshot: {what} (line {line}, column {column})")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each beginning of a snapshot, and each with a byte changed, is a snapshot or is refused in one line.
    #[test]
    fn a_broken_file_is_told() {
        let whole = include_bytes!("../../tests/run/snapshot-1.json");
        let path = std::env::temp_dir().join(format!("pymalloc-snapshot-{}", std::process::id()));
        let read = |text: &[u8]| {
            fs::write(&path, text).expect("a temporary file can be written");
            Snapshot::read(&path).map(|_| ())
        };
        assert_eq!(read(whole), Ok(()));
        for end in 0..whole.trim_ascii_end().len() {
            let error = read(&whole[..end]).expect_err("it is not whole");
            assert!(error.starts_with("it is no snapshot: "), "{end}: {error}");
        }
        for at in 0..whole.len() {
            let mut text = whole.to_vec();
            text[at] = b'\x1b';
            let error = read(&text).err().unwrap_or_default();
            assert!(!error.chars().any(char::is_control), "{at}: {error}");
        }
        let deep = [b"{\"format\":".as_slice(), &[b'['; 1 << 20]].concat();
        assert!(read(&deep).is_err());
        let later = br#"{"format":"pymalloc snapshot","version":2,"new":{}}"#;
        assert!(read(later).is_err_and(|error| error.contains("version 2")));
        fs::remove_file(&path).expect("it is ours");
    }
}
