//! gcc, g++ and cargo with rustc: the files that they make must be the same byte for byte.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::common;
use crate::generated;
use crate::harness::{Bytes, Side, input, same_with_and_without};

/// The path of the compiler proper: `gcc` is only the driver that starts it. `None` where it is not installed.
fn compiler_proper(driver: &str, program: &str) -> Option<String> {
    if !common::has(&[driver]) {
        return None;
    }
    let output = Command::new(driver)
        .arg(format!("-print-prog-name={program}"))
        .output()
        .unwrap();
    Some(String::from_utf8(output.stdout).unwrap().trim().to_string())
}

fn compile(side: &Side, compiler: &str, source: &Path, object: &str, options: &[&str]) -> Bytes {
    side.ok(side
        .command(compiler)
        .args(options)
        .arg("-c")
        .arg(source)
        .args(["-o", object]));
    Bytes(side.read(object))
}

#[test]
fn gcc() {
    let large = generated::c_program(300);
    let Some(cc1) = compiler_proper("gcc", "cc1") else {
        return;
    };
    same_with_and_without("gcc", &["gcc", &cc1], |side| {
        let source = side.write("large.c", &large);
        let object = compile(side, "gcc", &source, "large.o", &["-O2", "-g", "-Wall"]);
        side.ok(side
            .command("gcc")
            .args(["-flto", "-O2", "large.c", "-o", "large-lto"]));
        side.ok(side.command("gcc").args(["large.o", "-o", "large"]));
        let runs =
            ["large", "large-lto"].map(|program| side.ok(&mut side.command(side.path(program))));
        (object, Bytes(side.read("large")), runs)
    });
}

#[test]
fn gxx() {
    let Some(cc1plus) = compiler_proper("g++", "cc1plus") else {
        return;
    };
    same_with_and_without("g++", &["g++", &cc1plus], |side| {
        let object = compile(
            side,
            "g++",
            &input("templates.cpp"),
            "templates.o",
            &["-std=c++17", "-O1"],
        );
        side.ok(side.command("g++").args(["templates.o", "-o", "templates"]));
        (
            object,
            Bytes(side.read("templates")),
            side.ok(&mut side.command(side.path("templates"))),
        )
    });
}

/// rustc itself defines a malloc of its own in its executable, which wins over
/// any preload; cargo, the linker, build scripts and what is built do not.
#[test]
fn cargo_and_rustc() {
    same_with_and_without("cargo", &["cargo"], |side| {
        side.write(
            "Cargo.toml",
            "[package]\nname = \"generated\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [profile.release]\nincremental = false\n[workspace]\n",
        );
        side.write("build.rs", include_str!("inputs/build_script.rs"));
        side.write("src/main.rs", generic_crate());
        side.ok(side
            .command("cargo")
            .args(["build", "--release", "--offline", "--quiet"]));
        let built = "target/release/generated";
        (
            Bytes(side.read(built)),
            side.ok(&mut side.command(side.path(built))),
        )
    });
}

/// A crate whose generic functions are each used with many types.
fn generic_crate() -> String {
    let mut source = include_str!("inputs/generic_crate.rs").to_string();
    source.push_str("\nfn main() {\n    println!(\"{}\", env!(\"GENERATED\"));\n");
    for size in 1..20 {
        writeln!(
            source,
            "    report(Pool::<[u8; {size}], {}>::new({size}));",
            size * 3
        )
        .unwrap();
        writeln!(
            source,
            "    report(Pool::<(u64, [i16; {size}]), {size}>::new(7));"
        )
        .unwrap();
    }
    source + "    threads();\n}\n"
}
