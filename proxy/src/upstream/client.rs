//! Who waits for an answer: a connection of its own, or a stream of one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use pinion_core::time::Instant;

use crate::h2::stream::Stream;
use crate::net::socket::Socket;
use crate::shard::lease::Lease;
use crate::shard::slots::client_gone;

/// The client of one request.
#[derive(Clone, Copy)]
pub(crate) enum Client<'a> {
    /// HTTP/1: the connection is the client's.
    Socket {
        /// The connection.
        socket: &'a Socket,
        /// A client that only ended its sending direction is still there.
        half_close: bool,
    },
    /// HTTP/2.
    Stream(&'a Stream),
}

impl Client<'_> {
    /// Whether it has left.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Client::Socket { socket, half_close } => client_gone(socket, *half_close),
            Client::Stream(stream) => stream.gone().is_some(),
        }
    }

    /// Has the task of `cx` woken when it leaves, where that can be heard of; says whether it has.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> bool {
        match self {
            // Looked at now and then (`Lease::watch_client`).
            Client::Socket { .. } => false,
            Client::Stream(stream) => stream.poll_gone(cx).is_ready(),
        }
    }

    /// Waits for `work` on `socket`, unless the client leaves before (`None`, or [`Lane::Up`] fires with
    /// [`Why::Gone`] and the work ends by itself).
    ///
    /// [`Lane::Up`]: crate::shard::timer::Lane::Up
    /// [`Why::Gone`]: crate::shard::timer::Why::Gone
    pub(crate) async fn unless_gone<T>(
        &self,
        lease: &Lease,
        socket: &Socket,
        now: Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        if let Client::Socket { socket: client, half_close } = self {
            lease.watch_client(client, socket, *half_close, now);
        }
        let mut work = pin!(work);
        let done = poll_fn(|cx| {
            if self.poll_gone(cx) {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await;
        lease.unwatch_client();
        done
    }
}
