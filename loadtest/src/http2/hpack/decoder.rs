//! Reads header blocks (RFC 7541, sections 3.2 and 6).
//!
//! ```text
//! 1xxxxxxx  indexed                       0000xxxx  literal, not indexed
//! 01xxxxxx  literal, into the table       0001xxxx  literal, never indexed
//! 001xxxxx  size of the table: only before the first field
//! ```
//!
//! HOT: one block a message; names and values are handed on where they stand, Huffman text from one
//! buffer that is kept.
//!
//! Invariant: a list that is too long is read to its end, because the table must follow the peer's.

use std::ops::Range;

use super::table::{ENTRY_BYTES, Table};
use super::{TABLE_BYTES, huffman, integer};

/// The block can't be read, so that the tables of the two sides differ from now on: the connection is
/// lost (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) &'static str);

/// One connection's decoder.
pub(crate) struct Decoder {
    table: Table,
    /// Huffman text of the current field, decoded.
    scratch: Vec<u8>,
}

/// A literal: as it stands in the block, or decoded into the scratch buffer.
enum Text<'a> {
    Plain(&'a [u8]),
    Decoded(Range<usize>),
}

impl<'a> Text<'a> {
    fn bytes(&self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Text::Plain(bytes) => bytes,
            Text::Decoded(range) => &scratch[range.clone()],
        }
    }
}

impl Decoder {
    /// With an empty table.
    pub(crate) fn new() -> Self {
        // ALLOC: once a connection, and nothing before the first Huffman text.
        Decoder { table: Table::new(TABLE_BYTES), scratch: Vec::new() }
    }

    /// Reads a whole block. Each field goes to `field`, in order, until they count more than
    /// `list_bytes_max` (names, values and 32 bytes each; RFC 9113, section 6.5.2). Says whether all did.
    ///
    /// # Errors
    /// What RFC 7541 calls a decoding error.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<bool, Bad> {
        let mut left = Some(list_bytes_max);
        let mut counted = |name: &[u8], value: &[u8]| {
            left = left.and_then(|left| left.checked_sub(name.len() + value.len() + ENTRY_BYTES));
            if left.is_some() {
                field(name, value);
            }
        };
        let (mut rest, mut begun) = (block, false);
        while let Some((&first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                0x80.. => {
                    let index = integer::decode(first, 7, &mut rest).ok_or(Bad("bad index"))?;
                    let (name, value) = self.table.field(index).ok_or(Bad("index outside the tables"))?;
                    counted(name, value);
                }
                0x20..0x40 => {
                    let size = integer::decode(first, 5, &mut rest).ok_or(Bad("bad table size"))?;
                    if begun {
                        return Err(Bad("table size behind a field"));
                    }
                    if size > TABLE_BYTES {
                        return Err(Bad("table size above the limit"));
                    }
                    self.table.resize(size);
                    continue;
                }
                0x40..0x80 => self.literal(first, 6, &mut rest, &mut counted)?,
                0x00..0x20 => self.literal(first, 4, &mut rest, &mut counted)?,
            }
            begun = true;
        }
        Ok(left.is_some())
    }

    /// A literal field; one with a prefix of six bits goes into the table.
    fn literal(
        &mut self,
        first: u8,
        prefix_bits: u32,
        rest: &mut &[u8],
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Bad> {
        let Decoder { table, scratch } = self;
        scratch.clear();
        let index = integer::decode(first, prefix_bits, rest).ok_or(Bad("bad index"))?;
        let into_table = prefix_bits == 6;
        if index == 0 {
            let (name, value) = (text(rest, scratch)?, text(rest, scratch)?);
            let (name, value) = (name.bytes(scratch), value.bytes(scratch));
            field(name, value);
            if into_table {
                table.insert(name, value);
            }
        } else {
            let value = text(rest, scratch)?;
            let value = value.bytes(scratch);
            let (name, _) = table.field(index).ok_or(Bad("index outside the tables"))?;
            field(name, value);
            if into_table {
                table.insert_named(index, value);
            }
        }
        Ok(())
    }

    /// What the dynamic table counts, in bytes.
    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        self.table.size()
    }
}

/// The string that `rest` begins with (RFC 7541, section 5.2).
fn text<'a>(rest: &mut &'a [u8], scratch: &mut Vec<u8>) -> Result<Text<'a>, Bad> {
    let (&first, behind) = rest.split_first().ok_or(Bad("string cut off"))?;
    *rest = behind;
    let length = integer::decode(first, 7, rest).ok_or(Bad("bad string length"))?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Bad("string cut off"))?;
    *rest = behind;
    if first & 0x80 == 0 {
        return Ok(Text::Plain(bytes));
    }
    let from = scratch.len();
    huffman::decode(bytes, scratch).map_err(|()| Bad("bad Huffman text"))?;
    Ok(Text::Decoded(from..scratch.len()))
}
