//! Handshakes: with clients of listeners that speak TLS, and with endpoints of clusters that do.
//!
//! ```text
//!   receive ──a whole record──> step's turn ──> shown to the library ──> what it wants sent is sent
//!      ^                                                                     │ in progress
//!      └─────────────────────────────────────────────────────────────────────┤
//!                                                       session <──finished──┘
//! ```
//!
//! The library sees one more record at a time, so that the handshake ends at a record's boundary, and what
//! follows it is left for the session.
//!
//! Invariants:
//! - a failed handshake has sent the alert that fits before its failure is returned;
//! - handshakes in progress are counted by their listener, steps by their shard.
//!
//! Not here: who is trusted and which certificate is shown (the configurations that are passed in).

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use pinion_core::telemetry::tls::{TlsPlace, TlsSide};
use pinion_core::tls::ktls::Ktls;
use pinion_core::tls::reason::TlsReason;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};

use super::engine::{self, Records, record_bytes};
use super::facts::{Alpn, TlsFacts};
use super::failure::TlsFailure;
use super::session::{Engine, Session};
use crate::net::buffers::Size;
use crate::net::clock;
use crate::net::send::{finish_sending, send_all};
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::link::SharedCount;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;

/// What a listener demands of handshakes, beside what the library's configuration says.
pub(crate) struct Terms<'a> {
    /// How long one may take.
    pub(crate) timeout: Duration,
    /// Those in progress on the listener, all shards.
    pub(crate) handshakes: &'a Arc<SharedCount>,
    /// How many may be.
    pub(crate) handshakes_max: u64,
    /// When records are handed to the kernel.
    pub(crate) ktls: Ktls,
}
