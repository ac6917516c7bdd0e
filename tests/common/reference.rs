//! A reference model of the allocator: what must be true of every block, checked against the real one at each step.
//!
//! Owns: the blocks that it has allocated. It knows of each where it is, what it was asked for, and what every byte of it must be.
//! What must hold: nobody else in the process allocates from the library meanwhile, since addresses that were freed
//! are expected to stay free.

use pymalloc::{Kind, Pymalloc, State};
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Bytes that blocks are filled with, from a place of each block's own. Their number is a prime, so that no two pages of a
/// block look alike.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(0);
    (0..65_521).map(|_| random.next() as u8).collect()
});

/// The most bytes that the model lets live at a time.
const MOST_LIVE: usize = 64 << 20;

/// Freed addresses that are asked about later.
const REMEMBERED: usize = 64;

/// One step of a program.
#[derive(Clone, Debug)]
pub enum Operation {
    Allocate {
        size: usize,
        align: usize,
        zeroed: bool,
    },
    /// The block is any number: the live blocks are counted round and round.
    Resize {
        block: usize,
        size: usize,
    },
    Free {
        block: usize,
    },
    Trim,
}

/// Numbers that look random (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A live block, full of its part of the pattern. Whoever drops it without `free` leaks it.
pub struct Live {
    address: usize,
    layout: Layout,
    /// Where in the pattern its contents start.
    phase: usize,
}

impl Live {
    /// Allocates and fills a block, and checks what can be checked of it alone.
    pub fn allocate(size: usize, align: usize, zeroed: bool, phase: usize) -> Self {
        let layout = Layout::from_size_align(size, align).expect("a size and an alignment");
        // SAFETY: a size of 0, which the trait leaves open, is that of `malloc(0)` here: a block of its own.
        let address = unsafe {
            match zeroed {
                true => Pymalloc.alloc_zeroed(layout),
                false => Pymalloc.alloc(layout),
            }
        } as usize;
        assert_ne!(address, 0, "no memory for {layout:?}");
        assert_eq!(
            address % align.max(if size < 16 { 8 } else { 16 }),
            0,
            "{address:#x} for {layout:?}"
        );
        let mut live = Live {
            address,
            layout,
            phase: phase % PATTERN.len(),
        };
        if zeroed {
            let zeroes = [0; 4096];
            for (index, part) in live.bytes().chunks(zeroes.len()).enumerate() {
                assert!(
                    *part == zeroes[..part.len()],
                    "{live}: not zero within 4096 bytes of {}",
                    index * zeroes.len()
                );
            }
        }
        live.fill();
        live.check_inspected();
        live
    }

    /// Checks every byte and resizes the block to `size` bytes, which must not be 0.
    pub fn resize(&mut self, size: usize) {
        self.check();
        // SAFETY: the block is live and this is its layout.
        let address =
            unsafe { Pymalloc.realloc(self.address as *mut u8, self.layout, size) } as usize;
        assert_ne!(address, 0, "no memory to resize {self} to {size}");
        let kept = self.layout.size().min(size);
        let align = self.layout.align();
        let before = self.to_string();
        self.address = address;
        self.layout = Layout::from_size_align(size, align).expect("a size and an alignment");
        assert_eq!(address % align, 0, "{before} resized to {self}");
        self.check_first(kept);
        self.phase = (self.phase + 1) % PATTERN.len();
        self.fill();
        self.check_inspected();
    }

    /// Checks every byte and frees the block.
    pub fn free(self) {
        self.check();
        // SAFETY: the block is live and this is its layout.
        unsafe { Pymalloc.dealloc(self.address as *mut u8, self.layout) };
    }

    /// Checks every byte.
    pub fn check(&self) {
        self.check_first(self.layout.size());
    }

    pub fn address(&self) -> *const u8 {
        self.address as *const u8
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: a live block of this size, which nobody else writes; `alloc` of the library gives
        // memory from the system, which is initialised.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.layout.size()) }
    }

