//! The layout of what the library keeps in memory, as a number: sizes and offsets, mixed at compile time.
//!
//! `pymalloc-watch` reads the library's structures from outside. Two builds with the same number have the same structures.

/// Mixes numbers into one (FNV-1a, a number at a time): another number or another order gives another result.
pub const fn mix(numbers: &[u64]) -> u64 {
    let mut mixed = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < numbers.len() {
        mixed = (mixed ^ numbers[at]).wrapping_mul(0x0100_0000_01b3);
        mixed ^= mixed >> 32;
        at += 1;
    }
    mixed
}

/// The number of a text.
pub const fn of_text(text: &str) -> u64 {
    let mut mixed = mix(&[]);
    let mut at = 0;
    while at < text.len() {
        mixed = mix(&[mixed, text.as_bytes()[at] as u64]);
        at += 1;
    }
    mixed
}

/// The number of some structures: their sizes, and where the fields lie that are named.
macro_rules! layout {
    ($($structure:ty { $($field:ident),* })*) => {
        $crate::layout::mix(&[$(
            core::mem::size_of::<$structure>() as u64,
            $(core::mem::offset_of!($structure, $field) as u64,)*
        )*])
    };
}
pub(crate) use layout;
