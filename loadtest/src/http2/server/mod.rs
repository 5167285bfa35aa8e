//! The origin's side of a connection: requests come in pieces, answers go out as windows allow.
//!
//! ```text
//! HEADERS ─▶ judged ─▶ Head … Data … Trailers      answer ─▶ data … ─▶ end or trailers
//!              └─ malformed: RST_STREAM, Rejected    a stream closes when both sides have ended
//! ```
//!
//! Invariants: no window, frame size or setting of the client is ever exceeded; a stream that was
//! announced by `Head` ends with `end`, `Trailers`, `Reset` or `Rejected`.
//!
//! Not here: `receive.rs` has what frames do, `request.rs` how a request is judged.

mod receive;
mod request;

use std::sync::Arc;

use super::Fields;
use super::fields::ContentLength;
use super::frame::{self, HEADER_LIST_BYTES_MAX, STREAM_MAX, WINDOW_DEFAULT, WINDOW_MAX, code, setting};
use super::hpack::{Decoder, encode_field, encode_status};
use super::outgoing::{Outgoing, Ready, Sends};
use super::peer::{Peer, Role};
use super::reader::Reader;
use super::streams::{Resets, Streams};
use super::window::ReceiveWindow;
use crate::message::Malformed;

/// How a server behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerOptions {
    /// How many requests it takes at once; more are refused.
    pub(crate) max_streams: u32,
    /// How much the client may send ahead, on each stream and on the connection, in bytes: 1 to
    /// [`WINDOW_MAX`]. The connection's is never smaller than the protocol's default.
    pub(crate) window: u32,
    /// The longest frame that is read: [`frame::FRAME_BYTES_DEFAULT`] to [`frame::FRAME_BYTES_MAX`].
    pub(crate) frame_bytes_max: u32,
    /// Whether requests may have `:protocol` (RFC 8441).
    pub(crate) connect_protocol: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent {
    /// A request began; its pseudo-headers are the first fields. `end`: it has no content.
    Head { stream: u32, fields: Fields, end: bool },
    /// Content came; none with `end` ends it.
    Data { stream: u32, bytes: Vec<u8>, end: bool },
    /// The request ended with these fields.
    Trailers { stream: u32, fields: Fields },
    /// The client reset the stream.
    Reset { stream: u32 },
    /// The stream was reset because it broke the rules; for the first HEADERS there was no `Head`.
    Rejected { stream: u32, why: &'static str },
}

/// One open stream.
#[derive(Debug, Default)]
struct Stream {
    /// What the client may still send.
    window: ReceiveWindow,
    outgoing: Outgoing,
    /// Whether the final head of the answer was written.
    is_answered: bool,
    /// Whether the request has ended.
    is_complete: bool,
    length: ContentLength,
    /// Bytes of content that came.
    received: u64,
}

impl Sends for Stream {
    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }
}

/// The server's end of one connection.
pub(crate) struct Server {
    options: ServerOptions,
    reader: Reader,
    decoder: Decoder,
    peer: Peer,
    /// What the client may still send on the connection.
    window: ReceiveWindow,
    streams: Streams<Stream>,
    ready: Ready,
    resets: Resets,
    /// Streams whose end was just written; empty between calls.
    ended: Vec<u32>,
    /// A header block that is being made; empty between calls.
    block: Vec<u8>,
    /// How much of the preface has come.
    preface_bytes: usize,
    /// The highest stream that the client opened.
    last_stream: u32,
    /// The highest stream that is still served, once that was said.
    last_served: Option<u32>,
    /// Whether the client has acknowledged this side's settings.
    is_settled: bool,
    lost: Option<Malformed>,
}

impl Server {
    /// A server on a new connection.
    pub(crate) fn new(mut options: ServerOptions) -> Self {
        options.window = options.window.clamp(1, WINDOW_MAX);
        options.frame_bytes_max =
            options.frame_bytes_max.clamp(frame::FRAME_BYTES_DEFAULT, frame::FRAME_BYTES_MAX);
        Server {
            reader: Reader::new(options.frame_bytes_max),
            decoder: Decoder::new(),
            peer: Peer::new(Role::Client),
            window: ReceiveWindow::new(options.window.max(WINDOW_DEFAULT)),
            streams: Streams::new(),
            ready: Ready::default(),
            resets: Resets::default(),
            ended: Vec::new(),
            block: Vec::new(),
            preface_bytes: 0,
            last_stream: 0,
            last_served: None,
            is_settled: false,
            lost: None,
            options,
        }
    }

    /// What goes first: settings and the connection's window. The client's preface need not have come.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        let values = [
            (setting::MAX_CONCURRENT_STREAMS, self.options.max_streams),
            (setting::INITIAL_WINDOW_SIZE, self.options.window),
            (setting::MAX_FRAME_SIZE, self.options.frame_bytes_max),
            (setting::MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES_MAX as u32),
            (setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let sent = if self.options.connect_protocol { values.len() } else { values.len() - 1 };
        frame::settings(&values[..sent], out);
        if self.options.window > WINDOW_DEFAULT {
            frame::window_update(0, self.options.window - WINDOW_DEFAULT, out);
        }
    }

