//! gRPC calls that stay open: requests are messages on them, answers the messages that come back.
//!
//! ```text
//! begin: HEADERS × streams ─▶ each stream: message out ─▶ message back ─▶ message out …
//! ```
//!
//! Invariants: a stream carries one message at a time; a call that its peer ends is opened again with the
//! next message, and the message that was on it has failed.

use std::collections::VecDeque;

use super::failure::Failure;
use super::request::Prepared;
use super::streams::failed;
use super::wire::{Answer, Event, Output, Ticket};
use crate::http2::client::{Client, ClientEvent, ClientOptions};

/// The calls of one connection.
pub(crate) struct Calls {
    client: Client,
    /// The header block that opens a call.
    block: Vec<u8>,
    calls: Vec<Call>,
    /// Calls that were free, in the order in which they became so; some may have been closed since.
    idle: VecDeque<usize>,
    /// How many are free.
    free: usize,
    /// Those that are closed.
    closed: Vec<usize>,
    events: Vec<ClientEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Closed,
    Free,
    /// The message of this request is on its way.
    Busy(Ticket),
}

impl Calls {
    /// So many calls with this header block.
    pub(crate) fn new(options: ClientOptions, block: &[u8]) -> Self {
        let calls = vec![Call::Closed; options.max_streams as usize];
        Calls {
            client: Client::new(options),
            block: block.to_vec(),
            closed: (0..calls.len()).rev().collect(),
            calls,
            idle: VecDeque::new(),
            free: 0,
            events: Vec::new(),
        }
    }

    /// Writes the preface; calls are opened by their first messages.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        self.client.begin(out);
    }

    /// Calls that carry nothing.
    pub(crate) fn room(&self) -> usize {
        if self.client.is_closing() {
            return 0;
        }
        self.free + self.closed.len().min(self.client.room())
    }

    /// Whether the peer said that it goes away.
    pub(crate) fn is_closing(&self) -> bool {
        self.client.is_closing()
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        let index = match self.take_free() {
            Some(index) => index,
            None => {
                // INVARIANT: there is room, so one that is closed is there.
                let Some(index) = self.closed.pop() else { return };
                self.client.open_stream(index as u32, &self.block, out.bytes);
                index
            }
        };
        self.calls[index] = Call::Busy(ticket);
        let body = request.body(out.random);
        self.client.send_message(index as u32, &body, out.bytes);
    }

    /// The call that has been free for longest, so that all of them are used in turn.
    fn take_free(&mut self) -> Option<usize> {
        while let Some(index) = self.idle.pop_front() {
            if self.calls[index] == Call::Free {
                self.free -= 1;
                return Some(index);
            }
        }
        None
    }

    /// A call is over; gives the message that was on it.
    fn close(&mut self, index: usize) -> Option<Ticket> {
        let call = std::mem::replace(&mut self.calls[index], Call::Closed);
        if call != Call::Closed {
            self.closed.push(index);
        }
        match call {
            Call::Busy(ticket) => return Some(ticket),
            Call::Free => self.free -= 1,
            Call::Closed => {}
        }
        None
    }

    /// Ends this side of the open calls.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        for (index, _) in self.calls.iter().enumerate().filter(|(_, call)| **call == Call::Free) {
            self.client.finish_stream(index as u32, out);
        }
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
        let mut taken = std::mem::take(&mut self.events);
        for event in taken.drain(..) {
            match event {
                ClientEvent::Message { ticket: index, bytes } => {
                    let call = &mut self.calls[index as usize];
                    if let Call::Busy(ticket) = *call {
                        *call = Call::Free;
                        self.free += 1;
                        self.idle.push_back(index as usize);
                        let answer =
                            Answer { status: 200, grpc_status: Some(0), content_bytes: bytes, counted: None };
                        events.push(Event::Answered { ticket, answer });
                    }
                }
                ClientEvent::Answered { ticket: index, status, grpc_status, counted, .. } => {
                    // The call ended instead of answering the message: with what it says of itself, and
                    // as a failure if it says that all is well.
                    let Some(ticket) = self.close(index as usize) else { continue };
                    events.push(if status == 200 && grpc_status.is_none_or(|status| status == 0) {
                        Event::Failed { ticket, failure: Failure::Stream, is_unprocessed: false }
                    } else {
                        let answer = Answer { status, grpc_status, content_bytes: 0, counted };
                        Event::Answered { ticket, answer }
                    });
                }
                ClientEvent::Failed { ticket: index, cause } => {
                    if let Some(ticket) = self.close(index as usize) {
                        events.push(failed(ticket, cause));
                    }
                }
            }
        }
        self.events = taken;
        outcome.map_err(Failure::from)
    }
}