    fn parts_of_pattern(&self) -> impl Iterator<Item = &'static [u8]> {
        std::iter::once(&PATTERN[self.phase..]).chain(std::iter::repeat(&PATTERN[..]))
    }

    fn fill(&mut self) {
        // SAFETY: a live block of this size, which nobody else uses.
        let mut rest =
            unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.layout.size()) };
        for part in self.parts_of_pattern() {
            let length = part.len().min(rest.len());
            rest[..length].copy_from_slice(&part[..length]);
            rest = &mut rest[length..];
            if rest.is_empty() {
                return;
            }
        }
    }

    fn check_first(&self, length: usize) {
        let mut rest = &self.bytes()[..length];
        for part in self.parts_of_pattern() {
            let compared = part.len().min(rest.len());
            if rest[..compared] != part[..compared] {
                let wrong = (0..compared).find(|&at| rest[at] != part[at]);
                let wrong = length - rest.len() + wrong.expect("they differ");
                panic!("{self}: byte {wrong} has changed");
            }
            rest = &rest[compared..];
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Checks that the library knows the block, by its first byte and by its last.
    fn check_inspected(&self) {
        for offset in [0, self.layout.size().saturating_sub(1)] {
            let info = pymalloc::inspect((self.address + offset) as *const u8);
            assert!(
                info.state == State::Allocated
                    && info.block as usize == self.address
                    && info.block_size >= self.layout.size().max(1),
                "{self}, byte {offset}: {info:?}"
            );
        }
    }

    /// The end of the memory that the library says is the block's.
    fn end(&self) -> usize {
        self.address + pymalloc::inspect(self.address()).block_size
    }
}

impl std::fmt::Display for Live {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (size, align) = (self.layout.size(), self.layout.align());
        write!(
            out,
            "{:#x} of {size} bytes aligned to {align}",
            self.address
        )
    }
}

/// All live blocks of a program with one thread.
#[derive(Default)]
pub struct Reference {
    blocks: Vec<Live>,
    /// The memory of every live block, as the library rounds it up: its start and its end.
    extents: BTreeMap<usize, usize>,
    /// Addresses of blocks that were freed, the latest of them.
    freed: Vec<usize>,
    steps: usize,
    live_bytes: usize,
}

impl Reference {
    /// Does one step with the library, and checks what came of it.
    pub fn apply(&mut self, operation: &Operation) {
        self.steps += 1;
        match *operation {
            Operation::Allocate {
                size,
                align,
                zeroed,
            } => {
                if self.live_bytes + size + align <= MOST_LIVE {
                    let live = Live::allocate(size, align, zeroed, self.steps * 257);
                    self.enter(live);
                }
            }
            Operation::Resize { block, size } => {
                if let Some(mut live) = self.take(block) {
                    if self.live_bytes + size <= MOST_LIVE {
                        let before = live.address;
                        live.resize(size.max(1));
                        if live.address != before {
                            self.remember_freed(before);
                        }
                    }
                    self.enter(live);
                }
            }
            Operation::Free { block } => {
                if let Some(live) = self.take(block) {
                    self.free(live);
                }
            }
            Operation::Trim => {
                pymalloc::trim();
            }
        }
        self.check_freed();
    }

    /// Frees all that is left, after a look at every byte of it.
    pub fn finish(mut self) {
        while let Some(live) = self.take(0) {
            self.free(live);
            self.check_freed();
        }
    }

    fn enter(&mut self, live: Live) {
        let (start, end) = (live.address, live.end());
        let below = self.extents.range(..end).next_back();
        if let Some((other, other_end)) = below {
            assert!(
                *other_end <= start,
                "{live} overlaps the block at {other:#x}"
            );
        }
        self.extents.insert(start, end);
        self.live_bytes += live.layout.size();
        self.blocks.push(live);
    }

    fn take(&mut self, block: usize) -> Option<Live> {
        let index = block.checked_rem(self.blocks.len())?;
        let live = self.blocks.swap_remove(index);
        self.extents.remove(&live.address);
        self.live_bytes -= live.layout.size();
        Some(live)
    }

    fn free(&mut self, live: Live) {
        let address = live.address;
        live.free();
        self.remember_freed(address);
    }

    fn remember_freed(&mut self, address: usize) {
        if self.freed.len() == REMEMBERED {
            self.freed.swap_remove(self.steps % REMEMBERED);
        }
        self.freed.push(address);
    }

    /// Asks the library about the address that was freed last, and another.
    fn check_freed(&self) {
        let Some(last) = self.freed.len().checked_sub(1) else {
            return;
        };
        for index in [last, self.steps % self.freed.len()] {
            let address = self.freed[index];
            let around = self.extents.range(..=address).next_back();
            if around.is_none_or(|(_, end)| *end <= address) {
                let info = pymalloc::inspect(address as *const u8);
                assert_ne!(
                    info.state,
                    State::Allocated,
                    "{address:#x} was freed: {info:?}"
                );
                assert!(info.kind != Kind::Large && info.kind != Kind::Mapping);
            }
        }
    }
}
