//! The core against a reference model: random programs, of one thread and of several, of which every block is checked.
//!
//! What must hold: one test at a time uses the library (`alone`). Each begins with a line that names its
//! seed, since a program that the library ends has no last word; `PYMALLOC_SEED` repeats it.

#![cfg(not(loom))]

#[path = "common/reference.rs"]
mod reference;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use pymalloc::{Kind, Pymalloc};
use reference::{Live, Operation, Random, Reference};
use std::alloc::{GlobalAlloc, Layout};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Runs a test in a thread of its own, which has ended when the next one begins: its heap is then nobody's.
fn alone(name: &str, test: impl FnOnce(u64) + Send) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = match std::env::var("PYMALLOC_SEED") {
        Ok(seed) => seed.parse().expect("PYMALLOC_SEED is a number"),
        Err(_) => RandomState::new().hash_one(name),
    };
    // Past the test harness, which would keep it until the test has ended.
    let line = format!("{name}: PYMALLOC_SEED={seed}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    let ended = thread::scope(|scope| scope.spawn(|| test(seed)).join());
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// Sizes of every layer: most of them small, and many next to a power of two.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        40 => 0..=1024usize,
        15 => 1025..=9usize << 10,
        15 => 9 << 10..=40usize << 10,
        8 => 40 << 10..=600usize << 10,
        2 => 600 << 10..=3usize << 20,
        20 => (0..=21u32, -17..=17isize).prop_map(|(shift, more)| (1usize << shift).saturating_add_signed(more)),
    ]
}

fn alignments() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..=4u32,
        3 => 5..=12u32,
        1 => 13..=21u32,
    ]
    .prop_map(|shift| 1 << shift)
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        50 => (sizes(), alignments(), any::<bool>())
            .prop_map(|(size, align, zeroed)| Operation::Allocate { size, align, zeroed }),
        20 => (any::<usize>(), sizes()).prop_map(|(block, size)| Operation::Resize { block, size }),
        45 => any::<usize>().prop_map(|block| Operation::Free { block }),
        1 => Just(Operation::Trim),
    ]
}

#[test]
fn one_thread_against_the_reference() {
    alone("one thread", |seed| {
        let config = Config {
            cases: 96,
            failure_persistence: None,
            max_shrink_iters: 2000,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let programs = prop::collection::vec(operations(), 1..800);
        let result = TestRunner::new_with_rng(config, random).run(&programs, |program| {
            let mut reference = Reference::default();
            for operation in &program {
                reference.apply(operation);
            }
            reference.finish();
            Ok(())
        });
        if let Err(failure) = result {
            panic!("PYMALLOC_SEED={seed}: {failure}");
        }
    });
}

/// A size as threads ask for it: nearly always pooled, of few enough classes that pools fill and change hands.
fn shared_size(random: &mut Random) -> usize {
    match random.below(100) {
        0 => random.below(3 << 20),
        1..5 => random.below(200 << 10),
        5..20 => random.below(16 << 10),
        20..50 => 16 * random.below(64),
        _ => 48 + 1000 * random.below(4),
    }
}

#[test]
fn threads_hand_blocks_over() {
    const THREADS: u64 = 4;
    /// In each the threads are new, so that they adopt what those of the round before left behind.
    const ROUNDS: u64 = 12;
    const STEPS: usize = 6000;
    alone("threads", |seed| {
        let table: Vec<Mutex<Option<Live>>> = (0..600).map(|_| Mutex::new(None)).collect();
        for round in 0..ROUNDS {
            thread::scope(|scope| {
                for number in 0..THREADS {
                    let table = &table;
                    scope.spawn(move || {
                        let mut random = Random(seed ^ round << 32 ^ number << 40);
                        for _ in 0..STEPS {
                            hand_over(table, &mut random);
                        }
                    });
                }
            });
        }
        for place in table {
            if let Some(live) = place.into_inner().expect("no thread has panicked") {
                live.free();
            }
        }
    });
}

/// Takes what is in a place of the table, and leaves something else there.
fn hand_over(table: &[Mutex<Option<Live>>], random: &mut Random) {
    let place = &table[random.below(table.len())];
    let found = place.lock().expect("no thread has panicked").take();
    let left = match (found, random.below(4)) {
        (Some(mut live), 0) => {
            live.resize(shared_size(random).max(1));
            live
        }
        (Some(live), 1..) => {
            live.free();
            if random.below(1000) == 0 {
                pymalloc::trim();
            }
            return;
        }
        (None, choice) => {
            let align = 1 << random.below(8);
            let phase = random.below(1 << 16);
            Live::allocate(shared_size(random), align, choice == 0, phase)
        }
    };
    let before = place.lock().expect("no thread has panicked").replace(left);
    if let Some(live) = before {
        live.free();
    }
}

#[test]
fn arenas_drain() {
    alone("arenas drain", |seed| {
        let mut random = Random(seed);
        let mut blocks: Vec<_> = (0..40_000)
            .map(|_| Live::allocate(drained_size(&mut random), 1, false, random.below(1 << 16)))
            .collect();
        let addresses: Vec<_> = blocks.iter().map(Live::address).collect();
        for index in (1..blocks.len()).rev() {
            blocks.swap(index, random.below(index + 1));
        }
        // Some by a thread that does not own their pools, and the rest by the one that does.
        let rest = blocks.split_off(blocks.len() / 3);
        thread::scope(|scope| {
            scope.spawn(|| blocks.into_iter().for_each(Live::free));
        });
        rest.into_iter().for_each(Live::free);
        assert!(pymalloc::trim(), "there is something to give back");
        for address in addresses {
            let info = pymalloc::inspect(address);
            assert_eq!(info.kind, Kind::None, "{address:?}: {info:?}");
        }
        // And there is service after that.
        let layout = Layout::new::<[u64; 4]>();
        // SAFETY: the size is not 0; the block is freed once, by its layout.
        unsafe {
            let block = Pymalloc.alloc(layout);
            assert!(!block.is_null());
            Pymalloc.dealloc(block, layout);
        }
    });
}

fn drained_size(random: &mut Random) -> usize {
    match random.below(1000) {
        0 => 3 << 20,
        1..5 => random.below(500 << 10),
        5..100 => random.below(20 << 10),
        _ => random.below(1 << 10),
    }
}
