//! A Rust program whose global allocator is pymalloc. It prints `ok` and nothing else when all is well.

use std::collections::{BTreeMap, HashMap};

#[global_allocator]
static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;

#[repr(align(512))]
struct Aligned([u8; 512]);

fn check_ours<T: ?Sized>(memory: &T) {
    let info = pymalloc::inspect(memory);
    assert_ne!(info.kind, pymalloc::Kind::None);
    assert_eq!(info.state, pymalloc::State::Allocated);
}

fn main() {
    check_ours(&*Box::new(1));

    let aligned = Box::new(Aligned([7; 512]));
    check_ours(&*aligned);
    assert_eq!(std::ptr::from_ref(&*aligned).addr() % 512, 0);
    assert!(aligned.0.iter().all(|byte| *byte == 7));

    let local = 1;
    assert_eq!(pymalloc::inspect(&local).kind, pymalloc::Kind::None);

    let threads: Vec<_> = (0..4)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut words: BTreeMap<String, Vec<usize>> = BTreeMap::new();
                for i in 0..10_000 {
                    words
                        .entry(format!("word {}", i % 1000))
                        .or_default()
                        .push(i + thread);
                }
                words
            })
        })
        .collect();
    let mut count: HashMap<String, usize> = HashMap::new();
    for thread in threads {
        for (word, places) in thread.join().unwrap() {
            check_ours(places.as_slice());
            *count.entry(word).or_default() += places.len();
        }
    }
    assert_eq!(count.len(), 1000);
    assert!(count.values().all(|places| *places == 40));

    let large = vec![0u8; 10_000_000];
    check_ours(large.as_slice());
    assert!(large.iter().all(|byte| *byte == 0));

    println!("ok");
}
