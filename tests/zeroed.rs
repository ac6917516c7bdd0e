//! What a Rust program gets as zeroed memory costs nothing until it is written, whatever its alignment.

use pymalloc::Pymalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::Mutex;

const MIB: usize = 1 << 20;

/// Bytes of the process that are resident, from the page tables.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("there is /proc");
    let line = text.lines().find(|line| line.starts_with("Rss:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .expect("a line tells")
        .parse::<usize>()
        .expect("in KiB")
        * 1024
}

/// The tests count what is resident in the process: one at a time.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn fresh_memory_stays_untouched_at_every_alignment() {
    let _turn = TURN.lock();
    for align in [16, 64, 4096, 65536, MIB, 4 * MIB] {
        let layout = Layout::from_size_align(1024 * MIB, align).expect("a layout");
        let before = resident();
        // SAFETY: the layout is not empty; the block is freed with it, and only read inside.
        unsafe {
            let block = Pymalloc.alloc_zeroed(layout);
            assert!(!block.is_null() && block.addr().is_multiple_of(align));
            let grown = resident().saturating_sub(before);
            assert!(
                grown < 4 * MIB,
                "alignment {align}: {} MiB are resident",
                grown / MIB
            );
            assert_eq!((*block, *block.add(1024 * MIB - 1)), (0, 0));
            Pymalloc.dealloc(block, layout);
        }
    }
}

#[test]
fn memory_that_serves_again_is_zero_at_every_size_and_alignment() {
    let _turn = TURN.lock();
    for size in [1, 40, 700, 5000, 33_000, 200_000, 3 * MIB] {
        for align in [1, 16, 64, 512, 4096, 65536, MIB] {
            let layout = Layout::from_size_align(size, align).expect("a layout");
            for _ in 0..4 {
                // SAFETY: the layout is not empty; each block is used inside its size and freed with its layout.
                unsafe {
                    let block = Pymalloc.alloc_zeroed(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(align));
                    let bytes = std::slice::from_raw_parts_mut(block, size);
                    assert!(
                        bytes.iter().all(|byte| *byte == 0),
                        "{size} bytes at {align}"
                    );
                    bytes.fill(0xa5);
                    Pymalloc.dealloc(block, layout);
                }
            }
        }
    }
}
