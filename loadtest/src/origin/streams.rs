//! The requests of one HTTP/2 connection, from their heads to the ends of their answers. No socket; time
//! is an argument.
//!
//! ```text
//! Head ─▶ reading ── whole ──▶ waiting (delay, standstill, workers) ──▶ sending ──▶ gone
//!           └─ gRPC: each message waits and goes out by itself, in order
//! ```
//!
//! Invariants: what a stream sends is in order; a stream that waits for a moment stands in `due`; of a
//! large body only a few pieces are queued at a time.
//!
//! Not here: frames and windows (`crate::http2`), what gRPC messages mean (`grpc.rs`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use super::answer::{Cut, has_content};
use super::connection::Facts;
use super::content::Pace;
use super::exchange::{Exchange, Sending, Step, text};
use super::grpc::{self, Call, Reply};
use super::prepared::Prepared;
use super::state::Thread;
use crate::http2::Fields;
use crate::http2::server::{Server, ServerEvent, ServerOptions};
use crate::message::Malformed;

/// Requests at once on a connection, at most.
const STREAMS_MAX: u32 = 1024;

/// What a client may send ahead, on a stream and on the connection, in bytes.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// The longest frame that is read, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// The pieces in which large bodies are queued, in bytes.
const PIECE_BYTES: u64 = 64 * 1024;

/// Answers are gathered up to this size before they are written, in bytes.
const OUTPUT_BYTES: usize = 512 * 1024;

/// How much of a call's echo may wait for its time, or for a client that sends but does not read, in bytes.
const ECHO_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Error codes of RST_STREAM (RFC 9113, section 7).
const INTERNAL_ERROR: u32 = 0x2;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// All requests of a connection.
pub(super) struct Streams {
    server: Server,
    facts: Facts,
    thread: Rc<Thread>,
    exchanges: HashMap<u32, Exchange>,
    /// Who has something to do at what time.
    due: BTreeSet<(Instant, u32)>,
    /// Streams that may be able to go on, now.
    ready: VecDeque<u32>,
    /// Streams whose bodies wait for windows.
    blocked: Vec<u32>,
    requests: u64,
    /// Calls that only their clients end.
    watches: usize,
    prepared: Prepared,
    events: Vec<ServerEvent>,
    replies: Vec<Reply>,
    /// The connection ends as soon as what is queued is written.
    is_cut: bool,
}

impl Streams {
    /// A connection without requests.
    pub(super) fn new(facts: Facts, thread: Rc<Thread>) -> Self {
        let server = Server::new(ServerOptions {
            max_streams: STREAMS_MAX,
            window: WINDOW_BYTES,
            frame_bytes_max: FRAME_BYTES_MAX,
            connect_protocol: false,
        });
        Streams {
            server,
            facts,
            thread,
            exchanges: HashMap::new(),
            due: BTreeSet::new(),
            ready: VecDeque::new(),
            blocked: Vec::new(),
            requests: 0,
            watches: 0,
            prepared: Prepared::default(),
            events: Vec::new(),
            replies: Vec::new(),
            is_cut: false,
        }
    }

