//! The proxy of the simulation: the machines of `http::h1` wired together, without any I/O.
//!
//! It does what a shard does with one client connection: read a request, take an idle upstream connection
//! or make one, relay both bodies, and ask the `Exchange` what becomes of everything.
//!
//! Invariants: it keeps a request's bytes while they are few, so that it may be sent again; beyond that it
//! says that the body was streamed.
//!
//! Not here: pools' accounting, timers, buffers.

use super::wire::{Active, Link, Wire};
use super::{Make, Outcome, Report};
use crate::fault::Fault;
use crate::http::h1::body::{BodyReader, Emit};
use crate::http::h1::conn::{Answer, Closed, Reuse};
use crate::http::h1::encode::{
    CHUNK_END, Forwarding, LAST_CHUNK, encode_chunk_size, encode_interim, encode_own, encode_request,
    encode_response,
};
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use crate::http::{HeaderEdits, Method, RequestHead, ResponseHead};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };
/// Beyond this much the request is no longer kept for another try.
const REPLAY_BYTES_MAX: usize = 200;
/// Tries after the first.
const RETRIES_MAX: u32 = 2;

/// The proxy's side of one client connection.
pub(super) struct Proxy {
    make: Make,
    client: Vec<u8>,
    closed: bool,
    draining: bool,
    active: Option<Active>,
    idle: Vec<usize>,
    connections: usize,
    aborted: u64,
    wires: Vec<Wire>,
}

impl Proxy {
    pub(super) fn new(make: Make) -> Self {
        Proxy {
            make,
            client: Vec::new(),
            closed: false,
            draining: false,
            active: None,
            idle: Vec::new(),
            connections: 0,
            aborted: 0,
            wires: Vec::new(),
        }
    }

    /// A new client connection; upstream connections are kept.
    pub(super) fn open(&mut self) {
        debug_assert!(self.active.is_none());
        self.client.clear();
        self.closed = false;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How often a response was broken off.
    pub(super) fn aborted(&self) -> u64 {
        self.aborted
    }

    pub(super) fn describe(&self) -> String {
        let active = self.active.as_ref();
        let link = active.map(|active| format!("{:?} of request {}", active.link, active.id));
        format!("unread {:?}, link {link:?}", String::from_utf8_lossy(&self.client))
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        if let Some(active) = &mut self.active {
            active.exchange.on_drain();
        }
    }

    pub(super) fn client_bytes(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.client.extend_from_slice(bytes);
        }
    }

    /// The client is gone: nobody waits for the answer.
    pub(super) fn client_vanishes(&mut self) {
        self.closed = true;
        if let Some(mut active) = self.active.take() {
            active.exchange.on_downstream_closed();
            self.let_go(&active);
        }
    }

    pub(super) fn connected(&mut self, place: usize) -> Outcome {
        if let Some(active) = &mut self.active
            && matches!(active.link, Link::Connecting(wanted) if wanted == place)
        {
            active.link = Link::Open { place, reused: false };
            return Ok(());
        }
        self.idle.push(place);
        Ok(())
    }

    pub(super) fn connect_failed(&mut self, place: usize) -> Outcome {
        if let Some(active) = &mut self.active
            && matches!(active.link, Link::Connecting(wanted) if wanted == place)
        {
            active.link = Link::None;
            self.fail(Fault::ConnectFailed, false);
        }
        Ok(())
    }

    pub(super) fn upstream_bytes(&mut self, place: usize, bytes: &[u8]) -> Outcome {
        if let Some(active) = &mut self.active
            && matches!(active.link, Link::Open { place: mine, .. } if mine == place)
        {
            active.inbox.extend_from_slice(bytes);
            active.exchange.on_response_bytes();
            return Ok(());
        }
        // A surprise on an idle connection: whatever it is, it belongs to nothing.
        self.idle.retain(|&idle| idle != place);
        self.wires.push(Wire::CloseUpstream { place });
        Ok(())
    }

