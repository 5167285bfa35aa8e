//! Reads header blocks, line by line.
//!
//! ```text
//!   1iiiiiii  a line of a table            ─▶ one copy
//!   01iiiiii  name (of a table), value     ─▶ checked, written, kept
//!   001mmmmm  the table's new maximum      only before the first line
//!   000siiii  name (of a table), value     ─▶ checked, written; s: never to be compressed
//! ```
//!
//! Invariants:
//! - a line beyond the room that the caller has left is not written, but the table is what it would be;
//! - after [`Broken`] the connection is of no use: the table may be out of step.
//!
//! HOT: no allocation once the table has grown.

use super::fixed::{self, Fixed};
use super::huffman;
use super::integer;
use super::kind::Kind;
use super::table::{ENTRY_BYTES, Line, TABLE_BYTES_MAX, Table};
use crate::http::Known;
use crate::http::h2::frame::TABLE_BYTES_DEFAULT;

/// The block can't be decompressed: COMPRESSION_ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What is left of a header block.
#[derive(Clone, Debug)]
pub(crate) struct Block<'a> {
    rest: &'a [u8],
}

impl<'a> Block<'a> {
    /// Takes the next byte if it is an index of a pseudo-header in the static table.
    #[inline]
    pub(crate) fn fixed_pseudo(&mut self) -> Option<&'static Fixed> {
        let (&first, rest) = self.rest.split_first()?;
        let place = usize::from(first).wrapping_sub(0b1000_0001);
        if place >= fixed::PSEUDO {
            return None;
        }
        self.rest = rest;
        fixed::TABLE.get(place)
    }

    /// Reads a string's head (RFC 7541 section 5.2).
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, Broken> {
        let huffman = *self.rest.first().ok_or(Broken)? & 0x80 != 0;
        let length = integer::read(&mut self.rest, 7).ok_or(Broken)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Broken)?;
        self.rest = rest;
        Ok(Text { bytes, huffman })
    }
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    /// What it is.
    pub(crate) line: Line,
    /// It was appended; otherwise it was beyond the room.
    pub(crate) written: bool,
    /// It is never to be compressed (RFC 7541 section 6.2.3).
    pub(crate) sensitive: bool,
}

/// A string as sent.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl Text<'_> {
    /// The most bytes it may come to.
    #[inline]
    fn bound(self) -> usize {
        if self.huffman { huffman::bound(self.bytes.len()) } else { self.bytes.len() }
    }

    #[inline]
    fn write(self, out: &mut Vec<u8>) -> Result<(), Broken> {
        if self.huffman {
            return huffman::decode(self.bytes, out).map_err(|huffman::Broken| Broken);
        }
        out.extend_from_slice(self.bytes);
        Ok(())
    }
}

/// A line's name.
#[derive(Clone, Copy)]
enum Name<'a> {
    /// As sent.
    New(Text<'a>),
    /// Of the entry with that index.
    Indexed(usize),
}

/// The receiving side of header compression; one per connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    table: Table,
    /// The most that the peer may set the maximum to.
    limit: usize,
    /// The limit fell below the maximum: the next block has to begin with a new one (RFC 7541 section 4.2).
    update_due: bool,
    /// Lines that don't go to the caller.
    scratch: Vec<u8>,
    /// Where heads keep lines for later.
    pub(in crate::http::h2) aside: Vec<u8>,
}

impl Decoder {
    /// As every connection begins: with a table of [`TABLE_BYTES_DEFAULT`].
    pub fn new() -> Self {
        Decoder {
            table: Table::new(TABLE_BYTES_DEFAULT as usize),
            limit: TABLE_BYTES_DEFAULT as usize,
            update_due: false,
            scratch: Vec::new(),
            aside: Vec::new(),
        }
    }

