//! What lies between two snapshots: by type, by size class, and of resident memory as a whole.
//!
//! What must hold: whatever numbers the snapshots have, nothing here fails. Only what differs is listed, what differs most first.

use crate::census::{Census, Row};
use crate::moment::Parts;
use crate::snapshot::Snapshot;
use serde::Serialize;
use std::collections::BTreeMap;

/// By how much a type has changed.
#[derive(Clone, Default, Serialize)]
pub struct OfType {
    pub name: String,
    pub objects: i64,
    /// Of its objects, and of what these hold.
    pub bytes: i64,
    pub pinned_bytes: i64,
}

/// By how much a size class has changed.
#[derive(Clone, Copy, Default, Serialize)]
pub struct OfSize {
    /// Bytes of a block; 0 for large blocks.
    pub block_size: usize,
    pub blocks: i64,
    pub bytes: i64,
    pub pinned_bytes: i64,
}

#[derive(Serialize)]
pub struct Difference {
    pub is_same_process: bool,
    pub seconds: f64,
    pub before: Parts,
    pub after: Parts,
    /// Of the change of resident memory: what is in use more...
    pub growth_bytes: i64,
    /// ... what is pinned more...
    pub fragmentation_bytes: i64,
    /// ... and all else.
    pub rest_bytes: i64,
    pub types: Vec<OfType>,
    pub sizes: Vec<OfSize>,
}

/// From one number of bytes to another. Numbers that no process has may give any.
pub fn change(before: usize, after: usize) -> i64 {
    (after as i64).wrapping_sub(before as i64)
}

impl Difference {
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let is_same_process = (before.pid, before.started) == (after.pid, after.started);
        let (then, now) = (before.parts, after.parts);
        let growth_bytes = change(then.in_use, now.in_use);
        let fragmentation_bytes = change(then.pinned, now.pinned);
        let all = change(then.resident, now.resident);
        Difference {
            is_same_process,
            seconds: after.time - before.time,
            before: then,
            after: now,
            growth_bytes,
            fragmentation_bytes,
            rest_bytes: all
                .wrapping_sub(growth_bytes)
                .wrapping_sub(fragmentation_bytes),
            types: by_type(&before.census, &after.census),
            sizes: by_size(&before.census, &after.census),
        }
    }
}

fn by_type(before: &Census, after: &Census) -> Vec<OfType> {
    let mut rows = BTreeMap::<&str, (Row, Row)>::new();
    for row in before.rows() {
        rows.entry(&row.name).or_default().0.add(row);
    }
    for row in after.rows() {
        rows.entry(&row.name).or_default().1.add(row);
    }
    let rows = rows.into_iter().map(|(name, (then, now))| OfType {
        name: name.into(),
        objects: change(then.objects, now.objects),
        bytes: change(then.all_bytes(), now.all_bytes()),
        pinned_bytes: change(then.pinned, now.pinned),
    });
    most_first(rows, |row| [row.objects, row.bytes, row.pinned_bytes])
}

fn by_size(before: &Census, after: &Census) -> Vec<OfSize> {
    let mut rows = BTreeMap::<usize, OfSize>::new();
    for (census, sign) in [(before, -1), (after, 1)] {
        for row in &census.sizes {
            let sum = rows.entry(row.block_size).or_default();
            sum.block_size = row.block_size;
            for (sum, number) in [
                (&mut sum.blocks, row.blocks),
                (&mut sum.bytes, row.bytes),
                (&mut sum.pinned_bytes, row.pinned),
            ] {
                *sum = sum.wrapping_add((number as i64).wrapping_mul(sign));
            }
        }
    }
    most_first(rows.into_values(), |row| {
        [row.blocks, row.bytes, row.pinned_bytes]
    })
}

/// Those that differ, by how many bytes the last two figures differ.
fn most_first<T>(rows: impl Iterator<Item = T>, figures: fn(&T) -> [i64; 3]) -> Vec<T> {
    let mut rows: Vec<_> = rows.filter(|row| figures(row) != [0; 3]).collect();
    rows.sort_by_key(|row| {
        let [_, bytes, pinned] = figures(row).map(i64::unsigned_abs);
        std::cmp::Reverse(bytes.saturating_add(pinned))
    });
    rows
}
