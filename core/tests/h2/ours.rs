//! The machine in a task of its own, for tests against another implementation: a server that sends back what it gets,
//! and a client that keeps what it got.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use pinion_core::http::h1::encode::Forwarding;
use pinion_core::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::head::{encode_request, encode_response};
use pinion_core::http::h2::{Connection, Event, Key, Limits, Scratch, Sent};
use pinion_core::http::{Framing, HeaderEdits, Method, RequestHead, ResponseHead};
use pinion_core::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const HEAD: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };

/// What a server saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) heads: u32,
    pub(crate) resets: u32,
    pub(crate) active: usize,
    pub(crate) over: bool,
}

/// What is to be sent on one stream.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    end: bool,
    trailers: Vec<u8>,
    waits: bool,
}

/// Sends what can be sent; `true`: all of it.
fn send(machine: &mut Connection, out: &mut Vec<u8>, key: Key, outgoing: &mut Outgoing) -> bool {
    if outgoing.waits {
        return false;
    }
    let rest = &outgoing.bytes[outgoing.sent..];
    let end = outgoing.end && outgoing.trailers.is_empty();
    if !rest.is_empty() || end {
        match machine.send_data(key, out, rest, end) {
            Sent::Gone => return true,
            Sent::Some(n) => {
                outgoing.sent += n;
                outgoing.waits = outgoing.sent < outgoing.bytes.len();
            }
        }
    }
    if outgoing.waits || !outgoing.end {
        return false;
    }
    if !end {
        assert!(machine.send_trailers(key, out, &outgoing.trailers));
    }
    true
}

/// Moves bytes between a machine's user and its pipe until either is done.
async fn pump(io: DuplexStream, mut out: Vec<u8>, mut turn: impl FnMut(Option<&[u8]>, &mut Vec<u8>) -> bool) {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut room = vec![0; 8192];
    loop {
        tokio::select! {
            read = reader.read(&mut room) => {
                let n = read.unwrap_or(0);
                if n == 0 || !turn(Some(&room[..n]), &mut out) {
                    break;
                }
            }
            written = writer.write(&out), if !out.is_empty() => {
                let Ok(n) = written else { break };
                out.drain(..n);
                if !turn(None, &mut out) {
                    break;
                }
            }
        }
    }
    let _ = writer.write_all(&out).await;
}

pub(crate) struct Server {
    machine: Connection,
    text: Vec<u8>,
    request: Box<RequestHead>,
    response: Box<ResponseHead>,
    streams: HashMap<Key, Outgoing>,
    outcome: Outcome,
}

impl Server {
    /// Serves in a task of its own until the client leaves or the machine is over.
    pub(crate) fn start(limits: Limits, io: DuplexStream) -> JoinHandle<Outcome> {
        let mut out = Vec::new();
        let mut server = Server {
            machine: Connection::server(limits, &mut out),
            text: Vec::new(),
            request: Box::new(RequestHead::new()),
            response: Box::new(ResponseHead::new()),
            streams: HashMap::new(),
            outcome: Outcome::default(),
        };
        tokio::task::spawn_local(async move {
            pump(io, out, |bytes, out| server.turn(bytes, out)).await;
            Outcome { active: server.machine.active(), over: server.machine.is_over(), ..server.outcome }
        })
    }

    fn turn(&mut self, bytes: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let mut bytes = bytes.unwrap_or(&[]);
        let now = Instant::from_nanos(1 << 40);
        loop {
            let mut scratch =
                Scratch { text: &mut self.text, request: &mut self.request, response: &mut self.response };
            let event = self.machine.receive(&mut bytes, now, &mut scratch, out).expect("no fault");
            let Some(event) = event.or_else(|| self.machine.next_queued()) else { break };
            self.act(event, out);
        }
        let machine = &mut self.machine;
        self.streams.retain(|&key, outgoing| !send(machine, out, key, outgoing));
        while let Some(event) = self.machine.next_queued() {
            self.act(event, out);
        }
        !self.machine.is_over()
    }

    fn act(&mut self, event: Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Head { key, end } => self.answer(key, end, out),
            Event::Data { key, bytes, end } => {
                self.machine.consumed(key, bytes.len(), out);
                if let Some(outgoing) = self.streams.get_mut(&key) {
                    outgoing.bytes.extend_from_slice(bytes);
                    outgoing.end = end;
                }
            }
            Event::Trailers { key } => {
                if let Some(outgoing) = self.streams.get_mut(&key) {
                    outgoing.trailers = self.text.clone();
                    outgoing.end = true;
                }
            }
            Event::Reset { key, .. } => {
                self.outcome.resets += 1;
                self.streams.remove(&key);
            }
            Event::Writable { key } => {
                if let Some(outgoing) = self.streams.get_mut(&key) {
                    outgoing.waits = false;
                }
            }
            Event::GoAway { .. } | Event::Settings | Event::Pong => {}
            Event::HeadRefused { error, .. } => panic!("refused: {error:?}"),
        }
    }

    fn answer(&mut self, key: Key, end: bool, out: &mut Vec<u8>) {
        self.outcome.heads += 1;
        let text = String::from_utf8(self.text.clone()).expect("text");
        if text.contains("/reset ") {
            self.machine.reset(key, ErrorCode::CANCEL, out);
            return;
        }
        if text.contains("/drain ") {
            self.machine.drain(out);
        }
        let number = text.lines().find(|line| line.starts_with("x-number: ")).expect("x-number");
        let answer = format!("HTTP/1.1 200 OK\r\n{number}\r\n\r\n");
        let mut head = ResponseHead::new();
        let parsed = parse_response(answer.as_bytes(), &HEAD, Method::Post, &mut head);
        assert_eq!(parsed, Ok(Progress::Complete));
        let sent = self.machine.send_head(key, out, false, |encoder, out| {
            encode_response(encoder, out, answer.as_bytes(), &head, &HeaderEdits::empty(), Framing::Chunked);
        });
        assert!(sent);
        self.streams.insert(key, Outgoing { end, ..Outgoing::default() });
    }
}