    /// How many streams are open.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Sends the final head of an answer; `end`: it has no content. Nothing happens if the stream is gone
    /// or has its head.
    pub(crate) fn answer<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        status: u16,
        headers: &[(N, V)],
        end: bool,
        out: &mut Vec<u8>,
    ) {
        self.head(stream, status, headers, |server, id, block| server.answer_block(id, block, end, out));
    }

    /// As [`answer`](Self::answer), with a block that was made before by
    /// [`encode_answer`](super::encode_answer).
    pub(crate) fn answer_block(&mut self, id: u32, block: &[u8], end: bool, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.by_id(id).filter(|stream| !stream.is_answered) else { return };
        stream.is_answered = true;
        self.peer.headers(id, block, end, out);
        if end {
            stream.outgoing.end_here();
            self.on_sent(id);
        }
    }

    /// Sends an interim head: 100, 102 to 199. Nothing happens if the stream is gone or has its head.
    pub(crate) fn interim<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        status: u16,
        headers: &[(N, V)],
        out: &mut Vec<u8>,
    ) {
        self.head(stream, status, headers, |server, id, block| {
            if server.streams.by_id(id).is_some_and(|stream| !stream.is_answered) {
                server.peer.headers(id, block, false, out);
            }
        });
    }

    /// Makes a head's block in memory that is kept.
    fn head<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        stream: u32,
        status: u16,
        headers: &[(N, V)],
        send: impl FnOnce(&mut Self, u32, &[u8]),
    ) {
        let mut block = std::mem::take(&mut self.block);
        encode_status(status, &mut block);
        for (name, value) in headers {
            encode_field(name.as_ref(), value.as_ref(), &mut block);
        }
        send(self, stream, &block);
        block.clear();
        self.block = block;
    }

    /// Sends content behind the head. What windows don't take now is kept and follows later. Returns how
    /// many bytes of the stream wait. Nothing happens if the stream is gone or has ended.
    pub(crate) fn data(&mut self, id: u32, bytes: &[u8], end: bool, out: &mut Vec<u8>) -> usize {
        if self.write_now(id, bytes, end, out) { 0 } else { self.send(id, &Arc::from(bytes), end, out) }
    }

    /// As [`data`](Self::data), without a copy of what is kept.
    pub(crate) fn data_shared(&mut self, id: u32, bytes: &Arc<[u8]>, end: bool, out: &mut Vec<u8>) -> usize {
        if self.write_now(id, bytes, end, out) { 0 } else { self.send(id, bytes, end, out) }
    }

    /// Ends an answer with these fields, behind the content. Nothing happens if the stream is gone or has
    /// ended.
    pub(crate) fn trailers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        id: u32,
        fields: &[(N, V)],
        out: &mut Vec<u8>,
    ) {
        let Some(stream) = self.streams.by_id(id).filter(|stream| stream.is_answered) else { return };
        let block = super::encode(fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        if stream.outgoing.finish_with(block, id, &mut self.peer, out) {
            self.on_sent(id);
        }
    }

    /// Resets a stream: there will be no more events for it.
    pub(crate) fn reset(&mut self, id: u32, code: u32, out: &mut Vec<u8>) {
        if self.streams.close(id).is_some() {
            frame::reset(id, code, out);
            self.resets.add(id);
        }
    }

    /// How many bytes of the stream's answer wait for windows.
    pub(crate) fn pending(&mut self, id: u32) -> usize {
        self.streams.by_id(id).map_or(0, |stream| stream.outgoing.pending())
    }

    /// Takes no more streams than came so far; those are still served.
    pub(crate) fn go_away(&mut self, out: &mut Vec<u8>) {
        if self.last_served.is_none() {
            self.last_served = Some(self.last_stream);
            frame::go_away(self.last_stream, code::NO_ERROR, "", out);
        }
    }

    /// Whether GOAWAY was sent, or the client broke the protocol: what is open is all that is still done.
    pub(crate) fn is_closing(&self) -> bool {
        self.last_served.is_some() || self.lost.is_some() || self.last_stream == STREAM_MAX
    }

    /// Writes content that needs not wait and overtakes no other stream's. Also true if the stream takes none.
    fn write_now(&mut self, id: u32, bytes: &[u8], end: bool, out: &mut Vec<u8>) -> bool {
        let Some(stream) = self.streams.by_id(id) else { return true };
        if !stream.is_answered || !stream.outgoing.is_open() {
            return true;
        }
        let written = self.ready.is_empty() && stream.outgoing.write_now(id, bytes, end, &mut self.peer, out);
        if written && end {
            self.on_sent(id);
        }
        written
    }

    fn send(&mut self, id: u32, bytes: &Arc<[u8]>, end: bool, out: &mut Vec<u8>) -> usize {
        let Some(stream) = self.streams.by_id(id) else { return 0 };
        stream.outgoing.push(Arc::clone(bytes));
        if end && stream.outgoing.finish(id, &mut self.peer, out) {
            self.on_sent(id);
            return 0;
        }
        self.ready.list(id, &mut stream.outgoing);
        self.pump(out);
        self.pending(id)
    }

    /// Sends what windows allow now.
    fn pump(&mut self, out: &mut Vec<u8>) {
        self.ready.pump(&mut self.streams, &mut self.peer, &mut self.ended, out);
        while let Some(id) = self.ended.pop() {
            self.on_sent(id);
        }
    }

    /// The answer's end was written: the stream closes if the request has ended too.
    fn on_sent(&mut self, id: u32) {
        if self.streams.by_id(id).is_some_and(|stream| stream.is_complete) {
            self.streams.close(id);
        }
    }
}
