//! What a connection begins with, before its protocol: a PROXY header, where its listener takes one.
//!
//! ```text
//!   accepted ──> PROXY header ──> tcp, tls-passthrough: tcp
//!                             └─> HTTP: connection
//! ```
//!
//! Invariants: bytes received and not used are in the connection's buffer, for whoever comes next; a connection that
//! was opened on another shard is not opened again.

use std::rc::Rc;

use pinion_core::fault::Fault;
use pinion_core::telemetry::Phase;

use super::connection;
use super::downstream::Downstream;
use super::record::{Story, Whole, record_connection};
use super::{proxy_protocol, tcp};
use crate::net;
use crate::net::clock;
use crate::shard::Shard;

/// Starts a connection's task.
pub(crate) fn start(shard: &Rc<Shard>, connection: Box<Downstream>) {
    let listener = &connection.view.listener;
    let header = listener.proxy_protocol.is_some() && !connection.opened;
    if !header && !listener.protocol.is_stream() {
        net::spawn(connection::run(shard.clone(), connection));
        return;
    }
    net::spawn(open(shard.clone(), connection));
}

async fn open(shard: Rc<Shard>, mut connection: Box<Downstream>) {
    if !connection.opened {
        // ALLOC: once a connection, so that its task is no larger for it.
        if let Err(ended) = Box::pin(proxy_protocol::read(&shard, &mut connection)).await {
            if let Some(fault) = ended {
                refused(&shard, &connection, fault);
            }
            return;
        }
        connection.opened = true;
    }
    if connection.view.listener.protocol.is_stream() {
        Box::pin(tcp::serve(&shard, connection)).await;
    } else {
        Box::pin(connection::run(shard, connection)).await;
    }
}

/// Counts and logs a connection that was closed before its protocol began.
fn refused(shard: &Shard, connection: &Downstream, fault: Fault) {
    let mut story = Story::begin(connection.accepted);
    story.fault = Some(fault);
    story.ledger.stamp(Phase::Codec, clock::now());
    record_connection(shard, &story, &Whole::of(connection));
}
