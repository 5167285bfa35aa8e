//! Speaks HTTP/2: many requests on one connection, each on a stream of its own.

use super::failure::Failure;
use super::request::Prepared;
use super::wire::{Answer, Event, Output, Ticket};
use crate::http2::client::{Cause, Client, ClientEvent, ClientOptions};

/// A connection's worth of HTTP/2 requests, gRPC calls with one message among them.
pub(crate) struct Streams {
    client: Client,
    events: Vec<ClientEvent>,
}

impl Streams {
    /// A new connection.
    pub(crate) fn new(options: ClientOptions) -> Self {
        Streams { client: Client::new(options), events: Vec::new() }
    }

    /// Writes the preface.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        self.client.begin(out);
    }

    /// As many as the peer and the options allow.
    pub(crate) fn room(&self) -> usize {
        self.client.room()
    }

    /// Whether the peer said that it goes away.
    pub(crate) fn is_closing(&self) -> bool {
        self.client.is_closing()
    }

    /// Opens a stream.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        let body = request.body(out.random);
        self.client.request(ticket, &request.block, &body, out.bytes);
    }

    /// Resets the stream of a request.
    pub(crate) fn cancel(&mut self, ticket: Ticket, out: &mut Vec<u8>) {
        self.client.cancel(ticket, out);
    }

    /// Reads frames.
    ///
    /// # Errors
    /// Not HTTP/2.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let outcome = self.client.feed(bytes, out, &mut self.events);
        events.extend(self.events.drain(..).filter_map(|event| match event {
            ClientEvent::Answered { ticket, status, grpc_status, content_bytes, counted } => {
                Some(Event::Answered {
                    ticket,
                    answer: Answer { status, grpc_status, content_bytes, counted },
                })
            }
            ClientEvent::Failed { ticket, cause } => Some(failed(ticket, cause)),
            ClientEvent::Message { .. } => None,
        }));
        outcome.map_err(Failure::from)
    }
}

/// What became of a request whose stream failed.
pub(super) fn failed(ticket: Ticket, cause: Cause) -> Event {
    let failure = match cause {
        Cause::Unprocessed => Failure::Refused,
        Cause::Reset(_) => Failure::Stream,
        Cause::Malformed(_) => Failure::Malformed,
    };
    Event::Failed { ticket, failure, is_unprocessed: cause == Cause::Unprocessed }
}