    /// The peer has acknowledged SETTINGS_HEADER_TABLE_SIZE: from its next block on it keeps to this many
    /// bytes, at most [`TABLE_BYTES_MAX`].
    pub fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes.min(TABLE_BYTES_MAX);
        self.update_due |= self.limit < self.table.max();
    }

    /// Bytes of memory held, this value itself not included.
    pub fn memory(&self) -> usize {
        self.table.memory() + self.scratch.capacity() + self.aside.capacity()
    }

    /// Begins a whole block, its fragments joined: reads the table's new maximum, if there is one (RFC 7541
    /// section 4.2).
    #[inline]
    pub(crate) fn begin<'a>(&mut self, block: &'a [u8]) -> Result<Block<'a>, Broken> {
        let mut block = Block { rest: block };
        while block.rest.first().is_some_and(|first| first & 0b1110_0000 == 0b0010_0000) {
            self.update(&mut block)?;
        }
        if self.update_due { Err(Broken) } else { Ok(block) }
    }

    /// Reads the next line of `block` and appends it to `out` as `name: value CR LF`, if its size (name, value and
    /// 32 bytes) is at most `room`. `None` at the block's end.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        block: &mut Block<'_>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Result<Option<Got>, Broken> {
        let Some((&first, rest)) = block.rest.split_first() else { return Ok(None) };
        if first < 0b1000_0000 {
            return self.literal(block, first, out, room).map(Some);
        }
        let mut index = usize::from(first & 0b0111_1111);
        if index < 0b0111_1111 {
            block.rest = rest;
        } else {
            index = integer::read(&mut block.rest, 7).ok_or(Broken)?;
        }
        let (line, text) = self.entry(index)?;
        let written = line.size() <= room;
        if written {
            out.extend_from_slice(text);
        }
        Ok(Some(Got { line, written, sensitive: false }))
    }

    /// Reads the rest of `block`, for what it does to the table.
    pub(crate) fn finish(&mut self, block: &mut Block<'_>) -> Result<(), Broken> {
        let mut nothing = Vec::new();
        while self.next(block, &mut nothing, 0)?.is_some() {}
        Ok(())
    }

    /// The entry with that index; there is none at 0.
    #[inline(always)]
    fn entry(&self, index: usize) -> Result<(Line, &[u8]), Broken> {
        let place = index.wrapping_sub(1);
        match fixed::TABLE.get(place) {
            Some(entry) => Ok((entry.line, entry.text)),
            None => self.table.at(place.wrapping_sub(fixed::COUNT)).ok_or(Broken),
        }
    }

    #[inline(never)]
    fn literal(
        &mut self,
        block: &mut Block<'_>,
        first: u8,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Result<Got, Broken> {
        let keep = first & 0b0100_0000 != 0;
        if !keep && first & 0b0010_0000 != 0 {
            // A new maximum behind a line.
            return Err(Broken);
        }
        let sensitive = first & 0b1111_0000 == 0b0001_0000;
        let name = match integer::read(&mut block.rest, if keep { 6 } else { 4 }).ok_or(Broken)? {
            0 => Name::New(block.string()?),
            index => Name::Indexed(index),
        };
        let value = block.string()?;
        let name_bound = match name {
            Name::New(text) => text.bound(),
            Name::Indexed(index) => self.entry(index)?.0.name as usize,
        };
        let spills = name_bound + value.bound() + ENTRY_BYTES > room;
        if !spills {
            let line = self.write(name, value, keep, out)?;
            return Ok(Got { line, written: true, sensitive });
        }
        // It may still be short enough.
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let line = self.write(name, value, keep, &mut scratch);
        let written = line.is_ok_and(|line| line.size() <= room);
        if written {
            out.extend_from_slice(&scratch);
        }
        scratch.shrink_to(SCRATCH_BYTES_KEPT);
        self.scratch = scratch;
        line.map(|line| Got { line, written, sensitive })
    }

    /// Appends a line, finds out what it is, and keeps it in the table if `keep`.
    #[inline]
    fn write(
        &mut self,
        name: Name<'_>,
        value: Text<'_>,
        keep: bool,
        out: &mut Vec<u8>,
    ) -> Result<Line, Broken> {
        let start = out.len();
        let known: Option<(Kind, Known)> = match name {
            Name::New(text) => {
                text.write(out)?;
                None
            }
            Name::Indexed(index) => {
                let (line, text) = self.entry(index)?;
                out.extend_from_slice(text.get(..line.name as usize).unwrap_or(&[]));
                Some((line.kind, line.known))
            }
        };
        let name = out.len() - start;
        let (kind, known) = known.unwrap_or_else(|| Kind::of(&out[start..]));
        out.extend_from_slice(b": ");
        let value_at = out.len();
        value.write(out)?;
        let value = &out[value_at..];
        let line = Line {
            name: name as u32,
            value: value.len() as u32,
            kind,
            known,
            valid: kind.takes(known, value),
        };
        out.extend_from_slice(b"\r\n");
        if keep {
            self.table.insert(line, [&out[start..]]);
        }
        Ok(line)
    }

    /// Reads a new maximum (RFC 7541 section 6.3).
    #[cold]
    fn update(&mut self, block: &mut Block<'_>) -> Result<(), Broken> {
        let max = integer::read(&mut block.rest, 5).ok_or(Broken)?;
        if max > self.limit {
            return Err(Broken);
        }
        self.update_due = false;
        self.table.resize(max);
        Ok(())
    }
}

/// Bytes of scratch kept after a line that needed more.
const SCRATCH_BYTES_KEPT: usize = 4 * 1024;

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
