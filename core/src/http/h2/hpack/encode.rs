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
//! HOT: no allocation once the table has grown; a line that is kept costs a hash, a look and a comparison.
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

/// Places of lines by hash, two ways: 4,096 bytes of table have at most 120 of them.
const PLACES: usize = 256;
/// Lines remembered as seen once.
const SEEN: usize = 256;
/// A credential shorter than this could be guessed by trying what compresses well.
const CREDENTIAL_BYTES_MIN: usize = 20;

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
    /// Numbers of entries.
    places: [u32; PLACES],
    /// Marks of lines that were sent once.
    seen: [u16; SEEN],
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
    /// A line in the making.
    scratch: Vec<u8>,
    /// Lines in the making, one behind the other.
    pub(in crate::http::h2) aside: Vec<u8>,
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
            aside: Vec::new(),
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
        self.table.memory() + memory + self.scratch.capacity() + self.aside.capacity()
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

    /// Appends `text`, a line `name: value CR LF` with a lower-case name of `name` bytes.
    #[inline]
    pub(crate) fn line(&mut self, out: &mut Vec<u8>, text: &[u8], name: usize, indexing: Indexing) {
        debug_assert!(
            text.get(name..).is_some_and(|rest| rest.starts_with(b": ") && rest.ends_with(b"\r\n"))
        );
        let (hash, mark) = hash(text);
        if let Some(memory) = self.memory.as_ref().filter(|_| indexing == Indexing::Usual) {
            for place in [hash, hash ^ 1] {
                if let Some(place) = self.table.place_of(memory.places[place & (PLACES - 1)], mark, text) {
                    integer::write(out, 0b1000_0000, 7, fixed::COUNT + 1 + place);
                    return;
                }
            }
        }
        self.literal(out, text, name, indexing, hash, mark);
    }

    /// Appends a line of these parts; capitals in the name become small.
    #[inline]
    pub(crate) fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], indexing: Indexing) {
        let mut line = std::mem::take(&mut self.scratch);
        line.clear();
        line.extend_from_slice(name);
        line.make_ascii_lowercase();
        line.extend_from_slice(b": ");
        line.extend_from_slice(value);
        line.extend_from_slice(b"\r\n");
        self.line(out, &line, name.len(), indexing);
        self.scratch = line;
    }

    /// Appends `:path` with a query.
    #[inline]
    pub(crate) fn path(&mut self, out: &mut Vec<u8>, path: &[u8], query: &[u8]) {
        let mut line = std::mem::take(&mut self.scratch);
        line.clear();
        for part in [b":path: ", path, b"?", query, b"\r\n"] {
            line.extend_from_slice(part);
        }
        self.line(out, &line, b":path".len(), Indexing::Usual);
        self.scratch = line;
    }

    fn literal(
        &mut self,
        out: &mut Vec<u8>,
        text: &[u8],
        name: usize,
        indexing: Indexing,
        hash: usize,
        mark: u32,
    ) {
        let value = text.get(name + 2..text.len().saturating_sub(2)).unwrap_or(&[]);
        let name = text.get(..name).unwrap_or(&[]);
        let index = fixed::index_of(name);
        out.reserve(text.len() + 16);
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
            let line = Line {
                name: name.len() as u32,
                value: value.len() as u32,
                kind: Kind::Field,
                known: Known::Other,
                valid: true,
            };
            self.keep(line, hash, mark, text);
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
            Box::new(Memory { places: [0; PLACES], seen: [0; SEEN] })
        });
        let seen = &mut memory.seen[hash & (SEEN - 1)];
        let mark = mark as u16 | 1;
        let again = *seen == mark;
        *seen = mark;
        again || REPEATED & 1 << index != 0
    }

    fn keep(&mut self, line: Line, hash: usize, mark: u32, text: &[u8]) {
        let Some(number) = self.table.insert(line, mark, text) else { return };
        let Some(memory) = &mut self.memory else { return };
        let [first, second] = [hash & (PLACES - 1), (hash ^ 1) & (PLACES - 1)];
        // The place whose entry is older, or gone.
        let age = |place: usize| number.wrapping_sub(memory.places[place]);
        let place = if age(second) > age(first) { second } else { first };
        memory.places[place] = number;
    }
}

/// Appends a string as it is.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    integer::write(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// A line's place and mark. Whoever makes lines collide makes them be sent as they are, no more.
#[inline]
fn hash(text: &[u8]) -> (usize, u32) {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = text.len() as u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    let mut rest = text;
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        add(u64::from_le_bytes(*word));
        rest = more;
    }
    // The last eight bytes, some of them for the second time.
    if let Some(word) = text.last_chunk::<8>() {
        add(u64::from_le_bytes(*word));
    } else {
        rest.iter().for_each(|&byte| add(u64::from(byte)));
    }
    let hash = hash.wrapping_mul(ODD);
    ((hash >> 56) as usize, (hash >> 20) as u32)
}

#[cfg(test)]
mod tests;