    pub(super) fn upstream_closed(&mut self, place: usize) -> Outcome {
        self.idle.retain(|&idle| idle != place);
        let Some(active) = &mut self.active else { return Ok(()) };
        let Link::Open { place: mine, reused } = active.link else { return Ok(()) };
        if mine != place {
            return Ok(());
        }
        match active.exchange.on_upstream_closed(reused) {
            Closed::Complete => {
                let rechunk = active.response.as_mut().is_some_and(|(reader, rechunk)| {
                    let ended = reader.on_eof();
                    debug_assert!(ended.is_ok());
                    *rechunk
                });
                if rechunk {
                    self.wires.push(Wire::Client { bytes: LAST_CHUNK.to_vec(), ended: false });
                }
                self.finish();
            }
            Closed::Fault(fault) => {
                active.link = Link::None;
                self.fail(fault, reused);
            }
            Closed::After => {}
        }
        Ok(())
    }

    /// Does everything that can be done now. Returns what is to be done to the wires.
    pub(super) fn pump(&mut self, report: &mut Report) -> Outcome<Vec<Wire>> {
        loop {
            let before = (self.client.len(), self.wires.len(), self.active.is_some());
            if self.active.is_none() && !self.closed {
                self.begin()?;
            }
            self.relay_request();
            self.relay_response(report);
            if before == (self.client.len(), self.wires.len(), self.active.is_some()) {
                break;
            }
        }
        Ok(std::mem::take(&mut self.wires))
    }

    /// Reads the next request's head and finds it a connection.
    fn begin(&mut self) -> Outcome {
        let mut head = RequestHead::new();
        match parse_request(&self.client, &LIMITS, &mut head) {
            Ok(Progress::Partial) => return Ok(()),
            Err(error) => return Err(format!("a valid request was refused: {error:?}")),
            Ok(Progress::Complete) => {}
        }
        let bytes = head.bytes(&self.client);
        let id = head.fields.iter().find(|field| field.name.of(bytes) == b"X-Id");
        let id = id.and_then(|field| std::str::from_utf8(field.value.of(bytes)).ok()?.parse().ok());
        let mut replay = Vec::new();
        let fwd = Forwarding { peer_ip: b"192.0.2.1", proto: b"http", ..Forwarding::default() };
        encode_request(&mut replay, bytes, &head, None, &fwd, &HeaderEdits::empty(), head.framing);
        let mut exchange = (self.make)(&head, self.draining, false);
        let body = BodyReader::new(head.framing, Emit::Framed);
        if body.is_done() {
            exchange.on_request_body_done();
        }
        let active = Active {
            id: id.ok_or("a request without X-Id")?,
            method: head.method,
            exchange,
            body,
            replay,
            sent: 0,
            streamed: false,
            link: Link::None,
            inbox: Vec::new(),
            response: None,
            tries: 0,
        };
        self.client.drain(..head.body_start());
        self.active = Some(active);
        self.connect();
        Ok(())
    }

    /// Takes the connection that was idle last, or makes one.
    fn connect(&mut self) {
        let Some(active) = &mut self.active else { return };
        active.sent = 0;
        active.inbox.clear();
        active.link = match self.idle.pop() {
            Some(place) if active.tries == 0 => Link::Open { place, reused: true },
            other => {
                self.idle.extend(other);
                let place = self.connections;
                self.connections += 1;
                self.wires.push(Wire::Connect { place });
                Link::Connecting(place)
            }
        };
    }

    /// Takes what there is of the request's body and sends what the upstream does not have.
    fn relay_request(&mut self) {
        let Some(active) = &mut self.active else { return };
        if !active.body.is_done() && !self.client.is_empty() {
            match active.body.feed(&mut self.client) {
                Ok(fed) => {
                    active.replay.extend_from_slice(&self.client[..fed.kept]);
                    self.client.drain(..fed.consumed);
                    if fed.done {
                        active.replay.extend_from_slice(active.body.tail());
                        active.exchange.on_request_body_done();
                    }
                }
                Err(_) => active.exchange.on_request_body_error(),
            }
        }
        let Link::Open { place, .. } = active.link else { return };
        let unsent = active.replay.get(active.sent..).unwrap_or(&[]).to_vec();
        if unsent.is_empty() {
            return;
        }
        active.exchange.on_request_sent();
        active.sent = active.replay.len();
        if active.replay.len() > REPLAY_BYTES_MAX || active.streamed {
            active.streamed = true;
            active.replay.clear();
            active.sent = 0;
            active.exchange.on_request_streamed();
        }
        self.wires.push(Wire::Upstream { place, id: active.id, bytes: unsent });
    }

