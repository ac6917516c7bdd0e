//! perl, node and java, each on a script that is heavy on its own kind of memory and on threads.

use crate::harness::{input, same_with_and_without};

#[test]
fn perl() {
    same_with_and_without("perl", &["perl"], |side| {
        side.ok(side
            .command("perl")
            .env("PERL_HASH_SEED", "0")
            .arg(input("hashes_and_regexes.pl")))
    });
}

#[test]
fn node() {
    same_with_and_without("node", &["node"], |side| {
        side.ok(side.command("node").arg(input("workers.js")))
    });
}

#[test]
fn java() {
    same_with_and_without("java", &["javac", "java"], |side| {
        let compiled = side.ok(side
            .command("javac")
            .args(["-d", "."])
            .arg(input("Threads.java")));
        let ran = side.ok(side
            .command("java")
            .args(["-Xmx256m", "-cp", ".", "Threads"]));
        (compiled, side.read("Threads.class"), ran)
    });
}
