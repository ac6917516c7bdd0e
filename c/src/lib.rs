//! libpymalloc.so and libpymalloc.a: the exported names, and nothing behind them: argument checks, `errno`, which call it was.
//!
//! - `own`: the `pymalloc_*` functions, of which `include/pymalloc.h` is generated;
//! - `standard`: the names of the C library, each the same as its `pymalloc_*` twin;
//! - `cpp`: C++'s `operator new` and `operator delete`;
//! - `replaced`: which of these the program has in their place;
//! - `through`: the program's own functions in the place of the C library's, for those that stand for them;
//! - `linker`: what the dynamic linker knows.
//!
//! `errno` is set when a call fails, and only then.
//!
//! A crate of its own, since a Rust program that links the library must have neither these names nor this panic handler.

#![no_std]

mod cpp;
mod linker;
mod own;
mod replaced;
mod standard;
mod through;

#[cfg(not(test))]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    use pymalloc::internals::{os, report};
    let mut buffer = report::line();
    let mut text = report::message(&mut buffer);
    text.text("internal error");
    // Where the places of all panics would be, the library is 2 KiB larger. In a core file they are found by the stack.
    if cfg!(debug_assertions)
        && let Some(place) = info.location()
    {
        text.text(" at ").text(place.file()).text(":");
        text.number(place.line() as usize);
    }
    text.send();
    os::abort()
}

// Without link-time optimisation the library asks for this function. Nothing ever unwinds, and so nothing calls it. Weak and hidden: a
// program that has one keeps it.
core::arch::global_asm!(
    ".pushsection .text.rust_eh_personality, \"ax\", @progbits",
    ".weak rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality, @function",
    "rust_eh_personality:",
    ".byte 0",
    ".size rust_eh_personality, . - rust_eh_personality",
    ".popsection",
);
