//! A connection at rest, in the only form in which it crosses shards (and later processes).
//!
//! Invariants: nothing is in flight on the descriptor; `unread` holds every byte received and not served.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pinion_core::id::ListenerId;
use pinion_core::time::Instant;

use crate::h2::moving::Resting;
use crate::serve::proxy_protocol::ProxyFacts;
use crate::tls::session::ParkedTls;

/// The version of this form, for a receiver of another build.
pub(crate) const PARKED_VERSION: u16 = 1;

/// The protocol a parked connection speaks.
#[derive(Debug)]
pub(crate) enum ParkedProtocol {
    /// HTTP/1 between two requests, or nothing yet.
    Http1,
    /// HTTP/2 from its beginning.
    Http2Fresh,
    /// HTTP/2 with no request in progress.
    Http2(Box<Resting>),
}

/// A parked downstream connection.
#[derive(Debug)]
pub(crate) struct Parked {
    /// [`PARKED_VERSION`] of the sender.
    pub(crate) version: u16,
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// What it speaks.
    pub(crate) protocol: ParkedProtocol,
    /// The listener that accepted it, by id: its index may differ where it arrives.
    pub(crate) listener: ListenerId,
    /// Who is at the other end; `None` for Unix sockets.
    pub(crate) peer: Option<SocketAddr>,
    /// Bytes received and not yet served.
    pub(crate) unread: Vec<u8>,
    /// Requests served so far.
    pub(crate) requests: u64,
    /// When it was accepted.
    pub(crate) accepted: Instant,
    /// What came before its protocol is done with.
    pub(crate) opened: bool,
    /// What its PROXY header said.
    pub(crate) proxy: Option<Arc<ProxyFacts>>,
    /// Its TLS.
    pub(crate) tls: Option<Box<ParkedTls>>,
}

impl Parked {
    /// A connection that was just accepted.
    pub(crate) fn fresh(fd: OwnedFd, listener: ListenerId, now: Instant) -> Self {
        Parked {
            version: PARKED_VERSION,
            fd,
            protocol: ParkedProtocol::Http1,
            listener,
            peer: None,
            unread: Vec::new(),
            requests: 0,
            accepted: now,
            opened: false,
            proxy: None,
            tls: None,
        }
    }
}
