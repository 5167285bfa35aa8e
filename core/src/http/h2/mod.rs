//! HTTP/2 (RFC 9113): connections and their streams, header compression, and heads in the form that HTTP/1 heads have.
//!
//! ```text
//!   bytes ─▶ connection ─▶ events: Head, Data, Trailers, Reset, …          one machine for both roles, without I/O
//!   bytes ◀─ connection ◀─ open, send_head, send_data, send_trailers, …
//!
//!   HEADERS block ─▶ hpack ─▶ head::decode ─▶ `GET /p HTTP/1.1\r\nhost: a\r\n…` + RequestHead ─▶ (rules, edits)
//!   HEADERS block ◀─ hpack ◀─ head::encode ◀───────────────────────────────────────────────────┘
//! ```
//!
//! Invariants: a decoded head is as trustworthy as one that `h1::parse` took, so that everything behind it is the
//! same for both versions.
//!
//! Not here: sockets, buffers, deadlines.

mod budget;
pub mod connection;
mod error;
mod flow;
pub mod frame;
pub mod head;
pub mod hpack;
mod settings;

pub use budget::{Budget, Rate};
pub use connection::{Connection, Event, Key, Limits, Scratch, Sent};
pub use error::{ConnectionError, Flood};
pub use settings::PeerSettings;
