//! The exported names, and nothing behind them: argument checks, `errno`, which call it was.
//!
//! - `own`: the `pymalloc_*` functions, of which `include/pymalloc.h` is generated;
//! - `standard`: the names of the C library, each the same as its `pymalloc_*` twin;
//! - `cpp`: C++'s `operator new` and `operator delete`;
//! - `through`: the program's own functions in the place of the C library's, for those that stand for them.
//!
//! `errno` is set when a call fails, and only then.

mod cpp;
mod own;
mod standard;
mod through;
