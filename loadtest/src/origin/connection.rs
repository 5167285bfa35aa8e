//! The beginning of every connection: what lies around the protocol, and which protocol it is.
//!
//! ```text
//! accepted ─▶ PROXY header? ─▶ TLS? ─┬─ TCP echo
//!                                    ├─ ALPN h2, or the preface of HTTP/2 ─▶ HTTP/2, gRPC
//!                                    └─ anything else ─▶ HTTP/1, WebSocket
//! ```
//!
//! Invariant: a peer that does not get through the beginning within [`BEGINNING`] is let go; after that
//! it may take its time.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::proxy::{self, ProxyHeader};
use super::state::Thread;
use super::tls::TlsFacts;
use super::wire::{Stream, Wire};
use super::{echo, http1, http2};
use crate::http2::frame::PREFACE;

/// How long a PROXY header and a TLS handshake may take.
const BEGINNING: Duration = Duration::from_secs(10);

/// What a listener's connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// HTTP of all versions, gRPC and WebSocket.
    Http,
    /// Every byte comes back.
    Echo,
}

/// What is known of a connection before its first request.
pub(super) struct Facts {
    /// Which connection to this origin it is, from 1.
    pub(super) number: u64,
    /// Where it comes from, as text.
    pub(super) source: Option<String>,
    pub(super) proxy: Option<ProxyHeader>,
    pub(super) tls: Option<TlsFacts>,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: Stream>(
    stream: S,
    peer: Option<SocketAddr>,
    service: Service,
    thread: Rc<Thread>,
) {
    let mut wire = Wire::new(stream);
    let mut input = Vec::new();
    let began = begin(&mut wire, peer, &thread, &mut input);
    // A peer that goes away, or never begins, is the peer's business: there is nobody to tell.
    let facts = match monoio::time::timeout(BEGINNING, began).await {
        Ok(Ok(facts)) => facts,
        Ok(Err(_)) => {
            // An alert may be on its way to a client that has already sent its request.
            let _ = wire.linger().await;
            return;
        }
        Err(_) => return,
    };
    let _ = match service {
        Service::Echo => echo::serve(wire, input).await,
        Service::Http => match speaks_http2(&mut wire, &mut input, &facts).await {
            Ok(true) => http2::serve(wire, input, facts, thread).await,
            Ok(false) => http1::serve(wire, input, facts, thread).await,
            Err(error) => Err(error),
        },
    };
}

/// Whether the protocol is HTTP/2: as TLS agreed on, else by the preface (RFC 9113, section 3.4), of
/// which `input` gets what came.
async fn speaks_http2<S: Stream>(wire: &mut Wire<S>, input: &mut Vec<u8>, facts: &Facts) -> io::Result<bool> {
    match facts.tls.as_ref().and_then(|tls| tls.alpn.as_deref()) {
        Some("h2") => return Ok(true),
        Some(_) => return Ok(false),
        None => {}
    }
    loop {
        let common = input.len().min(PREFACE.len());
        if input[..common] != PREFACE[..common] {
            return Ok(false);
        }
        if common == PREFACE.len() {
            return Ok(true);
        }
        if !wire.read(input).await? {
            // An end before any request, or amid something that is none.
            return Ok(false);
        }
    }
}

/// Takes the PROXY header and the TLS handshake. `input` gets what came behind them.
async fn begin<S: Stream>(
    wire: &mut Wire<S>,
    peer: Option<SocketAddr>,
    thread: &Rc<Thread>,
    input: &mut Vec<u8>,
) -> io::Result<Facts> {
    let mut facts = Facts { number: thread.shared.next_connection(), source: None, proxy: None, tls: None };
    if thread.shared.proxy_protocol {
        facts.proxy = Some(read_proxy_header(wire, input).await?);
    }
    let source = facts.proxy.as_ref().and_then(|header| header.source).or(peer);
    facts.source = source.map(|address| address.to_string());
    if let Some(config) = &thread.shared.tls {
        let early = std::mem::take(input);
        facts.tls = Some(wire.start_tls(config, early, input).await?);
    }
    Ok(facts)
}

async fn read_proxy_header<S: Stream>(wire: &mut Wire<S>, input: &mut Vec<u8>) -> io::Result<ProxyHeader> {
    loop {
        match proxy::read(input) {
            Ok(Some((length, header))) => {
                input.drain(..length);
                return Ok(header);
            }
            Ok(None) => {}
            Err(malformed) => return Err(io::Error::new(io::ErrorKind::InvalidData, malformed.0)),
        }
        if !wire.read(input).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
