//! Writes header blocks, line by line, and decides what the peer is asked to keep.
//!
//! ```text
//!   line ─▶ hash ─▶ in the dynamic table? ─▶ 1iiiiiii            one or two bytes
//!                     │ no
//!                     ├─ a name whose values repeat, or seen before ─▶ 01iiiiii, and into the table
//!                     └─ else ─▶ 0000iiii: what is sent once does not push out what is sent always
//! ```
//!
//! Which lines repeat is found out rather than known: a line is kept when it comes the second time, so that
//! paths, identifiers and dates of single requests never enter the table, and whatever an application sends
//! again and again does. Names whose values are nearly always the same are kept at once.
//!
//! Invariants:
//! - table and peer's decoder stay in step: every change of the maximum is told at the next block's beginning;
//! - short credentials, and what a peer marked as never to be compressed, are never kept (RFC 7541 section 7.1).
//!
//! HOT: no allocation once the table has grown; a field that is kept costs a hash, a look and a comparison.
//!
//! Not here: Huffman strings (see `huffman`), which lines make a head (`super::super::head`).

use super::fixed;
use super::integer;
use super::kind::Kind;
use super::table::{ENTRY_BYTES, Line, TABLE_BYTES_MAX, Table};
use crate::http::Known;
use crate::http::h2::frame::TABLE_BYTES_DEFAULT;

/// Whether a line may be kept in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indexing {
    /// If its name or experience speaks for it.
    Usual,
    /// Never, here and further on (RFC 7541 section 6.2.3).
    Never,
}

/// Sets of what is remembered. With four in each, 30 lines that repeat, more than most connections have, all find
/// room but once in 1,000 connections.
const SETS: usize = 64;
/// Lines in a set.
const WAYS: usize = 4;
/// A credential shorter than this could be guessed by trying what compresses well.
const CREDENTIAL_BYTES_MIN: usize = 20;

/// Bytes that a literal takes beyond name and value: its first byte, and two lengths of up to five bytes.
const LITERAL_BYTES_MAX: usize = 11;

/// Indices of names whose values nearly always repeat on a connection.
const REPEATED: u64 = set(&[
    1,  // :authority
    15, // accept-charset
    16, // accept-encoding
    17, // accept-language
    18, // accept-ranges
    19, // accept
    20, // access-control-allow-origin
    24, // cache-control
    26, // content-encoding
    31, // content-type
    54, // server
    56, // strict-transport-security
    58, // user-agent
    59, // vary
    60, // via
]);
/// Indices of names whose values are credentials.
const CREDENTIALS: u64 = set(&[
    23, // authorization
    32, // cookie
    49, // proxy-authorization
    55, // set-cookie
]);

const fn set(indices: &[u8]) -> u64 {
    let mut bits = 0;
    let mut at = 0;
    while at < indices.len() {
        bits |= 1 << indices[at];
        at += 1;
    }
    bits
}

/// What is remembered of lines; made when the first one is kept.
#[derive(Clone, Debug)]
struct Memory {
    /// Marks of entries.
    kept: [[u32; WAYS]; SETS],
    /// Their numbers.
    numbers: [[u32; WAYS]; SETS],
    /// Marks of lines that were sent as they are, the latest first.
    seen: [[u32; WAYS]; SETS],
}

/// The sending side of header compression; one per connection.
#[derive(Clone, Debug)]
pub struct Encoder {
    table: Table,
    memory: Option<Box<Memory>>,
    /// The most this side keeps, whatever the peer allows.
    most: usize,
    /// The least maximum since the last block: told first (RFC 7541 section 4.2).
    told: Option<usize>,
    /// A name or value in the making.
    scratch: Vec<u8>,
}

