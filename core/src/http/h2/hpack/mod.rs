//! Header compression (RFC 7541).
//!
//! ```text
//!   block ─▶ Decoder ─▶ `name: value\r\n` …     (head::decode makes a head of them)
//!   block ◀─ Encoder ◀─ `name: value\r\n` …     (head::encode says which)
//! ```
//!
//! Both directions keep their dynamic table as lines of text, with what a line is to a head worked out when it
//! entered: an index costs one copy, and nothing about it is checked again.
//!
//! Invariants:
//! - whatever a peer sends, memory stays within twice the table's size, which both sides agreed upon, 20 bytes an
//!   entry, and 3 KiB of the encoder's: with 4 KiB of table at most 12 KiB to decode and 14 KiB to encode, and
//!   nothing for a connection without requests (tests state both);
//! - decoder and peer's encoder stay in step whatever becomes of a head.
//!
//! Not here: which lines make a head (`super::head`), frames.

mod decode;
mod encode;
mod fixed;
mod huffman;
mod integer;
mod kind;
mod table;

pub use decode::Decoder;
pub(crate) use decode::{Block, Broken, Got};
pub use encode::Encoder;
pub(crate) use encode::Indexing;
#[cfg(test)]
pub(crate) use encode::string as write_string;
pub(crate) use kind::{Kind, reason};
pub(crate) use table::Line;
pub use table::TABLE_BYTES_MAX;
