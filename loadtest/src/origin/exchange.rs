//! One request of an HTTP/2 connection: what is known of it, and what is still to do for it.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::answer::{Content, Plan, Refusal};
use super::connection::Facts;
use super::content::{Echo, Pace, Source, header_pairs};
use super::grpc::{Call, Reply};
use super::http1::ECHO_BYTES_MAX;
use super::request::split_target;
use super::state::Thread;
use crate::http2::Fields;

/// What one stream does next.
pub(super) enum Step {
    /// Answers the request.
    Answer,
    /// Sends a message of gRPC, or ends the call.
    Reply(Reply),
    /// Sends more of the body.
    Body(Sending),
}

/// A body on its way.
pub(super) struct Sending {
    pub(super) source: Source,
    pub(super) sent: u64,
    pub(super) end: u64,
    pub(super) pace: Option<Pace>,
}

/// One request.
pub(super) struct Exchange {
    pub(super) fields: Fields,
    pub(super) plan: Plan,
    /// Of gRPC.
    pub(super) call: Option<Call>,
    /// Which request of the connection it is, from 1.
    number: u64,
    pub(super) body_length: u64,
    /// The content, as far as it is given back.
    kept: Vec<u8>,
    pub(super) trailers: Option<Fields>,
    /// Whether the head of the answer is out.
    pub(super) is_answered: bool,
    /// What is to do, in order, each not before its time.
    pub(super) steps: VecDeque<(Option<Instant>, Step)>,
    /// Bytes of messages among the steps.
    pub(super) waiting_bytes: usize,
}

impl Exchange {
    /// A request that begins with these fields.
    ///
    /// # Errors
    /// Its path asks for something wrong, or there is none.
    pub(super) fn new(fields: Fields, number: u64, thread: &Thread) -> Result<Self, Refusal> {
        let target = text(&fields, ":path");
        if target.is_empty() {
            return Err((501, "CONNECT is not served here"));
        }
        let path = split_target(target).0;
        let defaults = &thread.shared.defaults;
        let is_grpc = text(&fields, "content-type").starts_with("application/grpc");
        let (plan, call) = if is_grpc && text(&fields, ":method") == "POST" {
            // A call has no directives in its path, which names the method.
            let mut plan = defaults.clone();
            thread.strike(&mut plan);
            (plan, Some(Call::new(path)))
        } else {
            (Plan::for_path(path, defaults)?, None)
        };
        Ok(Exchange {
            fields,
            plan,
            call,
            number,
            body_length: 0,
            kept: Vec::new(),
            trailers: None,
            is_answered: false,
            steps: VecDeque::new(),
            waiting_bytes: 0,
        })
    }

    /// More of the content came.
    pub(super) fn on_content(&mut self, bytes: &[u8], replies: &mut Vec<Reply>) {
        self.body_length += bytes.len() as u64;
        if let Some(call) = &mut self.call {
            call.feed(bytes, replies);
        } else if self.plan.content == Content::Echo {
            let room = ECHO_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// What is answered: the kind of the content, the content, its length, and whether that is announced.
    pub(super) fn content(&self, facts: &Facts, thread: &Thread) -> (&'static str, Source, u64, bool) {
        let text = match self.plan.content {
            Content::Bytes { length, chunked } => {
                return ("application/octet-stream", Source::Pattern, length, !chunked);
            }
            Content::Identity => Rc::clone(&thread.identity),
            // Text, numbers and lists can always be written; nothing would be left to say.
            Content::Echo => self.echo(facts, thread).unwrap_or_default(),
        };
        let length = text.len() as u64;
        ("application/json", Source::Text(text), length, true)
    }

    fn echo(&self, facts: &Facts, thread: &Thread) -> io::Result<Rc<[u8]>> {
        let target = text(&self.fields, ":path");
        let (path, query) = split_target(target);
        let trailers = self.trailers.iter().flat_map(|fields| header_pairs(fields.iter()));
        let echo = Echo {
            name: &thread.shared.name,
            version: &thread.shared.version,
            method: text(&self.fields, ":method"),
            target,
            path,
            query,
            http_version: "HTTP/2",
            headers: header_pairs(self.fields.iter()),
            body_length: self.body_length,
            body: String::from_utf8_lossy(&self.kept).into_owned(),
            body_truncated: self.body_length > self.kept.len() as u64,
            body_chunked: false,
            trailers: trailers.map(|[name, value]| format!("{name}: {value}")).collect(),
            source: facts.source.as_deref(),
            proxy_protocol: facts.proxy.as_ref(),
            tls: facts.tls.as_ref(),
            connection: facts.number,
            request: self.number,
        };
        echo.json()
    }
}

/// The first value of a field, empty if there is none or it is not text.
pub(super) fn text<'a>(fields: &'a Fields, name: &'a str) -> &'a str {
    fields.value(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("")
}
