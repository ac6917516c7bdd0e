//! Finds the library in a process: its signpost is a note of one of the ELF files that are mapped there.
//!
//! All of it is read from the memory of the process, not from its files: these may be gone, replaced, or in a container.

use super::Error;
use super::memory::Memory;
use pymalloc::internals::structures::{
    LAYOUT, NOTE_NAME, NOTE_TYPE, PARTS, VERSION_SIZE, own_parts,
};
use std::fs;

/// The library in a process.
pub struct Parts {
    /// Where its note is, and what it says.
    note: usize,
    description: Vec<u8>,
    /// Where its statics are.
    pub statics: [usize; PARTS],
}

/// More program headers and longer notes than a file has that is not broken.
const MOST_HEADERS: usize = 256;
const LONGEST_NOTES: usize = 1 << 16;

/// Bytes of a note before its name: three words.
const HEAD: usize = 12;
/// In its description: bytes of the layout, and of each distance.
const WORD: usize = 8;

fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..BYTES].copy_from_slice(bytes.get(at..at + BYTES)?);
    Some(u64::from_le_bytes(number))
}

/// Finds the library. Of several in one process (one preloaded, one inside the program) the one that is in use.
pub fn find(memory: &Memory) -> Result<Parts, Error> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", memory.pid))?;
    let (mut idle, mut other) = (None, None);
    for start in maps.lines().filter_map(start_of_file) {
        for (note, description) in notes_of(memory, start)? {
            match statics_of(note, &description) {
                Some(statics) => {
                    let parts = Parts {
                        note,
                        description,
                        statics,
                    };
                    if is_used(memory, &parts)? {
                        return Ok(parts);
                    }
                    idle = idle.or(Some(parts));
                }
                None => other = Some(version_of(&description)),
            }
        }
    }
    match (idle, other) {
        (Some(parts), _) => Ok(parts),
        (None, Some(version)) => Err(Error::OtherBuild(version)),
        (None, None) => Err(Error::NoPymalloc),
    }
}

/// Whether it is where it was found.
pub fn is_still_there(memory: &Memory, parts: &Parts) -> Result<bool, Error> {
    let mut description = vec![0; parts.description.len()];
    Ok(memory.read_one(parts.note, &mut description)? && description == parts.description)
}

/// Whether a thread has a heap of it: the list of heaps, its last part, is not all zeroes.
fn is_used(memory: &Memory, parts: &Parts) -> Result<bool, Error> {
    let (_, size) = own_parts()[PARTS - 1];
    let mut last_heap = vec![0; size];
    let read = memory.read_one(parts.statics[PARTS - 1], &mut last_heap)?;
    Ok(read && last_heap.iter().any(|byte| *byte != 0))
}

/// Where the first bytes of a file are mapped, by a line of `/proc/PID/maps`: "start-end permissions offset device inode path".
fn start_of_file(line: &str) -> Option<usize> {
    let mut words = line.split_ascii_whitespace();
    let range = words.next()?;
    let permissions = words.next()?;
    let offset = words.next()?;
    let inode = words.nth(1)?;
    let is_start =
        permissions.starts_with('r') && offset.bytes().all(|digit| digit == b'0') && inode != "0";
    let (start, _) = range.split_once('-')?;
    is_start.then(|| usize::from_str_radix(start, 16).ok())?
}

/// The notes by the library's name in a file that is mapped at `start`: where each description is, and its bytes.
fn notes_of(memory: &Memory, start: usize) -> Result<Vec<(usize, Vec<u8>)>, Error> {
    let mut notes = Vec::new();
    // An ELF file begins so, in 64 bits and with the least byte first.
    let mut header = [0; 64];
    if !memory.read_one(start, &mut header)? || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(notes);
    }
    // The fields of an ELF header: where the program headers are, the size of one, their number.
    let field = |at| number::<2>(&header, at).unwrap_or(0) as usize;
    let table = number::<8>(&header, 32).unwrap_or(0) as usize;
    let (size, count) = (field(54), field(56).min(MOST_HEADERS));
    if size < 56 {
        return Ok(notes);
    }
    let mut headers = vec![0; size * count];
    if !memory.read_one(start.wrapping_add(table), &mut headers)? {
        return Ok(notes);
    }
    // Of a program header: type, place in the file, place in memory, size in memory.
    let segments: Vec<_> = headers
        .chunks_exact(size)
        .filter_map(|header| {
            let field = |at| number::<8>(header, at).map(|field| field as usize);
            Some((
                number::<4>(header, 0)? as u32,
                field(8)?,
                field(16)?,
                field(40)?,
            ))
        })
        .collect();
    let Some(first) = segments
        .iter()
        .find(|(kind, in_file, ..)| *kind == libc::PT_LOAD && *in_file == 0)
    else {
        return Ok(notes);
    };
    let moved = start.wrapping_sub(first.2);
    for (_, _, address, size) in segments.iter().filter(|(kind, ..)| *kind == libc::PT_NOTE) {
        let address = moved.wrapping_add(*address);
        let mut bytes = vec![0; (*size).min(LONGEST_NOTES)];
        if memory.read_one(address, &mut bytes)? {
            notes.extend(notes_in(&bytes).map(|(at, text)| (address + at, text.to_vec())));
        }
    }
    Ok(notes)
}

/// The descriptions of the notes by the library's name, and where they start.
fn notes_in(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let word = |index: usize| number::<4>(bytes, at + index * 4).map(|word| word as usize);
        let (name_size, size, kind) = (word(0)?, word(1)?, word(2)?);
        let name = bytes.get(at + HEAD..)?.get(..name_size)?;
        let start = at + HEAD + name_size.next_multiple_of(4);
        let description = bytes.get(start..)?.get(..size)?;
        at = start + size.next_multiple_of(4);
        Some((name == NOTE_NAME && kind == NOTE_TYPE as usize).then_some((start, description)))
    })
    .flatten()
}

/// The statics that a description at `note` leads to, if it is of a build that this program knows.
fn statics_of(note: usize, description: &[u8]) -> Option<[usize; PARTS]> {
    if number::<8>(description, 0)? != LAYOUT {
        return None;
    }
    let mut statics = [0; PARTS];
    for (index, part) in statics.iter_mut().enumerate() {
        let at = WORD + VERSION_SIZE + index * WORD;
        *part = (note + at).wrapping_add(number::<8>(description, at)? as usize);
    }
    Some(statics)
}

/// The version in a description, of any build.
fn version_of(description: &[u8]) -> String {
    let version = description.get(WORD..WORD + VERSION_SIZE).unwrap_or(b"?");
    let text = version.iter().take_while(|byte| byte.is_ascii_graphic());
    text.map(|byte| char::from(*byte)).collect()
}
