//! One upstream connection: its socket, the receive in flight, and the credit it holds.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use pinion_core::telemetry::ClusterStats;

use super::cluster::{ClusterState, EndpointState};
use crate::net::buffers::Size;
use crate::net::recv::Receiver;
use crate::net::socket::Socket;
use crate::shard::Shard;
use crate::shard::link::SharedCount;
use crate::sys::buffer::Buffer;

/// A connection to an endpoint. Dropping it closes it and gives its credit back.
pub(crate) struct Upstream {
    pub(crate) socket: Socket,
    pub(crate) receiver: Receiver,
    pub(crate) endpoint: Rc<EndpointState>,
    /// Requests sent on it before the one in progress.
    pub(crate) served: u64,
    /// Part of a request was not sent.
    pub(crate) broken: bool,
    /// It tells of one client, and serves nobody else.
    pub(crate) single: bool,
    /// The host that its endpoint has proved to be, where requests say which it must; else empty.
    pub(crate) host: Box<str>,
    credit: Credit,
}

/// One connection credit of a cluster, given back on drop. Does not hold the cluster's state, so that idle
/// connections keep no old configuration alive.
pub(crate) struct Credit {
    connections: Arc<SharedCount>,
    stats: Arc<ClusterStats>,
}

impl Credit {
    /// Takes a credit, unless the cluster has its connections already.
    pub(crate) fn take(cluster: &ClusterState) -> Option<Self> {
        let taken = cluster.connections.try_take(cluster.cluster.limits.connections);
        taken.then(|| Credit { connections: cluster.connections.clone(), stats: cluster.stats.clone() })
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.connections.give();
    }
}

impl Upstream {
    /// A connection that was just made. Boxed, because it goes from hand to hand in every request.
    // ALLOC: once a connection.
    pub(crate) fn new(socket: Socket, endpoint: Rc<EndpointState>, credit: Credit, host: &str) -> Box<Self> {
        credit.stats.connections_active.inc();
        endpoint.stats.connections_active.inc();
        let receiver = Receiver::new(socket.clone());
        let host = host.into();
        Box::new(Upstream {
            socket,
            receiver,
            endpoint,
            served: 0,
            broken: false,
            single: false,
            host,
            credit,
        })
    }

    /// Whether something arrived while nobody waited: the end of the stream, or bytes nobody asked for.
    pub(crate) fn surprised(&mut self) -> bool {
        self.receiver.started() && self.receiver.poll_now().is_some()
    }

    /// Waits for the bytes of the receive in flight: the buffer and how many came, 0 at the end.
    pub(crate) async fn recv(&mut self) -> (io::Result<usize>, Buffer) {
        self.receiver.next().await
    }

    /// Starts a receive; `false` when the shard is out of buffers.
    pub(crate) fn arm(&mut self, shard: &Shard, size: Size) -> bool {
        match shard.buffers.take(size) {
            Some(buffer) => {
                self.receiver.start(buffer);
                true
            }
            None => false,
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.credit.stats.connections_active.dec();
        self.endpoint.stats.connections_active.dec();
    }
}
