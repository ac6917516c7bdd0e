//! The source of the generated crate but for its `main`, which uses each of
//! these with many types.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::mpsc;
use std::thread;

/// A fixed number of boxed values of one type with a list of the free ones.
struct Pool<T, const N: usize> {
    blocks: Vec<Option<Box<T>>>,
    free: Vec<usize>,
    seed: usize,
}

trait Blocks {
    fn take(&mut self) -> Option<usize>;
    fn give(&mut self, block: usize);
    fn live(&self) -> usize;
}

impl<T: Sample + Debug, const N: usize> Pool<T, N> {
    fn new(seed: usize) -> Self {
        Pool { blocks: (0..N).map(|_| None).collect(), free: (0..N).rev().collect(), seed }
    }
}

impl<T: Sample + Debug, const N: usize> Blocks for Pool<T, N> {
    fn take(&mut self) -> Option<usize> {
        let block = self.free.pop()?;
        self.blocks[block] = Some(Box::new(T::sample(self.seed + block)));
        Some(block)
    }

    fn give(&mut self, block: usize) {
        self.seed += self.blocks[block].take().map_or(0, |value| format!("{value:?}").len());
        self.free.push(block);
    }

    fn live(&self) -> usize {
        self.blocks.iter().flatten().count()
    }
}

trait Sample {
    fn sample(seed: usize) -> Self;
}

impl Sample for u64 {
    fn sample(seed: usize) -> Self {
        seed as u64 * 3
    }
}

impl Sample for u8 {
    fn sample(seed: usize) -> Self {
        seed as u8
    }
}

impl Sample for i16 {
    fn sample(seed: usize) -> Self {
        -(seed as i16)
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(seed: usize) -> Self {
        std::array::from_fn(|index| T::sample(seed + index))
    }
}

impl<A: Sample, B: Sample> Sample for (A, B) {
    fn sample(seed: usize) -> Self {
        (A::sample(seed), B::sample(seed + 1))
    }
}

fn report<P: Blocks>(mut pool: P) {
    let mut taken = Vec::new();
    for round in 0..100 {
        taken.extend(pool.take());
        if round % 3 == 0 && !taken.is_empty() {
            pool.give(taken.swap_remove(taken.len() / 2));
        }
    }
    println!("{} {} {:?}", type_name::<P>(), pool.live(), taken.iter().sum::<usize>());
}

/// Strings made in some threads and dropped in another.
fn threads() {
    let (sender, receiver) = mpsc::channel::<HashMap<String, Vec<String>>>();
    let makers: Vec<_> = (0..4_usize)
        .map(|maker| {
            let sender = sender.clone();
            thread::spawn(move || {
                for round in 0..200 {
                    let words = (0..50).map(|word| {
                        let text = format!("{maker}-{round}-{word}");
                        (text.clone(), vec![text; word % 5])
                    });
                    sender.send(words.collect()).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let total: usize = receiver.iter().map(|map| map.values().flatten().map(String::len).sum::<usize>()).sum();
    for maker in makers {
        maker.join().unwrap();
    }
    println!("{total}");
}
