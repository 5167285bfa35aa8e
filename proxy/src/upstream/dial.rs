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
use crate::tls::facts::Alpn;
use crate::tls::handshake::{self, Shown};

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
    /// The host that the endpoint must be, where its certificate is verified by the request's.
    pub(crate) host: &'a str,
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
    let made = connected(shard, lease, to).await;
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

/// Connects the socket and agrees on what is spoken.
async fn connected(shard: &Shard, lease: &Lease, to: &Dial<'_>) -> Result<(Socket, Spoken), Fault> {
    let begun = clock::now();
    let socket = connect::start(&to.endpoint.address).map_err(|error| local_or_remote(&error))?;
    let deadline = begun.after(to.cluster.cluster.timeouts.connect).min(to.until);
    lease.cut_both(Lane::Up, deadline, &socket);
    let make = make(shard, to, &socket);
    let made = match to.client {
        Some(client) => client.unless_gone(lease, &socket, begun, make).await,
        None => Some(make.await),
    };
    match (lease.disarm(Lane::Up), made) {
        (Some(Why::Gone), _) | (_, None) => Err(Fault::ClientGone),
        (Some(_), _) if clock::now() >= to.until => Err(Fault::RequestTimeout),
        (Some(_), _) => {
            to.cluster.stats.connect_timeouts.inc();
            Err(Fault::ConnectTimeout)
        }
        (None, Some(made)) => made.map(|spoken| (socket, spoken)),
    }
}

/// Waits for the connection, sends what it begins with, and agrees on what is spoken: by TLS (ALPN), else it is what
/// the configuration says ("prior knowledge").
async fn make(shard: &Shard, to: &Dial<'_>, socket: &Socket) -> Result<Spoken, Fault> {
    connect::finish(socket, shard.driver).await.map_err(|error| local_or_remote(&error))?;
    if !to.preface.is_empty() {
        let sent = send_all(socket, Buffer::apart(to.preface), |_| ()).await.0;
        sent.map_err(|_| Fault::ConnectFailed)?;
    }
    let protocol = to.cluster.cluster.protocol;
    let Some(tls) = &to.cluster.tls else {
        return Ok(match protocol {
            ClusterProtocol::Http2 => Spoken::Http2,
            ClusterProtocol::Http1 | ClusterProtocol::Auto | ClusterProtocol::Tcp => Spoken::Http1,
        });
    };
    let name = tls.name(&to.endpoint.address, to.host).ok_or(Fault::UpstreamTls)?;
    let context = tls.current();
    let admit = |shown: Shown<'_>| context.admit(shown);
    // ALLOC: once a connection, so that requests are no larger for it.
    let shaken = handshake::connect(&shard.tls, socket, context.config.clone(), name, context.ktls, admit);
    let facts = Box::pin(shaken).await.map_err(|_| Fault::UpstreamTls)?;
    Ok(match (protocol, facts.alpn) {
        (ClusterProtocol::Http2, _) | (ClusterProtocol::Auto, Some(Alpn::Http2)) => Spoken::Http2,
        (ClusterProtocol::Http1 | ClusterProtocol::Auto | ClusterProtocol::Tcp, _) => Spoken::Http1,
    })
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
