//! A program on pymalloc whose memory follows what is alive: `cargo run --release --example global_allocator`.

use std::fs;

#[global_allocator]
static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;

/// Resident memory of this process in MiB, by the line "VmRSS: 1234 kB".
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kib.unwrap_or(0) / 1024
}

fn main() {
    let before = resident();
    let mut rows: Vec<Box<[u8; 200]>> = (0..500_000).map(|_| Box::new([1; 200])).collect();
    let full = resident();
    // One row in a thousand stays, so that nearly every arena still has a live block.
    let mut number = 0;
    rows.retain(|_| {
        number += 1;
        number % 1000 == 0
    });
    rows.shrink_to_fit();
    println!("at the start {before} MiB");
    println!("with 500,000 rows {full} MiB");
    println!("with {} rows {} MiB", rows.len(), resident());
}
