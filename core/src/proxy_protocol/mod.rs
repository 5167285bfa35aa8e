//! The PROXY protocol, versions 1 and 2: who really connected, told by a proxy before anything else.
//!
//! ```text
//!   1   PROXY TCP4 192.0.2.1 198.51.100.2 4711 443 CRLF                      at most 107 bytes
//!   2   signature (12) | version, command | family | length (2) | addresses | values (TLVs) ...
//! ```
//!
//! Invariants:
//! - strict: what is not exactly the protocol is an error with a reason, never a guess;
//! - incremental and bounded: [`read`] asks for more until the header is whole or beyond its limit;
//! - a header is taken or refused as a whole, checksum and every value included.
//!
//! Not here: who may send a header (configuration), waiting for bytes.

use std::net::SocketAddr;

pub use encode::{encode_v1, encode_v2};
pub use read::{HeaderError, Progress, read};
pub use values::{Ssl, Values};

mod checksum;
mod encode;
mod read;
mod values;

/// What every header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 begins with.
const PREFIX: [u8; 6] = *b"PROXY ";
/// Bytes of a version 2 header before its addresses.
const FIXED_BYTES: usize = 16;
/// Bytes of a Unix socket's path in a header of version 2.
const UNIX_PATH_BYTES: usize = 108;

/// Which form a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary, with values.
    V2,
}

impl Version {
    /// The word of the configuration and of logs.
    pub const fn label(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// The sender's own, such as a health check: its real addresses count.
    Local,
    /// Somebody's whom the sender can't or won't name: the real addresses count.
    Unknown,
    /// That of a client over IP.
    Inet {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// That of a client over a Unix socket: the real addresses count.
    Unix,
}

/// A header that was read, borrowing from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its form.
    pub version: Version,
    /// Whose connection it is.
    pub peers: Peers,
    /// What else it says; nothing in version 1 and with [`Peers::Local`].
    pub values: Values<'a>,
}

#[cfg(test)]
mod tests;
