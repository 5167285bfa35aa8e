//! TLS under a socket: after a handshake every operation of the [`Socket`](crate::net::socket::Socket)
//! carries plaintext.
//!
//! ```text
//!   accept / connect ──handshake──> session ──bulk or tunnel──> kernel session
//!                                      └──────────────closed────────┴──> gone
//! ```
//!
//! Invariants:
//! - one pump on the library's unbuffered connections serves the handshake, the data and the way to the kernel;
//! - a session holds a pooled buffer only while it has part of a record, or plaintext that nobody has taken.
//!
//! Not here: configuration, certificates, who is trusted.

mod engine;
pub(crate) mod facts;
pub(crate) mod failure;
pub(crate) mod handshake;
pub(crate) mod session;
pub(crate) mod steps;
