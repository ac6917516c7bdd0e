//! Parts of mappings: what fits, what touches, and how they are split and joined.

use crate::registry::Entry;

/// A kept mapping serves a request only if at most this part of it (1/4) would be left over, so that a small block
/// does not hold on to a large mapping.
const SPARE_PART: usize = 4;

pub(super) fn has_room(entry: &Entry, size: usize, align: usize) -> bool {
    entry.size >= size && entry.address & (align - 1) == 0
}

pub(super) fn fits(entry: &Entry, size: usize, align: usize) -> bool {
    has_room(entry, size, align) && entry.size - size <= entry.size / SPARE_PART
}

pub(super) fn touches(one: &Entry, other: &Entry) -> bool {
    one.address + one.size == other.address || other.address + other.size == one.address
}

/// Two that touch, as one.
pub(super) fn joined(one: &Entry, other: &Entry) -> Entry {
    Entry {
        address: one.address.min(other.address),
        size: one.size + other.size,
    }
}

/// Takes `bytes` off the start.
pub(super) fn split_start(entry: &mut Entry, bytes: usize) -> Entry {
    let start = entry.address;
    entry.address += bytes;
    entry.size -= bytes;
    Entry {
        address: start,
        size: bytes,
    }
}
