//! Where a value lies in the heap: `cargo run --example inspect`.

#[global_allocator]
static ALLOCATOR: pymalloc::Pymalloc = pymalloc::Pymalloc;

fn describe<T: ?Sized>(name: &str, value: &T) {
    let info = pymalloc::inspect(value);
    println!(
        "{name:<16} {:?}, {:?}: block {} of {} bytes in pool {:?} of arena {:?}",
        info.kind, info.state, info.block_index, info.block_size, info.pool, info.arena
    );
}

fn main() {
    let small = Box::new(42_u64);
    let word = String::from("a block is rounded up to its size class");
    let large = vec![0_u8; 100_000];
    let mapping = vec![0_u8; 10_000_000];
    describe("a number", &*small);
    describe("a word", word.as_str());
    describe("100 KB", large.as_slice());
    describe("10 MB", mapping.as_slice());
    describe("on the stack", &small);
}
