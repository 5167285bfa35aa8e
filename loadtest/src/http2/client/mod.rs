//! The generator's side of a connection: many requests at once, each with a ticket of the caller's.
//!
//! ```text
//! request ─▶ open ─▶ answer's head ─▶ content … ─▶ trailers ─▶ Answered ─▶ closed
//!              │                                                  └─ body still going: closed when that is sent
//!              └─ RST_STREAM, GOAWAY, malformed: Failed
//! ```
//!
//! HOT: in steady state a request with its answer allocates nothing but the value of the counted
//! header, if one is asked for; a body is shared, not copied, while it waits for windows.
//!
//! Invariants: each ticket gets exactly one `Answered` or `Failed`, unless it is cancelled or the
//! connection is lost; no window, frame size or number of streams of the peer is ever exceeded.
//!
//! Not here: `receive.rs` has what frames do, `answer.rs` how an answer is judged.

mod answer;
mod receive;
mod stream;

use std::sync::Arc;

use self::stream::Stream;
use super::frame::{
    self, HEADER_LIST_BYTES_MAX, PREFACE, STREAM_MAX, WINDOW_DEFAULT, WINDOW_MAX, code, setting,
};
use super::hpack::Decoder;
use super::outgoing::Ready;
use super::peer::{Peer, Role};
use super::reader::Reader;
use super::streams::{ByNumber, Resets, Streams};
use super::window::ReceiveWindow;
use crate::message::Malformed;

/// Names a request; the caller gives it, and uses it again only after its `Answered` or `Failed`.
pub(crate) type Ticket = u32;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientOptions {
    /// How many requests it has open at once, at most.
    pub(crate) max_streams: u32,
    /// How much the server may send ahead, on each stream and on the connection, in bytes: 1 to
    /// [`WINDOW_MAX`]. The connection's is never smaller than the protocol's default.
    pub(crate) window: u32,
    /// The longest frame that is read: [`frame::FRAME_BYTES_DEFAULT`] to [`frame::FRAME_BYTES_MAX`].
    pub(crate) frame_bytes_max: u32,
    /// The response header whose value answers carry, in lower case.
    pub(crate) counted: Option<&'static str>,
}

/// Why a request failed while its connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server says that it did nothing with it (REFUSED_STREAM, or above GOAWAY's last stream): it is
    /// safe to send again (RFC 9113, section 8.7).
    Unprocessed,
    /// The server reset it, with this code.
    Reset(u32),
    /// The answer is not what HTTP allows; the stream was reset.
    Malformed(&'static str),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    /// The answer is complete.
    Answered {
        ticket: Ticket,
        status: u16,
        /// From the trailers, or from the head if that is all there is.
        grpc_status: Option<u16>,
        content_bytes: u64,
        counted: Option<String>,
    },
    /// One message of a streaming call came (only for calls opened with `open_stream`), of so many bytes
    /// without its prefix.
    Message { ticket: Ticket, bytes: u64 },
    /// There will be no answer.
    Failed { ticket: Ticket, cause: Cause },
}

/// The client's end of one connection.
pub(crate) struct Client {
    options: ClientOptions,
    reader: Reader,
    decoder: Decoder,
    peer: Peer,
    /// What the server may still send on the connection.
    window: ReceiveWindow,
    streams: Streams<Stream>,
    by_ticket: ByNumber<u32>,
    ready: Ready,
    resets: Resets,
    /// Streams whose end was just written; empty between calls.
    ended: Vec<u32>,
    next_stream: u32,
    /// The last stream that the server takes, once it said so.
    last_stream: Option<u32>,
    /// Whether the server has acknowledged this side's settings.
    is_settled: bool,
    lost: Option<Malformed>,
}

impl Client {
    /// A client on a new connection.
    pub(crate) fn new(mut options: ClientOptions) -> Self {
        options.window = options.window.clamp(1, WINDOW_MAX);
        let frame_bytes = frame::FRAME_BYTES_DEFAULT..=frame::FRAME_BYTES_MAX;
        options.frame_bytes_max = options.frame_bytes_max.clamp(*frame_bytes.start(), *frame_bytes.end());
        Client {
            reader: Reader::new(options.frame_bytes_max),
            decoder: Decoder::new(),
            peer: Peer::new(Role::Server),
            window: ReceiveWindow::new(options.window.max(WINDOW_DEFAULT)),
            streams: Streams::new(),
            by_ticket: ByNumber::default(),
            ready: Ready::default(),
            resets: Resets::default(),
            ended: Vec::new(),
            next_stream: 1,
            last_stream: None,
            is_settled: false,
            lost: None,
            options,
        }
    }

