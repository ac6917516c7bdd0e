//! Real programs with the library preloaded: CPython's own tests, compilers,
//! interpreters, databases and the everyday tools.
//!
//! Each test runs a program twice in the same place on the same input, on the
//! system's malloc and with `LD_PRELOAD`, and compares all that it does:
//! output, exit status, files. What it owns is a folder for each test below
//! cargo's temporary folder. What must always hold: no test passes unless the
//! program's malloc was seen to be the library's, and one whose program is
//! missing says so (`make test-deps` installs them).

mod common;

#[path = "real_programs/compilers.rs"]
mod compilers;
#[path = "real_programs/cplusplus.rs"]
mod cplusplus;
#[path = "real_programs/databases.rs"]
mod databases;
#[path = "real_programs/generated.rs"]
mod generated;
#[path = "real_programs/git.rs"]
mod git;
#[path = "real_programs/harness.rs"]
mod harness;
#[path = "real_programs/interpreters.rs"]
mod interpreters;
#[path = "real_programs/python.rs"]
mod python;
#[path = "real_programs/shell_tools.rs"]
mod shell_tools;