    /// What goes first.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        self.server.begin(out);
    }

    /// Takes bytes that came.
    ///
    /// # Errors
    /// The client breaks the protocol; `out` has what to tell it before the end.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut events = std::mem::take(&mut self.events);
        let outcome = self.server.feed(bytes, out, &mut events);
        for event in events.drain(..) {
            self.on_event(event, out);
        }
        self.events = events;
        // Windows may have opened.
        self.ready.extend(self.blocked.drain(..));
        outcome
    }

    /// Does what can be done at `now`. Says whether it stopped only to have the output written.
    pub(super) fn advance(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        while let Some(&(at, stream)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.ready.push_back(stream);
        }
        while let Some(stream) = self.ready.pop_front() {
            self.run(stream, now, out);
            if out.len() >= OUTPUT_BYTES {
                return true;
            }
        }
        if self.thread.shared.is_stopping() && !self.server.is_closing() {
            self.server.go_away(out);
        }
        false
    }

    /// When something is to be done that is not now.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a request is in progress whose end is the origin's to give.
    pub(super) fn is_busy(&self) -> bool {
        self.server.open_streams() > self.watches
    }

    /// Whether the connection is to end now.
    pub(super) fn is_over(&self) -> bool {
        self.is_cut || (self.server.is_closing() && self.server.open_streams() == 0)
    }

    fn on_event(&mut self, event: ServerEvent, out: &mut Vec<u8>) {
        match event {
            ServerEvent::Head { stream, fields, end } => self.on_head(stream, fields, end, out),
            ServerEvent::Data { stream, bytes, end } => {
                let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
                exchange.on_content(&bytes, &mut self.replies);
                if !self.replies.is_empty() {
                    self.on_replies(stream);
                }
                if end {
                    self.on_whole(stream);
                }
            }
            ServerEvent::Trailers { stream, fields } => {
                let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
                exchange.trailers = Some(fields);
                self.on_whole(stream);
            }
            ServerEvent::Reset { stream } | ServerEvent::Rejected { stream, .. } => self.remove(stream),
        }
    }

    fn on_head(&mut self, stream: u32, fields: Fields, end: bool, out: &mut Vec<u8>) {
        self.requests += 1;
        let is_steady = end && self.thread.shared.is_steady() && !self.thread.shared.is_stopping();
        if is_steady && self.prepared.answer(stream, &fields, &mut self.server, out) {
            return;
        }
        let expects = !end && fields.value("expect").is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
        let exchange = match Exchange::new(fields, self.requests, &self.thread) {
            Ok(exchange) => exchange,
            Err((status, why)) => {
                let body = format!("{{\"error\":\"{why}\"}}\n");
                let length = body.len().to_string();
                let fields = [
                    ("x-served-by", self.thread.label.as_str()),
                    ("content-type", "application/json"),
                    ("content-length", &length),
                ];
                self.server.answer(stream, status, &fields, false, out);
                self.server.data(stream, body.as_bytes(), true, out);
                return;
            }
        };
        if expects {
            self.server.interim::<&str, &str>(stream, 100, &[], out);
        }
        self.watches += usize::from(exchange.call.as_ref().is_some_and(Call::is_watch));
        self.exchanges.insert(stream, exchange);
        if end {
            self.on_whole(stream);
        }
    }

    /// The request is complete.
    fn on_whole(&mut self, stream: u32) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        if let Some(call) = &mut exchange.call {
            call.end(&self.thread.shared.name, &mut self.replies);
            return self.on_replies(stream);
        }
        self.thread.strike(&mut exchange.plan);
        let at = self.thread.ready(&exchange.plan);
        exchange.steps.push_back((at, Step::Answer));
        self.ready.push_back(stream);
    }

    /// Queues what a call answers. Messages wait as requests do; a status waits only where it is all.
    fn on_replies(&mut self, stream: u32) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return self.replies.clear() };
        for reply in self.replies.drain(..) {
            let waits =
                matches!(reply, Reply::Message(_)) || exchange.steps.is_empty() && !exchange.is_answered;
            let at = if waits { self.thread.ready(&exchange.plan) } else { None };
            exchange.waiting_bytes += reply.message_bytes();
            exchange.steps.push_back((at, Step::Reply(reply)));
        }
        self.ready.push_back(stream);
    }

    /// Does what a stream has to do, as far as it can at `now`.
    fn run(&mut self, stream: u32, now: Instant, out: &mut Vec<u8>) {
        while out.len() < OUTPUT_BYTES {
            let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
            if exchange.waiting_bytes > ECHO_WAITING_BYTES_MAX {
                self.server.reset(stream, ENHANCE_YOUR_CALM, out);
                return self.remove(stream);
            }
            match exchange.steps.front() {
                None => return,
                Some((Some(at), _)) if *at > now => {
                    self.due.insert((*at, stream));
                    return;
                }
                Some(_) => {}
            }
            match exchange.steps.pop_front() {
                None => return,
                Some((_, Step::Answer)) => self.answer(stream, out),
                Some((_, Step::Reply(reply))) => self.reply(stream, reply, out),
                Some((_, Step::Body(sending))) => {
                    if !self.send(stream, sending, now, out) {
                        return;
                    }
                }
            }
        }
        self.ready.push_front(stream);
    }

    /// Begins the answer of a request that is not gRPC.
    fn answer(&mut self, stream: u32, out: &mut Vec<u8>) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        let (kind, source, length, is_announced) = exchange.content(&self.facts, &self.thread);
        let plan = &exchange.plan;
        let digits = length.to_string();
        let mut fields = vec![("x-served-by", self.thread.label.as_str())];
        if has_content(plan.status) {
            fields.push(("content-type", kind));
            fields.extend(is_announced.then_some(("content-length", digits.as_str())));
        }
        let has_body = text(&exchange.fields, ":method") != "HEAD" && has_content(plan.status);
        let length = if has_body { length } else { 0 };
        let end = plan.cut.map_or(length, |cut| cut.sent(length));
        let ends = plan.cut.is_none() && end == 0;
        self.server.answer(stream, plan.status, &fields, ends, out);
        if exchange.body_length == 0 && self.thread.shared.is_steady() {
            self.prepared.keep(&exchange.fields, plan, &fields, &source, length);
        }
        if plan.close || self.thread.shared.is_stopping() {
            self.server.go_away(out);
        }
        let sending = Sending { source, sent: 0, end, pace: plan.rate.map(Pace::start) };
        exchange.is_answered = true;
        exchange.steps.push_back((None, Step::Body(sending)));
        if ends {
            self.remove(stream);
        }
    }

    /// Sends more of a body; says whether the stream may go on with its next step.
    fn send(&mut self, stream: u32, mut sending: Sending, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return false };
        let cut = exchange.plan.cut;
        let mut at = None;
        while sending.sent < sending.end && out.len() < OUTPUT_BYTES && self.server.pending(stream) == 0 {
            let most = sending.pace.map_or(PIECE_BYTES, Pace::piece_bytes);
            let most = most.min(PIECE_BYTES).min(sending.end - sending.sent);
            if let Some(due) = sending.pace.map(|pace| pace.due(sending.sent + most)).filter(|due| *due > now)
            {
                at = Some(due);
                break;
            }
            let piece = sending.source.piece(sending.sent, most);
            sending.sent += piece.len() as u64;
            let is_last = cut.is_none() && sending.sent == sending.end;
            self.server.data(stream, piece, is_last, out);
        }
        let pending = self.server.pending(stream);
        if sending.sent == sending.end && (cut.is_none() || pending == 0) {
            match cut {
                None => {}
                Some(Cut::Reset) => self.server.reset(stream, INTERNAL_ERROR, out),
                Some(Cut::After(_)) => self.is_cut = true,
            }
            self.remove(stream);
            return false;
        }
        exchange.steps.push_front((at, Step::Body(sending)));
        if pending > 0 {
            self.blocked.push(stream);
            return false;
        }
        true
    }

    /// Sends what a call answers.
    fn reply(&mut self, stream: u32, reply: Reply, out: &mut Vec<u8>) {
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        exchange.waiting_bytes -= reply.message_bytes();
        let is_first = !std::mem::replace(&mut exchange.is_answered, true);
        let is_reset = exchange.plan.cut == Some(Cut::Reset);
        let failed = grpc::status_for(exchange.plan.status);
        let (reply, whole) = match reply {
            _ if is_first && failed != grpc::status::OK => {
                (Reply::Status(failed, "by the origin's script"), true)
            }
            Reply::Status(code, why) if is_first && code != grpc::status::OK => {
                (Reply::Status(code, why), true)
            }
            reply => (reply, false),
        };
        if let (Reply::Status(code, why), true) = (&reply, whole) {
            // Head and trailers in one: nothing else comes.
            let code = code.to_string();
            let kind = text(&exchange.fields, "content-type");
            let fields = [
                ("x-served-by", self.thread.label.as_str()),
                ("content-type", kind),
                ("grpc-status", &code),
                ("grpc-message", why),
            ];
            self.server.answer(stream, 200, &fields, true, out);
            return self.remove(stream);
        }
        if is_first {
            let block = self.prepared.call_head(&exchange.fields, &self.thread.label);
            self.server.answer_block(stream, block, false, out);
        }
        if is_reset {
            self.server.reset(stream, INTERNAL_ERROR, out);
            return self.remove(stream);
        }
        match reply {
            Reply::Message(message) => {
                if self.server.data_shared(stream, &message, false, out) > ECHO_WAITING_BYTES_MAX {
                    self.server.reset(stream, ENHANCE_YOUR_CALM, out);
                    self.remove(stream);
                }
            }
            Reply::Status(code, why) => {
                let code = code.to_string();
                let fields = [("grpc-status", code.as_str()), ("grpc-message", why)];
                let sent = if why.is_empty() { 1 } else { 2 };
                self.server.trailers(stream, &fields[..sent], out);
                if self.thread.shared.is_stopping() {
                    self.server.go_away(out);
                }
                self.remove(stream);
            }
        }
    }

    fn remove(&mut self, stream: u32) {
        let Some(exchange) = self.exchanges.remove(&stream) else { return };
        if let Some((Some(at), _)) = exchange.steps.front() {
            self.due.remove(&(*at, stream));
        }
        self.watches -= usize::from(exchange.call.is_some_and(|call| call.is_watch()));
    }
}
