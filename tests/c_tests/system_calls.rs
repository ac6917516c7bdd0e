//! The functions of the malloc family make the system calls that the README names, and no others.

use super::harness::*;
use crate::common::repository;
use std::fs;

/// What the README says that a filter of system calls must know.
fn named() -> Vec<String> {
    let text = fs::read_to_string(repository().join("README.md")).expect("there is a README");
    let (_, rest) = text
        .split_once(
            "A filter of system calls that ends the process at one it does not know must know ",
        )
        .expect("the README names the system calls");
    let (list, _) = rest.split_once('.').expect("a sentence ends");
    let names = list.split('`').skip(1).step_by(2);
    names.map(str::to_string).collect()
}

fn are_those_named(way: Way) {
    let named = named();
    assert!(named.len() >= 5, "{named:?}");
    let names: Vec<&str> = named.iter().map(String::as_str).collect();
    if platform().can_run("filtered.c", &[]) {
        expect_success("filtered.c", way, &names, 60);
    }
}

#[test]
fn linked() {
    are_those_named(Way::Linked);
}

#[test]
fn preloaded() {
    are_those_named(Way::Preloaded);
}
