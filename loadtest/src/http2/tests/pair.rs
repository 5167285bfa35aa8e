//! Client and server against each other through pipes that cut and delay, with windows of all sizes: a
//! seed decides everything. An accountant beside each side follows the windows by what is on the wire.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::http2::client::Cause;
use crate::http2::frame::{Header, WINDOW_MAX, code, kind, setting};
use crate::random::Random;

/// What one side may send, by the frames that reached it.
struct Accountant {
    /// Bytes of frames that are not whole yet.
    heard: Vec<u8>,
    connection: i64,
    initial: i64,
    streams: BTreeMap<u32, i64>,
}

impl Accountant {
    fn new() -> Self {
        Accountant { heard: Vec::new(), connection: 65_535, initial: 65_535, streams: BTreeMap::new() }
    }

    fn on_heard(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        while let Some(header) = self.heard.first_chunk() {
            let header = Header::parse(header);
            if self.heard.len() < 9 + header.length {
                return;
            }
            let payload: Vec<u8> = self.heard.drain(..9 + header.length).skip(9).collect();
            let number = |bytes: &[u8]| bytes.iter().fold(0_i64, |sum, &byte| sum << 8 | i64::from(byte));
            match (header.kind, header.stream) {
                (kind::WINDOW_UPDATE, 0) => self.connection += number(&payload),
                (kind::WINDOW_UPDATE, stream) => {
                    *self.streams.entry(stream).or_insert(self.initial) += number(&payload);
                }
                (kind::SETTINGS, _) if header.flags == 0 => {
                    for pair in payload.chunks(6) {
                        if number(&pair[..2]) == i64::from(setting::INITIAL_WINDOW_SIZE) {
                            let change = number(&pair[2..]) - self.initial;
                            self.initial += change;
                            self.streams.values_mut().for_each(|window| *window += change);
                        }
                    }
                }
                _ => {}
            }
            assert!(self.connection <= i64::from(WINDOW_MAX));
        }
    }

    fn on_said(&mut self, bytes: &[u8]) {
        for (kind, _, stream, payload) in frames(bytes) {
            assert!(payload.len() <= 16_384, "a frame above the peer's limit");
            if kind == kind::DATA {
                let window = self.streams.entry(stream).or_insert(self.initial);
                *window -= payload.len() as i64;
                self.connection -= payload.len() as i64;
                assert!(payload.is_empty() || *window >= 0, "stream {stream} beyond its window");
                assert!(self.connection >= 0, "beyond the connection's window");
            }
        }
    }
}

/// What the server's application has to do for one stream.
#[derive(Default)]
struct Task {
    path: u32,
    received: Vec<u8>,
    is_complete: bool,
    is_answered: bool,
    left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Waiting,
    Answered,
    Failed,
}

struct Run {
    random: Random,
    client: Client,
    server: Server,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    accountants: (Accountant, Accountant),
    tasks: BTreeMap<u32, Task>,
    /// Of each ticket: how much was asked to be sent, and what became of it.
    tickets: Vec<(usize, Outcome)>,
    resets: bool,
    body_max: usize,
    intact: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let windows = [1, 7, 100, 1_000, 65_535, 200_000];
        let mut pick = |choices: &[u32]| choices[random.bits() as usize % choices.len()];
        let (client_window, server_window) = (pick(&windows), pick(&windows));
        let max_streams = pick(&[1, 2, 5, 30]);
        let body_max = (client_window.min(server_window) as usize * 30).clamp(50, 150_000);
        Run {
            client: Client::new(ClientOptions {
                window: client_window,
                max_streams: pick(&[1, 4, 100]),
                ..CLIENT
            }),
            server: Server::new(ServerOptions { window: server_window, max_streams, ..SERVER }),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            accountants: (Accountant::new(), Accountant::new()),
            tasks: BTreeMap::new(),
            tickets: Vec::new(),
            resets: pick(&[0, 1]) == 1,
            body_max,
            intact: 0,
            random,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.bits() as usize % bound.max(1)
    }