    /// Passes on what there is of the response.
    fn relay_response(&mut self, report: &mut Report) {
        while let Some(active) = &mut self.active {
            let Link::Open { place, reused } = active.link else { return };
            if let Some((reader, rechunk)) = &mut active.response {
                let Ok(fed) = reader.feed(&mut active.inbox) else {
                    active.exchange.on_response_error();
                    self.wires.push(Wire::CloseUpstream { place });
                    self.abort();
                    return;
                };
                let mut bytes = Vec::new();
                if *rechunk && fed.kept > 0 {
                    encode_chunk_size(&mut bytes, fed.kept);
                }
                bytes.extend_from_slice(&active.inbox[..fed.kept]);
                if *rechunk && fed.kept > 0 {
                    bytes.extend_from_slice(CHUNK_END);
                }
                active.inbox.drain(..fed.consumed);
                if fed.done {
                    bytes.extend_from_slice(reader.tail());
                }
                if !bytes.is_empty() {
                    self.wires.push(Wire::Client { bytes, ended: false });
                }
                if !fed.done {
                    return;
                }
                let surplus = !active.inbox.is_empty();
                report.surplus += u64::from(surplus);
                active.exchange.on_response_done(surplus);
                self.finish();
                return;
            }
            if active.inbox.is_empty() {
                return;
            }
            let mut head = ResponseHead::new();
            let answer = match parse_response(&active.inbox, &LIMITS, active.method, &mut head) {
                Ok(Progress::Partial) => return,
                Ok(Progress::Complete) => active.exchange.on_response_head(&head, || false),
                Err(error) => Err(error.upstream_fault()),
            };
            let mut bytes = Vec::new();
            match answer {
                Ok(Answer::Interim { forward }) => {
                    if forward {
                        encode_interim(&mut bytes, &active.inbox, &head);
                    }
                }
                Ok(Answer::Final { frame, emit, rechunk }) => {
                    report.early += u64::from(!active.body.is_done());
                    encode_response(&mut bytes, &active.inbox, &head, &frame, &HeaderEdits::empty());
                    active.response = Some((BodyReader::new(head.framing, emit), rechunk));
                }
                Ok(Answer::Switching { .. }) | Err(_) => {
                    active.link = Link::None;
                    self.wires.push(Wire::CloseUpstream { place });
                    self.fail(Fault::UpstreamMalformed, reused);
                    return;
                }
            }
            active.inbox.drain(..head.len);
            if !bytes.is_empty() {
                self.wires.push(Wire::Client { bytes, ended: false });
            }
        }
    }

    /// The attempt failed: try again, answer ourselves, or break off.
    fn fail(&mut self, fault: Fault, reused: bool) {
        let Some(active) = &mut self.active else { return };
        if active.exchange.may_retry(fault, reused) && active.tries < RETRIES_MAX {
            active.tries += 1;
            active.exchange.on_retry();
            self.connect();
            return;
        }
        if active.response.is_some() {
            self.abort();
            return;
        }
        let keep = active.exchange.on_own_answer();
        let status = fault.row().status;
        let mut bytes = Vec::new();
        encode_own(&mut bytes, status, &[(b"X-Own", b"1")], b"own", keep, active.method == Method::Head);
        self.wires.push(Wire::Client { bytes, ended: false });
        self.finish();
    }

    /// The exchange is over: both connections become what it says.
    fn finish(&mut self) {
        let Some(active) = self.active.take() else { return };
        self.let_go(&active);
        if active.exchange.downstream() == Reuse::Close {
            self.closed = true;
            self.client.clear();
            self.wires.push(Wire::Client { bytes: Vec::new(), ended: true });
        }
    }

    fn let_go(&mut self, active: &Active) {
        match active.link {
            Link::Open { place, .. } if active.exchange.upstream() == Reuse::Keep => self.idle.push(place),
            Link::Open { place, .. } => self.wires.push(Wire::CloseUpstream { place }),
            Link::Connecting(_) | Link::None => {}
        }
    }

    /// The client's connection is reset: what it got is not whole, and it can tell.
    fn abort(&mut self) {
        self.active = None;
        self.closed = true;
        self.aborted += 1;
    }
}
