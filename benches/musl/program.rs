//! A static Rust program for musl, with the global allocator that a feature chooses: `program WORKLOAD ROUNDS`. scripts/bench-musl builds and runs it.
//!
//! - `records`: one thread builds maps of strings, keeps a tenth of each and drops the rest;
//! - `packs`: as a backup tool does it, four threads cut data into chunks, hand them on in packs of some megabytes, and two others index and drop them.
//!
//! It prints a number that depends on all that it did, so that nothing is left out; and on stderr its peak of resident memory in KiB, and of `packs` how many KiB of
//! packs were live at most: that depends on which threads are ahead, and so on the allocator's speed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "pymalloc")]
#[global_allocator]
static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn records(rounds: usize) -> usize {
    let mut random = Random(1);
    let mut kept: Vec<BTreeMap<String, Vec<String>>> = Vec::new();
    let mut sum = 0;
    for round in 0..rounds {
        let mut built: HashMap<String, Vec<String>> = HashMap::new();
        for number in 0..20_000 {
            let key = format!("customer-{}", random.below(5_000));
            let mut text = format!("order {number} of round {round}: ");
            text.push_str(&"x".repeat(random.below(120)));
            built.entry(key).or_default().push(text);
        }
        sum += built.values().map(Vec::len).max().unwrap_or(0);
        kept.push(built.into_iter().filter(|(key, _)| key.ends_with('7')).collect());
        if kept.len() > 8 {
            kept.remove(0);
        }
    }
    sum + kept.iter().map(BTreeMap::len).sum::<usize>()
}

/// Bytes of all packs between their first chunk and their end, and the most there were. Relaxed: they are sums, and publish nothing.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST_LIVE: AtomicUsize = AtomicUsize::new(0);

fn packs(rounds: usize) -> usize {
    const CUTTERS: usize = 4;
    let (send, receive) = sync_channel::<Vec<Vec<u8>>>(8);
    let receive = Arc::new(Mutex::new(receive));
    let cutters: Vec<_> = (0..CUTTERS)
        .map(|seed| {
            let send = send.clone();
            thread::spawn(move || {
                let mut random = Random(seed as u64 + 1);
                for _ in 0..rounds {
                    let mut pack = Vec::new();
                    let mut size = 0;
                    while size < 4 << 20 {
                        let most = 1 << random.below(21);
                        let mut chunk = vec![seed as u8; 1 + random.below(most)];
                        chunk.extend_from_slice(&[1; 16]);
                        size += chunk.len();
                        let live = LIVE.fetch_add(chunk.len(), Relaxed) + chunk.len();
                        MOST_LIVE.fetch_max(live, Relaxed);
                        pack.push(chunk);
                    }
                    if send.send(pack).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(send);
    let indexers: Vec<_> = (0..2)
        .map(|_| {
            let receive = receive.clone();
            thread::spawn(move || {
                let mut index = HashMap::new();
                let mut bytes = 0;
                loop {
                    let received = receive.lock().expect("no thread panics").recv();
                    let Ok(pack) = received else { break };
                    for (at, chunk) in pack.iter().enumerate() {
                        bytes += chunk.len();
                        index.insert((bytes, at), Box::new([at as u8; 32]));
                    }
                    let size: usize = pack.iter().map(Vec::len).sum();
                    drop(pack);
                    LIVE.fetch_sub(size, Relaxed);
                }
                bytes + index.len()
            })
        })
        .collect();
    for cutter in cutters {
        cutter.join().expect("no thread panics");
    }
    indexers.into_iter().map(|one| one.join().expect("no thread panics")).sum()
}

/// The most that was ever resident, in KiB. (`getrusage` would count what the process was before it became this program.)
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.expect("a number of KiB")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments[2].parse().expect("a number of rounds");
    let sum = match arguments[1].as_str() {
        "records" => records(rounds),
        "packs" => packs(rounds),
        other => panic!("no workload {other}"),
    };
    println!("{sum}");
    eprintln!("{} {}", peak(), MOST_LIVE.load(Relaxed) / 1024);
}
