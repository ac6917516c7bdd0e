//! Objects of CPython: whether one starts in a block, and the type of it.
//!
//! What it owns: the types that were met, by address, with their names.
//!
//! An object begins with a count of references and the address of its type. In a block it lies at the start, behind the header of the collector
//! (16 bytes), or behind that and two more words in front of it (3.11 and later: instances with a managed dictionary or weak references). The
//! flags of the type say which, in all versions from 3.8 to 3.14, so that the version need not be known.
//!
//! ```text
//!   object        0 references       8 type          16 number of items, for those that have some
//!   type        ... 8 metatype      24 name          32 size    40 bytes an item    168 flags   264 dictionary
//!   dictionary  ...                                  32 keys
//! ```
//!
//! What must hold: a type is one only if its metatype is a type, and so on up to `type`, which is its own. So bytes that are no object are hardly taken for
//! one: a count, a pointer to a type, that type's offset and its size must all agree.

use super::blocks::{Content, State, may_be_address, word_of};
use crate::outside::Memory;
use crate::view::printable;
use std::collections::HashMap;

/// Offsets in an object.
const TYPE: usize = 8;
const ITEMS: usize = 16;
/// Offsets in a type.
const NAME: usize = 24;
const BASIC_SIZE: usize = 32;
const ITEM_SIZE: usize = 40;
const FLAGS: usize = 168;
const DICTIONARY: usize = 264;
const TYPE_BYTES: usize = 272;
/// In a dictionary: the table of its keys.
const KEYS: usize = 32;

/// Flags of a type: bits.
const NEEDS_WORDS_IN_FRONT: usize = 1 << 3 | 1 << 4;
const MADE_AT_RUN_TIME: usize = 1 << 9;
const READY: usize = 1 << 12;
const COLLECTED: usize = 1 << 14;
const IS_TUPLE: usize = 1 << 26;
const IS_BYTES: usize = 1 << 27;
const IS_STRING: usize = 1 << 28;
const IS_TYPE: usize = 1 << 31;

/// Bytes of the collector's header, and of the two words in front of that.
const IN_FRONT: usize = 16;
/// A string's own part is less than its type says, if it is compact.
const COMPACT_STRING: usize = 40;
/// No type is larger.
const MOST_BASIC_SIZE: usize = 1 << 16;
/// Addresses that are asked about, of types or not: a program has some thousand types.
const MOST_KNOWN: usize = 1 << 18;
/// A metatype has one of its own, up to `type`.
const MOST_METATYPES: usize = 8;
/// Bytes of a name that are told.
const MOST_NAME: usize = 160;
/// Bytes of the keys of a type's dictionary in which `__module__` is looked for. It is among the first.
const KEYS_READ: usize = 2048;

/// A type of the program.
#[derive(Clone, Copy)]
struct Type {
    number: usize,
    basic_size: usize,
    item_size: usize,
    flags: usize,
}

impl Type {
    /// Where in a block its objects lie.
    fn offset(&self) -> usize {
        let collected = self.flags & COLLECTED != 0;
        let words_in_front = self.flags & NEEDS_WORDS_IN_FRONT != 0;
        IN_FRONT * (usize::from(collected) + usize::from(words_in_front))
    }

    /// Bytes that an object takes at least, with the number of items that it says it has.
    fn least_size(&self, items: usize) -> usize {
        let own = match self.flags & IS_STRING {
            0 => self.basic_size,
            _ => self.basic_size.min(COMPACT_STRING),
        };
        match self.flags & (IS_TUPLE | IS_BYTES) {
            0 => own,
            _ => items.saturating_mul(self.item_size).saturating_add(own),
        }
    }
}

pub struct Types<'a> {
    memory: &'a Memory,
    /// What every address is that was taken for a type's: one, or none.
    known: HashMap<usize, Option<Type>>,
    names: Vec<String>,
    /// The address of the string `__module__`, once it was met.
    module_key: Option<usize>,
}

impl<'a> Types<'a> {
    pub fn new(memory: &'a Memory) -> Self {
        Types {
            memory,
            known: HashMap::new(),
            names: Vec::new(),
            module_key: None,
        }
    }

    /// The names of the types, by number.
    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    /// What lies in a block that is in use.
    pub fn state_of(&mut self, block: &Content) -> State {
        for offset in [0, IN_FRONT, 2 * IN_FRONT] {
            let references = block.word(offset);
            if !is_count(references) {
                continue;
            }
            let Some(kind) = self.type_at(block.word(offset + TYPE)) else {
                continue;
            };
            let least = kind.least_size(block.word(offset + ITEMS));
            if kind.offset() == offset && offset.saturating_add(least) <= block.size {
                return match references as u32 {
                    0 => State::SPARE,
                    _ => State::object(kind.number),
                };
            }
        }
        State::UNKNOWN
    }

    /// The type at an address, if there is one.
    fn type_at(&mut self, address: usize) -> Option<Type> {
        if !may_be_pointer(address) {
            return None;
        }
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        if self.known.len() >= MOST_KNOWN {
            return None;
        }
        let found = self.read_type(address);
        self.known.insert(address, found);
        found
    }

