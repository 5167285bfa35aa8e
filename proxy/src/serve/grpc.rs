//! What serving does for gRPC: deadlines, answers in gRPC's terms, gRPC-Web, and the status for the record.
//!
//! Invariants: a request that says it is gRPC gets no answer that a gRPC client can't read, as long as a head can
//! still be sent; bodies are read only where gRPC-Web is translated.
//!
//! Not here: what the words mean (`pinion_core::http::grpc`).

use std::time::Duration;

use pinion_core::fault::Fault;
use pinion_core::http::grpc::web::{ResponseBody, TextDecoder};
use pinion_core::http::grpc::{Code, Kind, Web, answer, format, timeout};
use pinion_core::http::{Framing, Known, RequestHead, ResponseHead, Span};
use pinion_core::route::Route;
use pinion_core::time::Instant;

use super::cross::part::{Behind, Part, take};
use crate::net::buffers::BufferPool;
use crate::net::clock;
use crate::sys::buffer::Buffer;

/// A gRPC request, or one of gRPC-Web.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grpc {
    /// The content-type of answers.
    content_type: &'static [u8],
    /// How long the client waits.
    timeout: Option<Duration>,
    /// When that is over; set when the request goes to its cluster.
    due: Instant,
    /// The request is translated.
    web: Option<Web>,
    /// What the client was told in the end.
    pub(crate) status: Option<Code>,
}

impl Grpc {
    /// What the head says, if it is gRPC's.
    pub(crate) fn of(bytes: &[u8], head: &RequestHead) -> Option<Self> {
        let value = head.fields.find(Known::ContentType)?.value.of(bytes);
        let kind = Kind::of(value)?;
        Some(Grpc {
            content_type: answer::content_type(kind, format(value)),
            timeout: timeout::of_fields(bytes, &head.fields),
            due: Instant::NEVER,
            web: None,
            status: None,
        })
    }

    /// The content-type of our own answers.
    pub(crate) const fn content_type(&self) -> &'static [u8] {
        self.content_type
    }

    /// The time begins: the earlier of the client's and the route's end.
    pub(crate) fn begin(&mut self, now: Instant, until: Instant) -> Instant {
        if let Some(timeout) = self.timeout {
            self.due = now.after(timeout);
        }
        self.due.min(until)
    }

    /// What the upstream has left of the client's time.
    pub(crate) fn left(&self) -> Option<Duration> {
        (self.due != Instant::NEVER).then(|| self.due.since(clock::now()))
    }

    /// Makes a gRPC request of a gRPC-Web one where the route asks for it; `bytes` begins at the request line.
    pub(crate) fn translate(&mut self, route: &Route, bytes: &mut [u8], head: &mut RequestHead) {
        if route.grpc.web {
            self.web = Web::request(bytes, head);
        }
    }

    /// The request is translated.
    pub(crate) const fn is_translated(&self) -> bool {
        self.web.is_some()
    }

    /// The framing of the request's content for the upstream.
    pub(crate) fn framing(&self, framing: Framing) -> Framing {
        self.web.map_or(framing, |web| web.request_framing(framing))
    }

    /// What makes messages of the request's text, if it is text.
    pub(crate) fn decoder(&self) -> Option<TextDecoder> {
        matches!(self.web, Some(Web::Text)).then(TextDecoder::default)
    }

    /// Takes note of a response's head in `text`, and translates it; what its content then goes through.
    pub(crate) fn answered(&mut self, text: &mut Buffer, head: &mut ResponseHead) -> Option<ResponseBody> {
        let bytes = text.unread();
        // What is none of gRPC's answers its clients read by HTTP's status.
        let foreign = Kind::of_fields(bytes, &head.fields).is_none();
        let by_http = || foreign.then(|| Code::of_http(head.status));
        self.status = Code::of_fields(bytes, &head.fields).or_else(by_http);
        let web = self.web?;
        let start = text.unread().len();
        text.as_vec().extend_from_slice(self.content_type);
        let (Ok(start), Ok(end)) = (u16::try_from(start), u16::try_from(text.unread().len())) else {
            return None;
        };
        web.response(text.unread(), head, Span { start, end }).then(|| ResponseBody::new(web))
    }

    /// Takes note of what follows content.
    pub(super) fn ended(&mut self, behind: &Behind) {
        if let Some(lines) = behind.trailers() {
            self.status = Code::of_trailers(lines).or(self.status);
        }
    }
}

/// A part of a request's text as messages.
pub(super) fn decoded(pool: &BufferPool, text: &mut TextDecoder, part: Part) -> Result<Part, Fault> {
    let bytes = part.content.unread();
    let mut content = if bytes.is_empty() { Buffer::stand_in() } else { take(pool, bytes.len())? };
    if !bytes.is_empty() {
        text.decode(bytes, content.as_vec()).map_err(|_| Fault::BadBody)?;
    }
    if part.behind.is_end() && !text.is_complete() {
        return Err(Fault::BadBody);
    }
    Ok(Part { content, behind: part.behind })
}

/// A part of a response as gRPC-Web has it: trailers are its last message.
pub(super) fn translated(pool: &BufferPool, body: &mut ResponseBody, part: Part) -> Result<Part, Fault> {
    if body.passes() && part.behind.trailers().is_none() {
        return Ok(part);
    }
    let lines = part.behind.trailers().unwrap_or_default();
    let bytes = part.content.unread();
    // Beyond the buffer's room this grows it: only content in very small messages does.
    let mut content = take(pool, (bytes.len() + lines.len() + 16) / 3 * 4 + 16)?;
    body.data(bytes, content.as_vec());
    if part.behind.trailers().is_some() {
        body.trailers(lines, content.as_vec());
    }
    let behind = if part.behind.is_end() { Behind::End } else { Behind::More };
    Ok(Part { content, behind })
}
