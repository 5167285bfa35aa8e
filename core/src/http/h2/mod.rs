//! HTTP/2 (RFC 9113): frames, header compression, and heads in the form that HTTP/1 heads have.
//!
//! ```text
//!   HEADERS block ─▶ hpack ─▶ head::decode ─▶ `GET /p HTTP/1.1\r\nhost: a\r\n…` + RequestHead ─▶ (rules, edits)
//!   HEADERS block ◀─ hpack ◀─ head::encode ◀───────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: a decoded head is as trustworthy as one that `h1::parse` took, so that everything behind it is the
//! same for both versions.
//!
//! Not here: sockets, buffers, deadlines.

pub mod frame;
pub mod head;
pub mod hpack;
