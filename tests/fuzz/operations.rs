//! Fuzzes the core: the bytes are a program, whose every step is checked against the reference model.
//!
//! What must hold: every string of bytes is a program, and a small change of the bytes a small change of it.

#![no_main]

#[path = "../common/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;
use reference::{Operation, Reference};

/// The most steps of a program: enough to fill an arena, few enough for thousands of programs a second.
const STEPS: usize = 1000;

/// Reads the next operation: a byte that says which, a byte for the block or the alignment, and two for the size.
fn next_operation(bytes: &mut impl Iterator<Item = u8>) -> Option<Operation> {
    let kind = bytes.next()?;
    let operand = bytes.next()?;
    Some(match kind {
        0..120 => Operation::Allocate {
            size: next_size(bytes)?,
            // Most of the values are those that ask for nothing.
            align: 1
                << usize::from(operand)
                    .saturating_sub(256 - 22 * 4)
                    .div_ceil(4)
                    .min(21),
            zeroed: kind & 1 == 1,
        },
        120..170 => Operation::Resize {
            block: usize::from(operand),
            size: next_size(bytes)?,
        },
        170..=254 => Operation::Free {
            block: usize::from(operand),
        },
        255 => Operation::Trim,
    })
}

/// A size below 4 MiB: an exponent of four bits, and twelve bits below the leading one.
fn next_size(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let number = u16::from_le_bytes([bytes.next()?, bytes.next()?]);
    let (exponent, mantissa) = (number >> 12, usize::from(number & 0xfff));
    Some(match exponent {
        // Half of all sizes are small.
        0..8 => mantissa >> exponent,
        8.. => (0x1000 | mantissa) << (exponent - 8) >> 1,
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.iter().copied();
    let mut reference = Reference::default();
    for operation in std::iter::from_fn(|| next_operation(&mut bytes)).take(STEPS) {
        reference.apply(&operation);
    }
    reference.finish();
});
