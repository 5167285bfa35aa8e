//! A receive that outlives the task that started it: the seat of an upstream connection's next bytes.
//!
//! A pooled upstream connection always has a receive in flight. While the connection idles, nobody waits for
//! it; a completion then is a surprise (the upstream closed, or spoke out of turn) that the next user sees
//! with one poll, without a system call.
//!
//! ```text
//!   empty --start(buffer)--> in flight --completion--> ready --poll/next--> empty
//! ```
//!
//! Invariants: the future's place is boxed once per connection and reused, so that receiving allocates
//! nothing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::sys::buffer::Buffer;
use crate::sys::socket::Socket;

type Received = (io::Result<usize>, Buffer);

trait Machine {
    fn start(self: Pin<&mut Self>, buffer: Buffer);
    fn put_back(self: Pin<&mut Self>, buffer: Buffer);
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received>;
}

pin_project! {
    struct Place<F, M> {
        #[pin]
        flight: Option<F>,
        ready: Option<Received>,
        make: M,
    }
}

impl<F: Future<Output = Received>, M: Fn(Buffer) -> F> Machine for Place<F, M> {
    fn start(self: Pin<&mut Self>, buffer: Buffer) {
        let mut this = self.project();
        debug_assert!(this.flight.is_none() && this.ready.is_none(), "one receive at a time");
        this.flight.set(Some((this.make)(buffer)));
        // The first poll hands the operation to the driver; with epoll it may complete at once.
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(flight) = this.flight.as_mut().as_pin_mut()
            && let Poll::Ready(received) = flight.poll(&mut cx)
        {
            this.flight.set(None);
            *this.ready = Some(received);
        }
    }

    fn put_back(self: Pin<&mut Self>, buffer: Buffer) {
        let this = self.project();
        debug_assert!(this.flight.is_none() && this.ready.is_none(), "one receive at a time");
        *this.ready = Some((Ok(buffer.unread().len()), buffer));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        let mut this = self.project();
        if let Some(received) = this.ready.take() {
            return Poll::Ready(received);
        }
        let Some(flight) = this.flight.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let received = std::task::ready!(flight.poll(cx));
        this.flight.set(None);
        Poll::Ready(received)
    }
}

/// The receiving side of one connection.
pub(crate) struct Receiver {
    place: Pin<Box<dyn Machine>>,
    started: bool,
}

impl Receiver {
    /// A receiver on `socket`; nothing is in flight yet.
    pub(crate) fn new(socket: Socket) -> Self {
        let make = move |buffer| {
            let socket = socket.clone();
            async move { socket.recv(buffer).await }
        };
        Receiver { place: Box::pin(Place { flight: None, ready: None, make }), started: false }
    }

    /// Starts receiving into the room of `buffer`.
    pub(crate) fn start(&mut self, buffer: Buffer) {
        self.started = true;
        self.place.as_mut().start(buffer);
    }

    /// Makes `buffer` the outcome of the next receive: bytes that came behind an interim response.
    pub(crate) fn put_back(&mut self, buffer: Buffer) {
        self.started = true;
        self.place.as_mut().put_back(buffer);
    }

    /// Whether a receive was started whose bytes nobody has taken.
    pub(crate) fn started(&self) -> bool {
        self.started
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
        let received = std::task::ready!(self.place.as_mut().poll(cx));
        self.started = false;
        Poll::Ready(received)
    }
}
