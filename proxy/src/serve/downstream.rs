//! What is known of a downstream connection: its socket, its listener, who is at the other end.

use std::net::SocketAddr;
use std::sync::Arc;

use pinion_core::config::Listener;
use pinion_core::config::snapshot::{ListenerTls, TlsMode};
use pinion_core::id::{ListenerId, ListenerIndex};
use pinion_core::telemetry::ListenerStats;
use pinion_core::time::Instant;

use super::listen::Permit;
use super::proxy_protocol::ProxyFacts;
use crate::net::clock;
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::tables::Tables;
use crate::sys::buffer::Buffer;
use crate::tls::facts::TlsFacts;

/// A client's address as text, without allocating.
#[derive(Clone, Copy)]
pub(crate) struct PeerText {
    bytes: [u8; 64],
    ip: u8,
    len: u8,
}

/// A downstream connection.
pub(crate) struct Downstream {
    pub(crate) socket: Socket,
    pub(crate) lease: Lease,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) text: PeerText,
    /// Requests begun on this connection.
    pub(crate) requests: u64,
    pub(crate) accepted: Instant,
    pub(crate) view: View,
    /// How many requests in a row have followed each other quickly; at most `WARM_AFTER`.
    pub(crate) quick: u8,
    /// Bytes received and not served, of a connection that came from another shard.
    pub(crate) inbuf: Option<Buffer>,
    /// What came before its protocol is done with: it came from another shard, or has passed `open`.
    pub(crate) opened: bool,
    /// What its handshake came to, if it speaks TLS.
    pub(crate) tls: Option<Arc<TlsFacts>>,
    /// What its PROXY header said, if it had one.
    pub(crate) proxy: Option<Arc<ProxyFacts>>,
    /// `None` where another value holds the connection's place in the counts.
    _permit: Option<Permit>,
}

/// The connection's listener as the generation it last served sees it. Holds nothing else of that
/// generation, so that idle connections keep no old tables alive.
pub(crate) struct View {
    generation: u64,
    pub(crate) index: ListenerIndex,
    pub(crate) listener: Arc<Listener>,
    pub(crate) stats: Arc<ListenerStats>,
    /// Whether forwarded headers of this client are believed.
    pub(crate) trusted: bool,
}

impl PeerText {
    fn of(peer: Option<SocketAddr>) -> Self {
        use std::io::Write;
        let mut text = PeerText { bytes: [0; 64], ip: 0, len: 0 };
        let mut room = &mut text.bytes[..];
        // ALLOC: none: formatted once a connection, into the fixed array; 64 bytes hold every address.
        let (ip, len) = match peer {
            Some(peer) => {
                let ip = write!(room, "{}", peer.ip().to_canonical()).map(|()| 64 - room.len());
                let len = write!(room, ":{}", peer.port()).map(|()| 64 - room.len());
                (ip.unwrap_or(0), len.unwrap_or(0))
            }
            None => (0, write!(room, "unix").map(|()| 64 - room.len()).unwrap_or(0)),
        };
        text.ip = ip as u8;
        text.len = len as u8;
        text
    }

    /// The address alone; empty for Unix sockets.
    pub(crate) fn ip(&self) -> &[u8] {
        &self.bytes[..usize::from(self.ip)]
    }

    /// Address and port; `unix` for Unix sockets.
    pub(crate) fn full(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Downstream {
    pub(crate) fn new(
        shard: &Shard,
        view: View,
        socket: Socket,
        permit: Permit,
        peer: Option<SocketAddr>,
    ) -> Box<Self> {
        Box::new(Downstream {
            socket,
            lease: shard.slots.lease(),
            peer,
            text: PeerText::of(peer),
            requests: 0,
            accepted: clock::now(),
            view,
            quick: 0,
            inbuf: None,
            opened: false,
            tls: None,
            proxy: None,
            _permit: Some(permit),
        })
    }

    /// The same connection as later tables see it, which must not outlive this one.
    pub(crate) fn renewed(&self, shard: &Shard, view: View) -> Self {
        Downstream {
            socket: self.socket.clone(),
            lease: shard.slots.lease(),
            peer: self.peer,
            text: self.text,
            requests: self.requests,
            accepted: self.accepted,
            view,
            quick: 0,
            inbuf: None,
            opened: true,
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            _permit: None,
        }
    }

    /// Takes in what its PROXY header said, and who its client is, if that was said.
    pub(crate) fn told(&mut self, source: Option<SocketAddr>, facts: ProxyFacts) {
        if let Some(source) = source {
            self.peer = Some(source);
            self.text = PeerText::of(self.peer);
            self.view.trusted = self.view.listener.trusts(source.ip());
        }
        // ALLOC: once a connection.
        self.proxy = Some(Arc::new(facts));
    }

    /// The address that the client connected to, as far as this machine knows; `None` for Unix sockets.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(&self.socket).ok()?;
        SocketAddr::try_from(address).ok()
    }

    /// Whether the connection should end with the request in progress: the proxy drains, or the listener
    /// has left the configuration since the request began with `tables`.
    pub(crate) fn is_ending(&self, shard: &Shard, generation: u64) -> bool {
        shard.draining().is_some()
            || (shard.stats.generation.get() != generation && !shard.has_listener(self.view.listener.id))
    }

    /// Whether it is plain text on a listener that takes TLS alone by now: it began before a reload.
    pub(crate) fn outlived_plain_text(&self) -> bool {
        let strict = |tls: &ListenerTls| tls.mode == TlsMode::Strict;
        self.tls.is_none() && self.view.listener.tls.as_ref().is_some_and(strict)
    }

    /// Brings the view up to the tables; `false` when the listener has left the configuration.
    pub(crate) fn refresh(&mut self, tables: &Tables) -> bool {
        self.view.generation == tables.shared.snapshot.generation
            || match View::find(tables, self.view.listener.id, self.peer) {
                Some(view) => {
                    self.view = view;
                    true
                }
                None => false,
            }
    }
}

impl View {
    /// The generation of the tables it was found in.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The listener `id` in `tables`, for a connection from `peer`.
    pub(crate) fn find(tables: &Tables, id: ListenerId, peer: Option<SocketAddr>) -> Option<Self> {
        let snapshot = &tables.shared.snapshot;
        let place = snapshot.listeners.iter().position(|listener| listener.id == id)?;
        let listener = snapshot.listeners[place].clone();
        let trusted = peer.is_some_and(|peer| listener.trusts(peer.ip()));
        let stats = tables.shared.listeners[place].clone();
        let index = ListenerIndex(place as u32);
        Some(View { generation: snapshot.generation, index, listener, stats, trusted })
    }
}
