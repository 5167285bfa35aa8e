//! What is spoken on one connection, behind one set of words. Every protocol is a machine without a socket
//! and without a clock: bytes go in, bytes and events come out.
//!
//! ```text
//!            send(ticket)             out ──▶ (TLS) ──▶ socket
//! sender ─────────────────▶  Wire
//!        ◀── events ───────           ◀── feed ── (TLS) ◀── socket
//! ```
//!
//! Invariants: each ticket that is sent comes back in exactly one event, unless the connection
//! ends before; a machine that said that it has no room is not sent anything.

use super::calls::Calls;
use super::echo::Echo;
use super::failure::Failure;
use super::http1::Http1;
use super::request::Prepared;
use super::streams::Streams;
use super::websocket::WebSocket;
use crate::random::Random;

/// Names a request for the sender.
pub(crate) type Ticket = u32;

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The HTTP status; 200 for what has none.
    pub(crate) status: u16,
    /// The status of a gRPC call.
    pub(crate) grpc_status: Option<u16>,
    /// Bytes of content.
    pub(crate) content_bytes: u64,
    /// The value of the header that is counted, if one is and it was there.
    pub(crate) counted: Option<String>,
}

impl Answer {
    /// Whether it says that something went wrong: a status from 400 on, a gRPC status but 0.
    pub(crate) fn is_error(&self) -> bool {
        self.status >= 400 || self.grpc_status.is_some_and(|status| status != 0)
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its answer is complete.
    Answered { ticket: Ticket, answer: Answer },
    /// It has none. What was not processed may be sent again.
    Failed { ticket: Ticket, failure: Failure, is_unprocessed: bool },
}

/// The protocols.
pub(crate) enum Wire {
    Http1(Http1),
    Http2(Box<Streams>),
    Calls(Box<Calls>),
    WebSocket(WebSocket),
    Echo(Echo),
}

/// Where a machine writes, and what it draws lots from.
pub(crate) struct Output<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    pub(crate) random: &'a mut Random,
}

impl Wire {
    /// Writes what a connection begins with.
    pub(crate) fn begin(&mut self, out: &mut Output<'_>) {
        match self {
            Wire::Http1(_) | Wire::Echo(_) => {}
            Wire::Http2(streams) => streams.begin(out.bytes),
            Wire::Calls(calls) => calls.begin(out.bytes),
            Wire::WebSocket(socket) => socket.begin(out),
        }
    }

    /// How many requests it takes now.
    pub(crate) fn room(&self) -> usize {
        match self {
            Wire::Http1(http) => http.room(),
            Wire::Http2(streams) => streams.room(),
            Wire::Calls(calls) => calls.room(),
            Wire::WebSocket(socket) => socket.room(),
            Wire::Echo(echo) => echo.room(),
        }
    }

    /// Whether it takes no more requests, ever.
    pub(crate) fn is_closing(&self) -> bool {
        match self {
            Wire::Http1(http) => http.is_closing(),
            Wire::Http2(streams) => streams.is_closing(),
            Wire::Calls(calls) => calls.is_closing(),
            Wire::WebSocket(socket) => socket.is_closing(),
            Wire::Echo(_) => false,
        }
    }

    /// Sends a request. Call only while there is room.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        debug_assert!(self.room() > 0);
        match self {
            Wire::Http1(http) => http.send(ticket, request, out),
            Wire::Http2(streams) => streams.send(ticket, request, out),
            Wire::Calls(calls) => calls.send(ticket, request, out),
            Wire::WebSocket(socket) => socket.send(ticket, request, out),
            Wire::Echo(echo) => echo.send(ticket, request, out),
        }
    }

    /// Takes what came from the peer.
    ///
    /// # Errors
    /// The connection is of no more use; the tickets on it get no events any more.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Output<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        match self {
            Wire::Http1(http) => http.feed(bytes, events),
            Wire::Http2(streams) => streams.feed(bytes, out.bytes, events),
            Wire::Calls(calls) => calls.feed(bytes, out.bytes, events),
            Wire::WebSocket(socket) => socket.feed(bytes, out, events),
            Wire::Echo(echo) => echo.feed(bytes, events),
        }
    }

    /// The peer ended the connection: some answers end with it.
    pub(crate) fn on_close(&mut self, events: &mut Vec<Event>) {
        if let Wire::Http1(http) = self {
            http.on_close(events);
        }
    }

    /// Gives a request up. Says whether the connection can go on without it.
    pub(crate) fn cancel(&mut self, ticket: Ticket, out: &mut Vec<u8>) -> bool {
        match self {
            Wire::Http2(streams) => {
                streams.cancel(ticket, out);
                true
            }
            Wire::Http1(_) | Wire::Calls(_) | Wire::WebSocket(_) | Wire::Echo(_) => false,
        }
    }

    /// Says goodbye, where the protocol has words for it: the connection ends after what this writes.
    pub(crate) fn end(&mut self, out: &mut Output<'_>) {
        match self {
            Wire::Calls(calls) => calls.end(out.bytes),
            Wire::WebSocket(socket) => socket.end(out),
            Wire::Http1(_) | Wire::Http2(_) | Wire::Echo(_) => {}
        }
    }

    /// Whether the connection carried a request before and nothing of an answer to the present one came: a
    /// kept connection that its peer closed then may have been closed before the request arrived, and RFC
    /// 9112, section 9.3.1, lets the request be sent again.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Wire::Http1(http) if http.is_stale())
    }
}
