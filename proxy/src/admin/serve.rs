//! The admin port's connections: accepted, bounded, served one task each.
//!
//! Invariants:
//! - at most [`CONNECTIONS_MAX`] at a time, further ones wait in the kernel's queue;
//! - a connection ends after [`IDLE_MAX`] without a complete request head, and after [`AGE_MAX`] whatever
//!   it does, so that nobody can hold all places for long;
//! - heads and bodies are bounded ([`HEAD_BYTES_MAX`]; bodies in the router);
//! - running out of descriptors or memory pauses accepting, it does not end it.
//!
//! Not here: what is answered.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use pinion_core::config::snapshot::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at a time: a scraper, probes and a few people.
const CONNECTIONS_MAX: usize = 64;
/// The longest a connection may take for a request head, idle time included.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The longest a connection lives. A reload may take [`ADOPTION_MAX`](crate::publish::ADOPTION_MAX).
const AGE_MAX: Duration = Duration::from_secs(120);
/// The longest request head, in bytes; hyper's least is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Serves `router` on a bound, listening, non-blocking socket until dropped.
pub(crate) async fn serve(socket: OwnedFd, address: &Address, router: Router) -> io::Result<()> {
    let listener = match address {
        Address::Tcp(_) => Listener::Tcp(TcpListener::from_std(StdTcpListener::from(socket))?),
        Address::Unix(_) => Listener::Unix(UnixListener::from_std(StdUnixListener::from(socket))?),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                listener.accept().await.map(|(stream, _)| start(stream, router.clone(), place))
            }
            Listener::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| start(stream, router.clone(), place))
            }
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "admin: accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn start<S>(stream: S, router: Router, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        match tokio::time::timeout(AGE_MAX, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "admin: connection failed"),
            Err(_) => tracing::debug!("admin: connection ended at its greatest age"),
        }
        drop(place);
    });
}
