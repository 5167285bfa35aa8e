//! Heads and trailers: from header blocks to the form that HTTP/1 heads have, and back.
//!
//! ```text
//!   :method GET                        GET /p?q HTTP/1.1
//!   :path /p?q           decode ─▶     host: a
//!   :authority a         ◀─ encode     accept: */*
//!   accept */*
//! ```
//!
//! Invariants: the text of a decoded head is what `h1::parse` would make the same head of; only what HTTP/2 says
//! elsewhere is missing there (where the body ends).
//!
//! Not here: compression (`hpack`), frames, what becomes of a stream whose head is refused.

pub mod decode;
pub mod encode;
mod error;
mod reader;

pub use super::super::h1::parse::HeadLimits;
pub use decode::{decode_request, decode_response, decode_trailers};
pub use encode::{
    encode_connected, encode_interim, encode_own, encode_request, encode_response, encode_trailers,
};
pub use error::BlockError;
