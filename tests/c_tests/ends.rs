//! Programs whose output says that their last steps were taken, in this order and no other.

use super::harness::*;
use crate::common::{Outcome, library, static_library};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn expect_lines(outcome: &Outcome, lines: &[&str]) {
    let found: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(found, lines, "{}", outcome.describe());
}

fn exit_handlers(way: Way) {
    let outcome = expect_success("late_free.c", way, &["atexit"], 60);
    expect_lines(
        &outcome,
        &[
            "first exit handler ran",
            "second exit handler ran",
            "destructor of the program ran",
        ],
    );
}

#[test]
fn exit_handlers_linked() {
    exit_handlers(Way::Linked);
}

#[test]
fn exit_handlers_preloaded() {
    exit_handlers(Way::Preloaded);
}

#[test]
fn exit_handlers_with_static_library() {
    exit_handlers(Way::Static);
}

/// The library that late_free.c loads and unloads.
fn guest_library() -> &'static Path {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let output = output_directory().join("late_free_library.so");
        let mut command = compiler("late_free_library.c");
        command.args(["-shared", "-fPIC"]);
        must_compile(command, &output);
        output
    })
}

fn library_destructors(way: Way) {
    if !platform().can_run("late_free.c", &["library"]) {
        return;
    }
    let path = guest_library().to_str().expect("the path is UTF-8");
    let outcome = expect_success("late_free.c", way, &["library", path], 60);
    let (begun, ended) = (
        "constructor of the library ran",
        "destructor of the library ran",
    );
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    // Which of the two comes first at the end of the process is the loader's choice.
    lines.retain(|line| *line != "destructor of the program ran");
    assert_eq!(
        lines,
        [begun, ended, begun, ended, begun, ended],
        "{}",
        outcome.describe()
    );
}

#[test]
fn library_destructors_linked() {
    library_destructors(Way::Linked);
}

#[test]
fn library_destructors_preloaded() {
    library_destructors(Way::Preloaded);
}

fn destructors_of_cpp(way: Way) {
    if !platform().can_run("late_free_cpp.cpp", &[]) {
        return;
    }
    let outcome = expect_success("late_free_cpp.cpp", way, &[], 120);
    expect_lines(&outcome, &["static destructor ran"]);
}

#[test]
fn destructors_of_cpp_linked() {
    destructors_of_cpp(Way::Linked);
}

#[test]
fn destructors_of_cpp_preloaded() {
    destructors_of_cpp(Way::Preloaded);
}

#[test]
fn destructors_of_cpp_with_static_library() {
    destructors_of_cpp(Way::Static);
}

#[test]
fn the_library_itself_opened_and_closed() {
    let path = library().to_str().expect("the path is UTF-8");
    if platform().can_run("late_dlopen.c", &[]) {
        expect_success("late_dlopen.c", Way::Alone, &[path], 60);
    }
}

#[test]
fn a_plugin_with_the_static_library_unloaded() {
    let plugin = output_directory().join("plugin.so");
    let mut command = compiler("late_free_library.c");
    // Its calls are to the library in it, not to that of the program.
    command.args(["-shared", "-fPIC", "-Wl,-Bsymbolic"]);
    command.arg(static_library());
    must_compile(command, &plugin);
    let path = plugin.to_str().expect("the path is UTF-8");
    if platform().can_run("unloaded_plugin.c", &[]) {
        expect_success("unloaded_plugin.c", Way::Alone, &[path], 60);
    }
}

#[test]
fn the_library_itself_opened_when_no_key_is_left() {
    let path = library().to_str().expect("the path is UTF-8");
    if platform().can_run("no_keys.c", &[]) {
        expect_success("no_keys.c", Way::Alone, &[path], 60);
    }
}
