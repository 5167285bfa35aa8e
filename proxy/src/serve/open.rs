//! What a connection begins with, before its protocol: a PROXY header and TLS, where its listener has them.
//!
//! ```text
//!   accepted ──> PROXY header ──> TLS ──> tcp, tls-passthrough: tcp
//!                                     ├─> ALPN h2: http2
//!                                     └─> else: connection, which knows HTTP/2 by its preface
//! ```
//!
//! Invariants: bytes received and not used are in the connection's buffer, for whoever comes next; a connection that
//! was opened on another shard is not opened again.

use std::rc::Rc;
use std::sync::Arc;

use pinion_core::fault::Fault;
use pinion_core::telemetry::Phase;

use super::connection;
use super::downstream::Downstream;
use super::record::{Story, Whole, record_connection};
use super::{http2, proxy_protocol, sniff, tcp};
use crate::net;
use crate::net::clock;
use crate::shard::Shard;
use crate::tls::facts::Alpn;
use crate::tls::handshake;
use crate::tls::server::ServerTls;

/// What TLS records of a handshake begin with (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Starts a connection's task.
pub(crate) fn start(shard: &Rc<Shard>, connection: Box<Downstream>) {
    let listener = &connection.view.listener;
    let begins = !connection.opened && (listener.proxy_protocol.is_some() || listener.tls.is_some());
    if !begins && !listener.protocol.is_stream() {
        net::spawn(connection::run(shard.clone(), connection));
        return;
    }
    net::spawn(open(shard.clone(), connection));
}

async fn open(shard: Rc<Shard>, mut connection: Box<Downstream>) {
    if !connection.opened {
        // ALLOC: once a connection, so that its task is no larger for it.
        if let Err(ended) = Box::pin(begin(&shard, &mut connection)).await {
            if let Some(fault) = ended {
                refused(&shard, &connection, fault);
            }
            return;
        }
        connection.opened = true;
    }
    let agreed = connection.tls.as_ref().and_then(|tls| tls.alpn);
    if connection.view.listener.protocol.is_stream() {
        Box::pin(tcp::serve(&shard, connection)).await;
    } else if agreed == Some(Alpn::Http2) {
        Box::pin(http2::connection(&shard, connection)).await;
    } else {
        Box::pin(connection::run(shard, connection)).await;
    }
}

/// What comes before the protocol.
async fn begin(shard: &Rc<Shard>, connection: &mut Downstream) -> Result<(), Option<Fault>> {
    if connection.view.listener.proxy_protocol.is_some() {
        proxy_protocol::read(shard, connection).await?;
    }
    let tables = shard.tables();
    // Listeners may have other places than when the connection was accepted.
    if !connection.refresh(&tables) {
        return Err(Some(Fault::Drained));
    }
    let tls = tables.shared.tls_listeners.get(connection.view.index.index()).cloned().flatten();
    drop(tables);
    match (tls, &connection.view.listener.tls) {
        (Some(tls), Some(_)) => secure(shard, connection, &tls).await,
        (None, None) => Ok(()),
        // Both come from one configuration. Whatever it is, it is not plain text.
        (Some(_), None) | (None, Some(_)) => Err(Some(Fault::TlsHandshake)),
    }
}

/// Becomes the client's TLS server, unless it speaks plain text and may.
async fn secure(
    shard: &Rc<Shard>,
    connection: &mut Downstream,
    tls: &Arc<ServerTls>,
) -> Result<(), Option<Fault>> {
    if tls.is_permissive() {
        let deadline = clock::now().after(connection.view.listener.timeouts.header);
        let judge = |bytes: &[u8]| Ok(bytes.first().map(|&first| first == HANDSHAKE_RECORD));
        if !sniff::sniff(shard, connection, deadline, Fault::HeaderTimeout, judge).await? {
            connection.view.stats.secured[0].inc();
            return Ok(());
        }
    }
    let context = tls.current();
    let early = connection.inbuf.take();
    let terms = tls.terms();
    let made = handshake::accept(
        &shard.tls,
        &connection.socket,
        early,
        &connection.lease,
        context.config.clone(),
        &terms,
        |shown| context.admit(shown),
    );
    let facts = made.await.map_err(|_| Some(Fault::TlsHandshake))?;
    connection.view.stats.secured[if facts.peer.is_some() { 2 } else { 1 }].inc();
    connection.tls = Some(facts);
    Ok(())
}

/// Counts and logs a connection that was closed before its protocol began.
fn refused(shard: &Shard, connection: &Downstream, fault: Fault) {
    let mut story = Story::begin(connection.accepted);
    story.fault = Some(fault);
    story.ledger.stamp(Phase::Codec, clock::now());
    record_connection(shard, &story, &Whole::of(connection));
}