    /// The client wrote; it goes on the wire.
    fn client_said(&mut self, bytes: &[u8]) {
        self.accountants.0.on_said(bytes.strip_prefix(&frame::PREFACE[..]).unwrap_or(bytes));
        self.to_server.extend(bytes);
    }

    fn server_said(&mut self, bytes: &[u8]) {
        self.accountants.1.on_said(bytes);
        self.to_client.extend(bytes);
    }

    fn start(&mut self) {
        let mut out = Vec::new();
        self.client.begin(&mut out);
        self.client_said(&out);
        out.clear();
        self.server.begin(&mut out);
        self.server_said(&out);
    }

    fn ask(&mut self) {
        let ticket = self.tickets.len() as u32;
        let length = if self.below(3) == 0 { 0 } else { self.below(self.body_max) };
        let mut out = Vec::new();
        let path = format!("/{ticket}");
        let block = encode_request(&[(":method", "PUT"), (":scheme", "http"), (":path", &path)]);
        if self.below(3) > 0 {
            self.client.request(ticket, &block, &body(length, ticket), &mut out);
        } else {
            self.client.open_stream(ticket, &block, &mut out);
            let (first, second) = (self.below(length), body(length, ticket));
            self.client.send_message(ticket, &Arc::from(&second[..first]), &mut out);
            self.client.send_message(ticket, &Arc::from(&second[first..]), &mut out);
            self.client.finish_stream(ticket, &mut out);
        }
        self.tickets.push((length, Outcome::Waiting));
        self.client_said(&out);
    }

    fn deliver(&mut self, to_server: bool) {
        let most = 1 + self.below(3) * 7 + self.below(2) * self.below(30_000);
        let mut out = Vec::new();
        if to_server {
            let bytes: Vec<u8> = self.to_server.drain(..most.min(self.to_server.len())).collect();
            let mut events = Vec::new();
            self.accountants.1.on_heard(&bytes);
            assert_eq!(self.server.feed(&bytes, &mut out, &mut events), Ok(()));
            events.into_iter().for_each(|event| self.on_server_event(event));
            self.server_said(&out);
        } else {
            let bytes: Vec<u8> = self.to_client.drain(..most.min(self.to_client.len())).collect();
            let mut events = Vec::new();
            self.accountants.0.on_heard(&bytes);
            assert_eq!(self.client.feed(&bytes, &mut out, &mut events), Ok(()));
            events.into_iter().for_each(|event| self.on_client_event(event));
            self.client_said(&out);
        }
    }

    fn on_server_event(&mut self, event: ServerEvent) {
        match event {
            ServerEvent::Head { stream, fields, end } => {
                let path = fields.value(":path").and_then(|path| std::str::from_utf8(&path[1..]).ok());
                let path = path.and_then(|path| path.parse().ok()).unwrap_or(u32::MAX);
                // In whole messages of nothing, for the calls that count messages.
                let left = self.below(self.body_max) / 5 * 5;
                self.tasks.insert(stream, Task { path, is_complete: end, left, ..Task::default() });
            }
            ServerEvent::Data { stream, bytes, end } => {
                if let Some(task) = self.tasks.get_mut(&stream) {
                    task.received.extend(bytes);
                    task.is_complete = end;
                }
            }
            ServerEvent::Reset { stream } => {
                self.tasks.remove(&stream);
            }
            other => panic!("{other:?}"),
        }
    }

