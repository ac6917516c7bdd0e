//! The heap of another process, looked at from outside: it is read, never stopped and never changed, and has nothing to prepare.
//!
//! - `memory`: reads the memory of another process;
//! - `library`: finds the library in it, by its signpost;
//! - `mirror`: makes what was read this program's own, so that the library's own code counts it.
//!
//! What must hold: this program does not allocate from the library, whose statics are those of the other process while it looks; nor does
//! the library start in it (`FIRST`).
//! The process goes on meanwhile, so that nothing that was read is believed before it is checked.

mod library;
mod memory;
mod mirror;

pub use memory::{Memory, Range, Resident};
pub use mirror::{ArenaView, Layer, Look, Part, Places};
pub use pymalloc::internals::geometry::{ARENA_SIZE, SLOTS};

use mirror::Mirror;
use std::fmt;
use std::io;

/// Run before the library's own start, which is among what the dynamic linker runs next.
#[used]
#[unsafe(link_section = ".preinit_array")]
static FIRST: extern "C" fn() = {
    extern "C" fn first() {
        pymalloc::internals::structures::look_outside();
    }
    first
};

/// Why a process cannot be looked at.
#[derive(Debug)]
pub enum Error {
    /// There is no such process, or no more.
    Gone,
    /// The system does not let this user read its memory.
    NotPermitted,
    /// It does not run on the library.
    NoPymalloc,
    /// It runs on this version of the library, whose structures are not those that this program knows.
    OtherBuild(String),
    /// The system refuses something else.
    System(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Error::Gone,
            Some(libc::EPERM | libc::EACCES) => Error::NotPermitted,
            _ => Error::System(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Gone => write!(out, "there is no such process"),
            Error::NotPermitted => write!(out, "its memory may not be read"),
            Error::NoPymalloc => write!(out, "it does not run on pymalloc"),
            Error::OtherBuild(version) => {
                write!(out, "it runs on another build, pymalloc {version}")
            }
            Error::System(error) => error.fmt(out),
        }
    }
}

/// A process with the library in it.
pub struct Process {
    memory: Memory,
    /// Where the library's statics are in it.
    parts: library::Parts,
    mirror: Mirror,
}

impl Process {
    pub fn open(pid: i32) -> Result<Self, Error> {
        let memory = Memory::of(pid);
        Ok(Process {
            parts: library::find(&memory)?,
            memory,
            mirror: Mirror::empty(),
        })
    }

    /// Counts everything as it is now.
    pub fn look(&mut self) -> Result<Look, Error> {
        self.find_again()?;
        self.mirror.look(&self.memory, &self.parts.statics)
    }

    /// The same, and lists what blocks can lie in.
    pub fn look_closer(&mut self) -> Result<(Look, Places), Error> {
        self.find_again()?;
        self.mirror.look_closer(&self.memory, &self.parts.statics)
    }

    /// Its memory, of which nothing is to be believed.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    fn find_again(&mut self) -> Result<(), Error> {
        if !library::is_still_there(&self.memory, &self.parts)? {
            // It has become another program by `exec`.
            self.parts = library::find(&self.memory)?;
        }
        Ok(())
    }
}
