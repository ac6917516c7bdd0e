//! A C++ program of our own: `operator new` in all its forms, exceptions, and an exit from a thread.

use crate::harness::{input, same_with_and_without};

#[test]
fn new_and_throw() {
    same_with_and_without("new_and_throw", &["g++"], |side| {
        side.ok(side
            .command("g++")
            .args([
                "-std=c++17",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pthread",
            ])
            .arg(input("new_and_throw.cpp"))
            .args(["-o", "new_and_throw"]));
        side.run(&mut side.command(side.path("new_and_throw")))
    });
}
