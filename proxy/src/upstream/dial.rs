//! Making a connection to an endpoint: TCP (or a Unix socket), and what is spoken on it.

use std::io;
use std::rc::Rc;

use pinion_core::config::ClusterProtocol;
use pinion_core::fault::Fault;
use pinion_core::time::Instant;

use super::client::Client;
use super::cluster::{ClusterState, EndpointState};
use super::shared::Spoken;
use crate::net::send::send_all;
use crate::net::socket::Socket;
use crate::net::{clock, connect};
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::{Lane, Why};
use crate::sys::buffer::Buffer;

/// What to connect to, and for how long.
pub(crate) struct Dial<'a> {
    pub(crate) cluster: &'a ClusterState,
    pub(crate) endpoint: &'a Rc<EndpointState>,
    /// When whoever waits for it must end.
    pub(crate) until: Instant,
    /// Whose leaving calls it off.
    pub(crate) client: Option<&'a Client<'a>>,
    /// What the connection begins with, before anything else is spoken on it.
    pub(crate) preface: &'a [u8],
}

/// A connect in progress, on the endpoint's books.
struct Connecting<'a>(&'a EndpointState, bool);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.ledger.borrow_mut().on_connect_failed();
        }
    }
}

/// Connects; the credit is taken already. The connection is on the endpoint's books as active.
pub(crate) async fn dial(shard: &Shard, lease: &Lease, to: &Dial<'_>) -> Result<(Socket, Spoken), Fault> {
    let (cluster, endpoint) = (to.cluster, to.endpoint);
    // The credit is taken already: the ledger only notes the connect.
    endpoint.ledger.borrow_mut().on_connecting();
    let mut connecting = Connecting(endpoint, false);
    cluster.stats.connects_total.inc();
    let connected = transport(shard, lease, to).await;
    let made = match connected {
        Ok(socket) => secure(to, socket).await,
        Err(fault) => Err(fault),
    };
    match made {
        Ok(made) => {
            connecting.1 = true;
            endpoint.ledger.borrow_mut().on_connected(u32::MAX);
            Ok(made)
        }
        Err(Fault::ClientGone) => Err(Fault::ClientGone),
        Err(fault) => {
            cluster.stats.connect_failures.inc();
            endpoint.stats.failures_total.inc();
            Err(fault)
        }
    }
}

/// Connects the socket.
async fn transport(shard: &Shard, lease: &Lease, to: &Dial<'_>) -> Result<Socket, Fault> {
    let begun = clock::now();
    let socket = connect::start(&to.endpoint.address).map_err(|error| local_or_remote(&error))?;
    let deadline = begun.after(to.cluster.cluster.timeouts.connect).min(to.until);
    lease.cut_both(Lane::Up, deadline, &socket);
    let finish = async {
        connect::finish(&socket, shard.driver).await?;
        if to.preface.is_empty() {
            return Ok(());
        }
        send_all(&socket, Buffer::apart(to.preface), |_| ()).await.0
    };
    let finished = match to.client {
        Some(client) => client.unless_gone(lease, &socket, begun, finish).await,
        None => Some(finish.await),
    };
    match (lease.disarm(Lane::Up), finished) {
        (Some(Why::Gone), _) | (_, None) => Err(Fault::ClientGone),
        (Some(_), _) if clock::now() >= to.until => Err(Fault::RequestTimeout),
        (Some(_), _) => {
            to.cluster.stats.connect_timeouts.inc();
            Err(Fault::ConnectTimeout)
        }
        (None, Some(Err(error))) => Err(local_or_remote(&error)),
        (None, Some(Ok(()))) => Ok(socket),
    }
}

/// Agrees on what is spoken. This is the place of the TLS handshake, whose ALPN decides where the cluster's
/// protocol is `auto`; without TLS it is what the configuration says ("prior knowledge").
async fn secure(to: &Dial<'_>, socket: Socket) -> Result<(Socket, Spoken), Fault> {
    let spoken = match to.cluster.cluster.protocol {
        ClusterProtocol::Http2 => Spoken::Http2,
        ClusterProtocol::Http1 | ClusterProtocol::Auto => Spoken::Http1,
    };
    Ok((socket, spoken))
}

fn local_or_remote(error: &io::Error) -> Fault {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::ADDRNOTAVAIL) => {
            Fault::ConnectLocal
        }
        _ => Fault::ConnectFailed,
    }
}