impl Encoder {
    /// As every connection begins; this side keeps at most `most` bytes.
    pub fn new(most: usize) -> Self {
        let default = TABLE_BYTES_DEFAULT as usize;
        let most = most.min(TABLE_BYTES_MAX);
        let max = default.min(most);
        Encoder {
            table: Table::new(max),
            memory: None,
            most,
            told: (max != default).then_some(max),
            scratch: Vec::new(),
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_peer_limit(&mut self, bytes: usize) {
        let max = bytes.min(self.most);
        if max != self.table.max() {
            self.table.resize(max);
            self.told = Some(self.told.map_or(max, |least| least.min(max)));
        }
    }

    /// Bytes of memory held, this value itself not included.
    pub fn memory(&self) -> usize {
        let memory = if self.memory.is_some() { size_of::<Memory>() } else { 0 };
        self.table.memory() + memory + self.scratch.capacity()
    }

    /// A block begins.
    #[inline]
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.told.take() {
            if least < self.table.max() {
                integer::write(out, 0b0010_0000, 5, least);
            }
            integer::write(out, 0b0010_0000, 5, self.table.max());
        }
    }

    /// Appends an entry of the static table.
    #[inline]
    pub(crate) fn fixed(&mut self, out: &mut Vec<u8>, index: u8) {
        debug_assert!((1..=fixed::COUNT).contains(&usize::from(index)));
        out.push(0b1000_0000 | index);
    }

    /// Appends a field with a lower-case name.
    #[inline]
    pub(crate) fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], indexing: Indexing) {
        debug_assert!(!name.iter().any(u8::is_ascii_uppercase));
        let (hash, mark) = hash(name, value);
        if let Some(memory) = self.memory.as_ref().filter(|_| indexing == Indexing::Usual)
            && let Some(way) = memory.kept[hash % SETS].iter().position(|have| *have == mark)
            && let Some(place) = self.table.place_of(memory.numbers[hash % SETS][way], name, value)
        {
            return integer::write(out, 0b1000_0000, 7, fixed::COUNT + 1 + place);
        }
        self.literal(out, name, value, indexing, hash, mark);
    }

    /// Appends a field whose name may have capitals, which become small.
    #[inline]
    pub(crate) fn any_field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], indexing: Indexing) {
        let mut room = [0; 32];
        if let Some(lower) = room.get_mut(..name.len()) {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            return self.field(out, lower, value, indexing);
        }
        let mut lower = std::mem::take(&mut self.scratch);
        lower.clear();
        lower.extend_from_slice(name);
        lower.make_ascii_lowercase();
        self.field(out, &lower, value, indexing);
        self.scratch = lower;
    }

    /// Appends a field with a lower-case name and a value that `write` makes.
    #[inline]
    pub(crate) fn made_field(&mut self, out: &mut Vec<u8>, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let mut value = std::mem::take(&mut self.scratch);
        value.clear();
        write(&mut value);
        self.field(out, name, &value, Indexing::Usual);
        self.scratch = value;
    }

    #[inline(never)]
    fn literal(
        &mut self,
        out: &mut Vec<u8>,
        name: &[u8],
        value: &[u8],
        indexing: Indexing,
        hash: usize,
        mark: u32,
    ) {
        let index = fixed::index_of(name);
        out.reserve(name.len() + value.len() + LITERAL_BYTES_MAX);
        let credential = CREDENTIALS & 1 << index != 0 && value.len() < CREDENTIAL_BYTES_MIN;
        let keep = if indexing == Indexing::Never || credential {
            integer::write(out, 0b0001_0000, 4, index);
            false
        } else if self.is_kept(index, hash, mark, name.len() + value.len()) {
            integer::write(out, 0b0100_0000, 6, index);
            true
        } else {
            integer::write(out, 0, 4, index);
            false
        };
        if index == 0 {
            string(out, name);
        }
        string(out, value);
        if keep {
            self.keep(name, value, hash, mark);
        }
    }

    /// Whether a line that is not in the table goes there: it must be worth it and not push out most of the rest.
    #[inline]
    fn is_kept(&mut self, index: usize, hash: usize, mark: u32, bytes: usize) -> bool {
        if bytes > self.table.max() / 4 || bytes + ENTRY_BYTES > self.table.max() {
            return false;
        }
        let memory = self.memory.get_or_insert_with(|| {
            // ALLOC: once per connection, with its first block.
            Box::new(Memory { kept: [[0; WAYS]; SETS], numbers: [[0; WAYS]; SETS], seen: [[0; WAYS]; SETS] })
        });
        let seen = &mut memory.seen[hash % SETS];
        if seen.contains(&mark) || REPEATED & 1 << index != 0 {
            return true;
        }
        seen.rotate_right(1);
        seen[0] = mark;
        false
    }

    fn keep(&mut self, name: &[u8], value: &[u8], hash: usize, mark: u32) {
        let line = Line {
            name: name.len() as u32,
            value: value.len() as u32,
            kind: Kind::Field,
            known: Known::Other,
            valid: true,
        };
        let Some(number) = self.table.insert(line, [name, b": ", value, b"\r\n"]) else { return };
        let Some(memory) = &mut self.memory else { return };
        // Instead of the one before, one that is gone, or the oldest.
        let (marks, numbers) = (&mut memory.kept[hash % SETS], &mut memory.numbers[hash % SETS]);
        let age = |way: &usize| (marks[*way] == mark, number.wrapping_sub(numbers[*way]));
        let way = (0..WAYS).max_by_key(age).unwrap_or(0);
        marks[way] = mark;
        numbers[way] = number;
    }
}

/// Appends a string as it is.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    integer::write(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// A field's set and mark, from the lengths, the name's end, and the value's beginning, middle and end: what differs
/// elsewhere meets the same mark, is told apart by comparing, and at worst is sent as it is.
#[inline]
fn hash(name: &[u8], value: &[u8]) -> (usize, u32) {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(ODD);
    let mut hash = mix((name.len() as u64) << 32 | value.len() as u64, ends(name).1);
    let (first, last) = ends(value);
    if value.len() > 16 {
        let middle = value.get(value.len() / 2 - 4..).and_then(<[u8]>::first_chunk);
        hash = mix(hash, u64::from_le_bytes(*middle.unwrap_or(&[0; 8])));
    }
    hash = mix(mix(hash, first), last);
    // The upper half is mixed best; zero is no mark.
    ((hash >> 58) as usize, (hash >> 24) as u32 | 1)
}

/// The first and the last eight bytes, all bytes of what is shorter.
#[inline]
fn ends(text: &[u8]) -> (u64, u64) {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (0, text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))),
    }
}

#[cfg(test)]
mod tests;