    /// What goes first: preface, settings, the connection's window.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        let values = [
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, self.options.window),
            (setting::MAX_FRAME_SIZE, self.options.frame_bytes_max),
            (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX as u32),
        ];
        frame::settings(&values, out);
        if self.options.window > WINDOW_DEFAULT {
            frame::window_update(0, self.options.window - WINDOW_DEFAULT, out);
        }
    }

    /// How many requests it takes now.
    pub(crate) fn room(&self) -> usize {
        if self.is_closing() {
            return 0;
        }
        let streams = self.options.max_streams.min(self.peer.streams_max) as usize;
        let numbers = (STREAM_MAX - self.next_stream) as usize / 2 + 1;
        streams.saturating_sub(self.streams.len()).min(numbers)
    }

    /// Whether it takes no more requests, ever; those in flight may still be answered.
    pub(crate) fn is_closing(&self) -> bool {
        self.last_stream.is_some() || self.lost.is_some() || self.next_stream > STREAM_MAX
    }

    /// How many requests wait for their answer.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.by_ticket.len()
    }

    /// Sends a whole request, of which there must be [`room`](Self::room); `block` is what
    /// [`encode_request`](super::encode_request) made. What windows don't take of the body follows later.
    pub(crate) fn request(&mut self, ticket: Ticket, block: &[u8], body: &Arc<[u8]>, out: &mut Vec<u8>) {
        let id = self.open(ticket, block, body.is_empty(), out);
        if !body.is_empty() && !self.write_now(id, body, true, out) {
            self.send_shared(id, body, true, out);
        }
    }

    /// Begins a call whose messages follow; answers of such calls are taken apart into messages.
    pub(crate) fn open_stream(&mut self, ticket: Ticket, block: &[u8], out: &mut Vec<u8>) {
        let id = self.open(ticket, block, false, out);
        if let Some(stream) = self.streams.by_id(id) {
            stream.begin_messages();
        }
    }

    /// Sends bytes of a call: messages with their prefixes. Nothing happens if the call has ended.
    pub(crate) fn send_message(&mut self, ticket: Ticket, data: &Arc<[u8]>, out: &mut Vec<u8>) {
        if let Some(&id) = self.by_ticket.get(&ticket)
            && !self.write_now(id, data, false, out)
        {
            self.send_shared(id, data, false, out);
        }
    }

    /// Ends this side of a call. Nothing happens if the call has ended.
    pub(crate) fn finish_stream(&mut self, ticket: Ticket, out: &mut Vec<u8>) {
        if let Some(&id) = self.by_ticket.get(&ticket)
            && let Some(stream) = self.streams.by_id(id)
        {
            stream.outgoing.finish(id, &mut self.peer, out);
        }
    }

    /// Gives a request up: there will be no event for it.
    pub(crate) fn cancel(&mut self, ticket: Ticket, out: &mut Vec<u8>) {
        if let Some(id) = self.by_ticket.remove(&ticket) {
            self.reset(id, code::CANCEL, out);
        }
    }

    /// Goes on as if the streams before `next_stream` had been used.
    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, next_stream: u32) {
        self.next_stream = next_stream;
    }

    /// Opens the next stream.
    fn open(&mut self, ticket: Ticket, block: &[u8], end: bool, out: &mut Vec<u8>) -> u32 {
        debug_assert!(self.room() > 0, "more requests than there is room for");
        let id = self.next_stream;
        self.next_stream += 2;
        self.peer.headers(id, block, end, out);
        let is_head = answer::is_head(block);
        self.streams.open(id).begin(ticket, is_head, self.options.window, self.peer.stream_window, end);
        let before = self.by_ticket.insert(ticket, id);
        debug_assert!(before.is_none(), "a ticket in flight is used again");
        id
    }

    /// Sends content without keeping it, if that is possible without overtaking others.
    fn write_now(&mut self, id: u32, content: &[u8], end: bool, out: &mut Vec<u8>) -> bool {
        let Some(stream) = self.streams.by_id(id) else { return true };
        self.ready.is_empty()
            && stream.outgoing.is_open()
            && stream.outgoing.write_now(id, content, end, &mut self.peer, out)
    }

    /// Sends content as windows allow.
    fn send_shared(&mut self, id: u32, content: &Arc<[u8]>, end: bool, out: &mut Vec<u8>) {
        if let Some(stream) = self.streams.by_id(id)
            && stream.outgoing.is_open()
        {
            // ALLOC: a count goes up; the content itself is shared.
            stream.outgoing.push(Arc::clone(content));
            if end {
                stream.outgoing.finish(id, &mut self.peer, out);
            }
            self.ready.list(id, &mut stream.outgoing);
            self.pump(out);
        }
    }

    /// Sends what windows allow now; closes what that completes.
    fn pump(&mut self, out: &mut Vec<u8>) {
        self.ready.pump(&mut self.streams, &mut self.peer, &mut self.ended, out);
        while let Some(id) = self.ended.pop() {
            if self.streams.by_id(id).is_some_and(|stream| stream.ticket.is_none()) {
                self.streams.close(id);
            }
        }
    }

    /// Resets a stream and closes it.
    fn reset(&mut self, id: u32, code: u32, out: &mut Vec<u8>) {
        frame::reset(id, code, out);
        self.resets.add(id);
        self.streams.close(id);
    }
}
