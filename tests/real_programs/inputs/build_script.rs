//! The build script of the generated crate: some work for the allocator, one value for the crate.

use std::collections::BTreeMap;

fn main() {
    let mut lengths = BTreeMap::new();
    for number in 0..20_000_u32 {
        lengths.entry(format!("{:b}", number.wrapping_mul(2_654_435_761)).len()).or_insert_with(Vec::new).push(number);
    }
    let summary: Vec<_> = lengths.iter().map(|(length, numbers)| format!("{length}:{}", numbers.len())).collect();
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=GENERATED={}", summary.join(" "));
}
