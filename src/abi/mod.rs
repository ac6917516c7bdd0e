//! The exported names, and nothing behind them: argument checks, `errno`, which call it was.
//!
//! - `own`: the `pymalloc_*` functions, of which `include/pymalloc.h` is generated;
//! - `standard`: the names of the C library, each the same as its `pymalloc_*` twin;
//! - `cpp`: C++'s `operator new` and `operator delete`.
//!
//! `errno` is set when a call fails, and only then.

mod cpp;
mod own;
mod standard;