    fn read_type(&mut self, address: usize) -> Option<Type> {
        let found = self.content::<TYPE_BYTES>(address)?;
        let word = |at| word_of(&found, at);
        let kind = Type {
            number: self.names.len(),
            basic_size: word(BASIC_SIZE),
            item_size: word(ITEM_SIZE),
            flags: word(FLAGS),
        };
        if kind.flags & READY == 0
            || !(ITEMS..MOST_BASIC_SIZE).contains(&kind.basic_size)
            || kind.item_size >= MOST_BASIC_SIZE
            || !self.is_metatype(word(TYPE))
            || self.names.len() >= State::MOST_TYPES
        {
            return None;
        }
        let name = self.text(word(NAME))?;
        let module = match kind.flags & MADE_AT_RUN_TIME {
            0 => None,
            _ => self.module_of(word(DICTIONARY)),
        };
        self.names.push(match module {
            // A type of an extension may have both in its name.
            Some(module) if module != "builtins" && !name.contains('.') => {
                format!("{module}.{name}")
            }
            _ => name,
        });
        Some(kind)
    }

    /// Whether an address is that of `type`, or of a type of types.
    fn is_metatype(&self, mut address: usize) -> bool {
        for _ in 0..MOST_METATYPES {
            let Some(found) = self.content::<TYPE_BYTES>(address) else {
                return false;
            };
            if word_of(&found, FLAGS) & (IS_TYPE | READY) != IS_TYPE | READY {
                return false;
            }
            let above = word_of(&found, TYPE);
            if above == address {
                return self.text(word_of(&found, NAME)).as_deref() == Some("type");
            }
            address = above;
        }
        false
    }

    /// The name of the module in which a class was made, by its dictionary: the value behind the key `__module__`. In all versions a value lies behind its key.
    fn module_of(&mut self, dictionary: usize) -> Option<String> {
        let keys = word_of(&self.content::<{ KEYS + 8 }>(dictionary)?, KEYS);
        // The table may end before that, at the end of the memory that is there.
        let mut table = vec![0; KEYS_READ];
        while !may_be_pointer(keys) || !self.memory.read_one(keys, &mut table).ok()? {
            let half = table.len() / 2;
            if half < IN_FRONT || !may_be_pointer(keys) {
                return None;
            }
            table.truncate(half);
        }
        let words: Vec<_> = (0..table.len())
            .step_by(size_of::<usize>())
            .map(|at| word_of(&table, at))
            .collect();
        let at = words.windows(2).find_map(|pair| match self.module_key {
            Some(key) => (pair[0] == key).then_some(pair[1]),
            None if self.string(pair[0]).as_deref() == Some("__module__") => {
                self.module_key = Some(pair[0]);
                Some(pair[1])
            }
            None => None,
        })?;
        self.string(at)
    }

    /// A compact string of ASCII. Its letters lie behind 40 bytes from 3.12 on, behind 48 before.
    fn string(&self, address: usize) -> Option<String> {
        const NEW: usize = COMPACT_STRING;
        const OLD: usize = COMPACT_STRING + 8;
        let head = self.content::<OLD>(address)?;
        let length = word_of(&head, ITEMS);
        if length == 0 || length > MOST_NAME || !self.is_string(word_of(&head, TYPE)) {
            return None;
        }
        let is_text = |letters: &[u8]| letters.iter().all(u8::is_ascii_graphic);
        [NEW, OLD].into_iter().find_map(|at| {
            let mut letters = vec![0; length + 1];
            let there = self.memory.read_one(address + at, &mut letters).ok()?;
            let ends = letters.pop() == Some(0);
            (there && ends && is_text(&letters)).then(|| String::from_utf8_lossy(&letters).into())
        })
    }

    /// Whether an address is that of the type of strings, or of one derived from it.
    fn is_string(&self, address: usize) -> bool {
        let found = self.content::<TYPE_BYTES>(address);
        found.is_some_and(|found| word_of(&found, FLAGS) & (IS_STRING | READY) == IS_STRING | READY)
    }

    /// A text that ends with a zero: a name. `None` for what is no name.
    fn text(&self, address: usize) -> Option<String> {
        let mut letters = vec![0; MOST_NAME];
        // It may lie at the end of what is there.
        while !may_be_address(address) || !self.memory.read_one(address, &mut letters).ok()? {
            let half = letters.len() / 2;
            if half == 0 || !may_be_address(address) {
                return None;
            }
            letters.truncate(half);
        }
        let end = letters.iter().position(|letter| *letter == 0)?;
        let name = std::str::from_utf8(&letters[..end]).ok()?;
        (!name.is_empty()).then(|| printable(name))
    }

    /// So many bytes at an address at which a structure may lie.
    fn content<const SIZE: usize>(&self, address: usize) -> Option<[u8; SIZE]> {
        let mut content = [0; SIZE];
        let there = may_be_pointer(address) && self.memory.read_one(address, &mut content).ok()?;
        there.then_some(content)
    }
}

/// Whether a word can be a count of references. That is one of 32 bits, whatever the version; from 3.14 on flags are in the highest 16.
fn is_count(word: usize) -> bool {
    word >> 32 & 0xffff == 0
}

/// Whether a word can be the address of a structure.
fn may_be_pointer(word: usize) -> bool {
    may_be_address(word) && word.is_multiple_of(size_of::<usize>())
}
