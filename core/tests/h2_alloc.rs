//! An HTTP/2 connection allocates nothing in steady state, in both roles, whatever its streams do and however the
//! bytes are torn.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test")]

use pinion_core::http::h1::encode::Forwarding;
use pinion_core::http::h1::parse::{HeadLimits, Progress, parse_request};
use pinion_core::http::h2::frame::ErrorCode;
use pinion_core::http::h2::head::{encode_own, encode_request};
use pinion_core::http::h2::{Connection, Event, Key, Limits, Scratch, Sent};
use pinion_core::http::{Framing, HeaderEdits, Method, RequestHead, ResponseHead};
use pinion_core::time::Instant;

const REQUEST: &[u8] = b"POST /api/products/17?page=2 HTTP/1.1\r\nHost: my-service.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\r\n";
static BODY: [u8; 20_000] = [b'x'; 20_000];

struct Pair {
    client: Connection,
    server: Connection,
    /// From client to server, and back.
    up: Vec<u8>,
    down: Vec<u8>,
    text: Vec<u8>,
    request: Box<RequestHead>,
    response: Box<ResponseHead>,
    asked: Box<RequestHead>,
    piece: usize,
    number: u64,
    now: u64,
}

/// What is to be done on a stream of the server's.
#[derive(Clone, Copy)]
struct Answer {
    key: Key,
    sent: usize,
    head: bool,
}

impl Pair {
    fn new(piece: usize) -> Self {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let client = Connection::client(Limits::client(), &mut up);
        let server = Connection::server(Limits::server(), &mut down);
        let mut asked = Box::new(RequestHead::new());
        let limits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };
        assert_eq!(parse_request(REQUEST, &limits, &mut asked), Ok(Progress::Complete));
        Pair {
            client,
            server,
            up,
            down,
            text: Vec::new(),
            request: Box::new(RequestHead::new()),
            response: Box::new(ResponseHead::new()),
            asked,
            piece,
            number: 0,
            now: 1 << 40,
        }
    }

    /// A request with content and trailers is answered with as much; every seventh is reset by one side.
    fn exchange(&mut self) {
        self.number += 1;
        self.now += 1_000_000;
        let asked = &*self.asked;
        let key = self.client.open(&mut self.up, Method::Post, false, |encoder, out| {
            let (fwd, edits) = (Forwarding::default(), HeaderEdits::empty());
            encode_request(encoder, out, REQUEST, asked, None, &fwd, &edits, b"http", Framing::Chunked);
        });
        let key = key.unwrap();
        let mut sent = 0;
        let mut answer: Option<Answer> = None;
        let mut done = false;
        let mut turns = 0;
        while !done {
            turns += 1;
            assert!(turns < 1_000, "stuck");
            if sent < BODY.len() {
                match self.client.send_data(key, &mut self.up, &BODY[sent..], false) {
                    Sent::Some(n) => sent += n,
                    Sent::Gone => break,
                }
                if sent == BODY.len() {
                    assert!(self.client.send_trailers(key, &mut self.up, b"x-sum: 1\r\n"));
                }
            }
            self.serve(&mut answer);
            if self.number.is_multiple_of(14) && turns == 2 {
                self.client.reset(key, ErrorCode::CANCEL, &mut self.up);
            }
            done = self.take();
        }
        // What is on its way when one side has reset the stream.
        self.serve(&mut None);
        self.take();
    }

    fn serve(&mut self, answer: &mut Option<Answer>) {
        let bytes = std::mem::take(&mut self.up);
        for mut piece in bytes.chunks(self.piece) {
            loop {
                let mut scratch = Scratch {
                    text: &mut self.text,
                    request: &mut self.request,
                    response: &mut self.response,
                };
                let now = Instant::from_nanos(self.now);
                let event = self.server.receive(&mut piece, now, &mut scratch, &mut self.down).unwrap();
                match event {
                    None => break,
                    Some(Event::Head { key, .. }) => *answer = Some(Answer { key, sent: 0, head: false }),
                    Some(Event::Data { key, bytes, .. }) => {
                        self.server.consumed(key, bytes.len(), &mut self.down);
                    }
                    Some(Event::Reset { .. }) => *answer = None,
                    Some(_) => {}
                }
            }
        }
        self.up = bytes;
        self.up.clear();
        while self.server.next_queued().is_some() {}
        let Some(answer) = answer else { return };
        if !answer.head {
            answer.head = true;
            self.server.send_head(answer.key, &mut self.down, false, |encoder, out| {
                encode_own(encoder, out, 200, &[(b"content-type", b"text/plain")], BODY.len() as u64);
            });
            if self.number % 7 == 3 {
                self.server.reset(answer.key, ErrorCode::CANCEL, &mut self.down);
            }
        }
        if let Sent::Some(n) = self.server.send_data(answer.key, &mut self.down, &BODY[answer.sent..], true) {
            answer.sent += n;
        }
    }

    /// The client takes what came; `true`: its stream is over.
    fn take(&mut self) -> bool {
        let mut over = false;
        let bytes = std::mem::take(&mut self.down);
        for mut piece in bytes.chunks(self.piece) {
            loop {
                let mut scratch = Scratch {
                    text: &mut self.text,
                    request: &mut self.request,
                    response: &mut self.response,
                };
                let now = Instant::from_nanos(self.now);
                let event = self.client.receive(&mut piece, now, &mut scratch, &mut self.up).unwrap();
                match event {
                    None => break,
                    Some(Event::Data { key, bytes, end }) => {
                        self.client.consumed(key, bytes.len(), &mut self.up);
                        over |= end;
                    }
                    Some(Event::Reset { .. }) => over = true,
                    Some(_) => {}
                }
            }
        }
        self.down = bytes;
        self.down.clear();
        while self.client.next_queued().is_some() {}
        over || self.client.active() == 0
    }
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    for piece in [usize::MAX, 16_384, 1_000, 13] {
        let mut pair = Pair::new(piece);
        for _ in 0..50 {
            pair.exchange();
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..200 {
                pair.exchange();
            }
        });
        assert_eq!(counted.count_total, 0, "in pieces of {piece}: {counted:?}");
        assert!(pair.number == 250 && pair.server.active() == 0 && pair.client.active() == 0);
    }
    let counted = allocation_counter::measure(|| drop(vec![1_u8; 100]));
    assert_eq!(counted.count_total, 1, "the counter counts");
}