/// What a client got for one request.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) interim: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

pub(crate) struct Client {
    limits: Limits,
    requests: Vec<Bytes>,
    next: u32,
    text: Vec<u8>,
    request: Box<RequestHead>,
    response: Box<ResponseHead>,
    streams: HashMap<Key, (u32, Outgoing)>,
    numbers: HashMap<Key, u32>,
    answers: BTreeMap<u32, Answer>,
    whole: usize,
}

impl Client {
    pub(crate) fn new(limits: Limits, requests: Vec<Bytes>) -> Self {
        Client {
            limits,
            requests,
            next: 0,
            text: Vec::new(),
            request: Box::new(RequestHead::new()),
            response: Box::new(ResponseHead::new()),
            streams: HashMap::new(),
            numbers: HashMap::new(),
            answers: BTreeMap::new(),
            whole: 0,
        }
    }

    /// Asks for everything, every third with trailers.
    pub(crate) async fn run(mut self, io: DuplexStream) -> BTreeMap<u32, Answer> {
        let mut out = Vec::new();
        let mut machine = Connection::client(self.limits, &mut out);
        pump(io, out, |bytes, out| self.turn(&mut machine, bytes, out)).await;
        assert_eq!(machine.active(), 0);
        self.answers
    }

    fn turn(&mut self, machine: &mut Connection, bytes: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        let mut bytes = bytes.unwrap_or(&[]);
        let now = Instant::from_nanos(1 << 40);
        loop {
            let mut scratch =
                Scratch { text: &mut self.text, request: &mut self.request, response: &mut self.response };
            let event = machine.receive(&mut bytes, now, &mut scratch, out).expect("no fault");
            let Some(event) = event.or_else(|| machine.next_queued()) else { break };
            self.act(machine, event, out);
        }
        // Before the server has said how many it takes, one.
        while machine.may_open() && (self.next as usize) < self.requests.len() {
            if self.next > 0 && machine.peer().concurrent_streams == u32::MAX {
                break;
            }
            self.ask(machine, out);
        }
        self.streams.retain(|&key, (_, outgoing)| !send(machine, out, key, outgoing));
        while let Some(event) = machine.next_queued() {
            self.act(machine, event, out);
        }
        self.whole < self.requests.len()
    }

    fn ask(&mut self, machine: &mut Connection, out: &mut Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let text = format!("POST /echo HTTP/1.1\r\nHost: sim\r\nX-Number: {number}\r\n\r\n");
        let mut head = RequestHead::new();
        assert_eq!(parse_request(text.as_bytes(), &HEAD, &mut head), Ok(Progress::Complete));
        let opened = machine.open(out, Method::Post, false, |encoder, out| {
            let (fwd, edits) = (Forwarding::default(), HeaderEdits::empty());
            encode_request(
                encoder,
                out,
                text.as_bytes(),
                &head,
                None,
                &fwd,
                &edits,
                b"http",
                Framing::Chunked,
            );
        });
        let key = opened.expect("a stream");
        let trailers = if number.is_multiple_of(3) { format!("x-sum: {number}\r\n") } else { String::new() };
        let bytes = self.requests[number as usize].to_vec();
        let outgoing = Outgoing { bytes, end: true, trailers: trailers.into_bytes(), ..Outgoing::default() };
        self.streams.insert(key, (number, outgoing));
        self.numbers.insert(key, number);
    }

    fn act(&mut self, machine: &mut Connection, event: Event<'_>, out: &mut Vec<u8>) {
        let mut ended = false;
        match event {
            Event::Head { key, end } => {
                let answer = self.answers.entry(self.numbers[&key]).or_default();
                if self.response.is_interim() {
                    answer.interim += 1;
                } else {
                    answer.status = self.response.status;
                }
                ended = end;
            }
            Event::Data { key, bytes, end } => {
                machine.consumed(key, bytes.len(), out);
                self.answers.entry(self.numbers[&key]).or_default().body.extend_from_slice(bytes);
                ended = end;
            }
            Event::Trailers { key } => {
                let text = String::from_utf8(self.text.clone()).expect("text");
                self.answers.entry(self.numbers[&key]).or_default().trailers = text;
                ended = true;
            }
            Event::Writable { key } => {
                if let Some((_, outgoing)) = self.streams.get_mut(&key) {
                    outgoing.waits = false;
                }
            }
            Event::Settings | Event::Pong => {}
            other => panic!("{other:?}"),
        }
        self.whole += usize::from(ended);
    }
}
