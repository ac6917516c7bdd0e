//! Forms of `operator new` that fail in a plugin.

use super::harness::*;
use crate::common::{self, run};
use std::sync::OnceLock;
use std::time::Duration;

/// Compiles the plugin, with further arguments of the compiler.
fn plugin(name: &str, arguments: &[&str]) -> String {
    let output = output_directory().join(name);
    let mut command = compiler("failing_new_plugin.cpp");
    command.args(arguments);
    must_compile(command, &output);
    output.to_str().expect("the path is UTF-8").to_string()
}

fn plugins() -> &'static [String; 2] {
    static PLUGINS: OnceLock<[String; 2]> = OnceLock::new();
    PLUGINS.get_or_init(|| {
        let with_its_own = ["-shared", "-fPIC", "-static-libstdc++", "-static-libgcc"];
        [
            plugin("failing_new_plugin.so", &["-shared", "-fPIC"]),
            plugin("failing_new_static.so", &with_its_own),
        ]
    })
}

fn in_plugins(way: Way) {
    if !platform().can_run("failing_new_plugin.cpp", &[]) {
        return;
    }
    let [shared, with_its_own] = plugins();
    expect_success("failing_new.c", way, &[shared], 60);
    expect_success("failing_new.c", way, &[with_its_own], 60);
    expect_success("failing_new.c", way, &[shared, with_its_own], 60);
    expect_success("failing_new.c", way, &[with_its_own, shared], 60);
}

#[test]
fn in_plugins_linked() {
    in_plugins(Way::Linked);
}

#[test]
fn in_plugins_preloaded() {
    in_plugins(Way::Preloaded);
}

#[test]
fn in_plugins_with_static_library() {
    in_plugins(Way::Static);
}

/// Programs, with the C++ library in them and without.
#[test]
fn in_programs_preloaded() {
    if !platform().can_run("failing_new_plugin.cpp", &["PROGRAM"]) {
        return;
    }
    let with_its_own = ["-DPROGRAM", "-static-libstdc++", "-static-libgcc"];
    for (name, arguments) in [
        ("failing_new", &with_its_own[..1]),
        ("failing_new_static", &with_its_own),
        ("failing_new_fixed", &["-DPROGRAM", "-no-pie"]),
    ] {
        let program = plugin(name, arguments);
        let outcome = run(&mut common::preloaded(program), Duration::from_secs(60));
        outcome.expect_success(name);
    }
}