    fn on_client_event(&mut self, event: ClientEvent) {
        let (ticket, outcome) = match event {
            ClientEvent::Answered { ticket, status, grpc_status, content_bytes, .. } => {
                assert_eq!((status, grpc_status), (200, Some((content_bytes % 7) as u16)));
                (ticket, Outcome::Answered)
            }
            ClientEvent::Failed { ticket, cause } => {
                let reset = Cause::Reset(code::CANCEL);
                assert!(self.resets && cause == reset || cause == Cause::Unprocessed, "{cause:?}");
                (ticket, Outcome::Failed)
            }
            ClientEvent::Message { .. } => return,
        };
        let before = std::mem::replace(&mut self.tickets[ticket as usize].1, outcome);
        assert_eq!(before, Outcome::Waiting, "two outcomes of ticket {ticket}");
    }

    /// The application does something about one of its streams.
    fn serve(&mut self) {
        let at = self.below(self.tasks.len());
        let Some((&stream, task)) = self.tasks.iter().nth(at) else { return };
        if !task.is_complete {
            return;
        }
        if !task.is_answered {
            assert_eq!(task.received[..], body(self.tickets[task.path as usize].0, task.path)[..]);
        }
        let mut out = Vec::new();
        if self.resets && self.below(20) == 0 {
            self.server.reset(stream, code::CANCEL, &mut out);
            self.tasks.remove(&stream);
            return self.server_said(&out);
        }
        let (now, interim) = (1 + self.below(self.body_max), self.below(4) == 0);
        let Some(task) = self.tasks.get_mut(&stream) else { return };
        if !task.is_answered {
            task.is_answered = true;
            // The length modulo 7 is the status: it proves that the content arrived whole.
            task.received = (task.left % 7).to_string().into_bytes();
            self.intact += 1;
            if interim {
                self.server.interim(stream, 102, &[("x", "y")], &mut out);
            }
            self.server.answer(stream, 200, &[("content-length", task.left.to_string())], false, &mut out);
        } else {
            let now = now.min(task.left);
            task.left -= now;
            self.server.data(stream, &vec![0; now], false, &mut out);
            if task.left == 0 {
                self.server.trailers(stream, &[("grpc-status", &task.received[..])], &mut out);
                self.tasks.remove(&stream);
            }
        }
        self.server_said(&out);
    }

    fn cancel(&mut self) {
        let ticket = self.below(self.tickets.len()) as u32;
        let Some(state) = self.tickets.get_mut(ticket as usize) else { return };
        if state.1 == Outcome::Waiting {
            state.1 = Outcome::Failed;
            let mut out = Vec::new();
            self.client.cancel(ticket, &mut out);
            self.client_said(&out);
        }
    }

    fn whole(&mut self, requests: usize) {
        self.start();
        // The preface is no frame: the server's accountant starts behind it.
        let preface: Vec<u8> = self.to_server.drain(..frame::PREFACE.len()).collect();
        let (mut out, mut events) = (Vec::new(), Vec::new());
        assert_eq!(self.server.feed(&preface, &mut out, &mut events), Ok(()));
        for step in 0.. {
            assert!(step < 2_000_000, "it hangs");
            match self.below(6) {
                0 if self.tickets.len() < requests && self.client.room() > 0 => self.ask(),
                1 | 2 => self.deliver(true),
                3 | 4 => self.deliver(false),
                _ if self.resets && self.below(40) == 0 => self.cancel(),
                _ => self.serve(),
            }
            let is_idle = self.to_server.is_empty() && self.to_client.is_empty();
            if self.tickets.len() == requests && is_idle && self.client.in_flight() == 0 {
                break;
            }
        }
        assert!(self.tickets.iter().all(|ticket| ticket.1 != Outcome::Waiting));
        assert_eq!(self.server.open_streams(), 0);
        if !self.resets {
            assert!(self.tasks.is_empty());
        }
    }
}

#[test]
fn all_bytes_arrive_within_all_windows() {
    let mut intact = 0;
    for seed in 1..=60 {
        let result = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            run.whole(25);
            run.intact
        });
        match result {
            Ok(found) => intact += found,
            Err(cause) => {
                println!("seed {seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    assert!(intact > 800, "only {intact} requests arrived");
}
