//! A receive that outlives the task that started it: the seat of an upstream connection's next bytes.
//!
//! A pooled upstream connection always has a receive in flight. While the connection idles, nobody waits for
//! it; a completion then is a surprise (the upstream closed, or spoke out of turn) that the next user sees
//! with one poll, without a system call.
//!
//! ```text
//!   empty --start(buffer)--> in flight --completion--> ready --poll/next--> empty
//! ```

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::socket::{Receive, Received, Socket};
use crate::sys::buffer::Buffer;

/// The receiving side of one connection.
pub(crate) struct Receiver {
    socket: Socket,
    state: State,
}

enum State {
    Empty,
    Flying(Receive),
    Ready(Received),
}

impl Receiver {
    /// A receiver on `socket`; nothing is in flight yet.
    pub(crate) fn new(socket: Socket) -> Self {
        Receiver { socket, state: State::Empty }
    }

    /// Starts receiving into the room of `buffer`.
    pub(crate) fn start(&mut self, buffer: Buffer) {
        debug_assert!(!self.started(), "one receive at a time");
        self.state = State::Flying(self.socket.recv_later(buffer));
    }

    /// Makes `buffer` the outcome of the next receive: bytes that came behind an interim response.
    pub(crate) fn put_back(&mut self, buffer: Buffer) {
        debug_assert!(!self.started(), "one receive at a time");
        self.state = State::Ready((Ok(buffer.unread().len()), buffer));
    }

    /// Whether a receive was started whose bytes nobody has taken.
    pub(crate) fn started(&self) -> bool {
        !matches!(self.state, State::Empty)
    }

    /// Whether the receive in flight has completed, without waiting.
    pub(crate) fn poll_now(&mut self) -> Option<Received> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(received) => Some(received),
            Poll::Pending => None,
        }
    }

    /// Waits for the receive in flight; waits for ever when none was started.
    pub(crate) async fn next(&mut self) -> Received {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let received = match &mut self.state {
            State::Empty => return Poll::Pending,
            State::Flying(receive) => std::task::ready!(receive.poll_once(cx)),
            State::Ready(_) => match std::mem::replace(&mut self.state, State::Empty) {
                State::Ready(received) => received,
                _ => return Poll::Pending,
            },
        };
        self.state = State::Empty;
        Poll::Ready(received)
    }
}
