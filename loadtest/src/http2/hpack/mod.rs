//! HPACK (RFC 7541): header blocks in both directions.
//!
//! ```text
//! block ─▶ Decoder (static and dynamic table, Huffman) ─▶ name and value, one by one, without copies
//! fields ─▶ encode (static table, literals) ─▶ block that is valid on any connection, any number of times
//! ```
//!
//! Invariants: the encoder never refers to the dynamic table, so a block made once serves every request;
//! the decoder's table never exceeds [`TABLE_BYTES`].
//!
//! Not here: what the fields mean (`fields.rs`, the heads of client and server).

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::{Bad, Decoder};
pub(crate) use encoder::{TABLE_OFF, encode_field, encode_status};

/// The size of the dynamic table that a decoder allows its peer, in bytes: what holds unless SETTINGS
/// say otherwise (RFC 9113, section 6.5.2), and these don't.
pub(crate) const TABLE_BYTES: usize = 4_096;
