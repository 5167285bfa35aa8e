//! Any bytes into an HTTP/2 connection, in both roles: what must hold however a peer behaves.
//!
//! ```text
//!   input: | role, what the user does | bytes a piece | what the peer sends, after a proper greeting ...... |
//! ```

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, reason = "a failed helper fails its test")]

use pinion_core::http::h2::frame::{ErrorCode, FrameHead, HEAD_BYTES, Kind, PREFACE, flags};
use pinion_core::http::h2::head::encode_own;
use pinion_core::http::h2::{Connection, ConnectionError, Event, Key, Limits, Scratch};
use pinion_core::http::{Method, RequestHead, ResponseHead};
use pinion_core::time::Instant;

/// What came of the bytes, joined over pieces.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    heads: Vec<(u32, bool, Vec<u8>)>,
    content: Vec<(u32, Vec<u8>, bool)>,
    others: Vec<String>,
    error: Option<ConnectionError>,
}

struct User {
    machine: Connection,
    out: Vec<u8>,
    text: Vec<u8>,
    request: Box<RequestHead>,
    response: Box<ResponseHead>,
    open: Vec<Key>,
    server: bool,
    does: u8,
    seen: Seen,
}

const STREAMS: u32 = 3;

/// Two bytes that say how, then what the peer sends. Whether a head came and nothing was wrong.
pub fn check(input: &[u8]) -> bool {
    let [how, piece, bytes @ ..] = input else { return false };
    let whole = run(*how, usize::MAX, bytes);
    let torn = run(*how, usize::from(*piece).max(1), bytes);
    assert_eq!(whole, torn, "tearing changes what comes of it");
    whole.error.is_none() && !whole.heads.is_empty()
}

fn run(how: u8, piece: usize, bytes: &[u8]) -> Seen {
    let mut user = User::new(how & 1 == 0, how >> 1);
    for piece in bytes.chunks(piece.min(bytes.len().max(1))) {
        if user.feed(piece).is_err() {
            break;
        }
    }
    user.rest();
    user.seen
}

impl User {
    fn new(server: bool, does: u8) -> Self {
        let mut out = Vec::new();
        let limits = Limits { concurrent_streams: STREAMS, extended_connect: true, ..Limits::server() };
        let machine =
            if server { Connection::server(limits, &mut out) } else { Connection::client(limits, &mut out) };
        let mut user = User {
            machine,
            out,
            text: Vec::new(),
            request: Box::new(RequestHead::new()),
            response: Box::new(ResponseHead::new()),
            open: Vec::new(),
            server,
            does,
            seen: Seen::default(),
        };
        let settings = FrameHead { length: 0, kind: Kind::Settings, flags: 0, stream: 0 };
        let acknowledged = FrameHead { flags: flags::ACK, ..settings };
        let preface: &[u8] = if server { PREFACE } else { &[] };
        let hello = [preface, &settings.encode(), &acknowledged.encode()].concat();
        user.feed(&hello).unwrap();
        if !server {
            for method in [Method::Get, Method::Head, Method::Post] {
                let end = method != Method::Post;
                let opened = user.machine.open(&mut user.out, method, end, |_, out| out.push(0x82));
                user.open.extend(opened);
            }
        }
        user
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ConnectionError> {
        let now = Instant::from_nanos(1 << 40);
        loop {
            let mut scratch =
                Scratch { text: &mut self.text, request: &mut self.request, response: &mut self.response };
            let received = self.machine.receive(&mut bytes, now, &mut scratch, &mut self.out);
            match received {
                Ok(Some(event)) => {
                    self.judge(event);
                    self.queued();
                }
                Ok(None) => break,
                Err(error) => {
                    self.seen.error = Some(error);
                    return Err(error);
                }
            }
        }
        assert!(bytes.is_empty(), "bytes are left");
        self.queued();
        Ok(())
    }

    fn queued(&mut self) {
        while let Some(event) = self.machine.next_queued() {
            self.judge(event);
        }
    }

    fn judge(&mut self, event: Event<'_>) {
        assert!(self.machine.active() <= STREAMS as usize);
        match event {
            Event::Head { key, end } => {
                let head = if self.server { self.request.len } else { self.response.len };
                assert_eq!(head, self.text.len(), "the head is the text");
                assert!(self.text.ends_with(b"\r\n\r\n"));
                self.seen.heads.push((key.id(), end, self.text.clone()));
                if self.server {
                    self.answer(key);
                }
            }
            Event::Data { key, bytes, end } => {
                assert!(!bytes.is_empty() || end, "content without content");
                match self.seen.content.last_mut() {
                    Some((id, content, ends @ false)) if *id == key.id() => {
                        content.extend_from_slice(bytes);
                        *ends = end;
                    }
                    _ => self.seen.content.push((key.id(), bytes.to_vec(), end)),
                }
                self.machine.consumed(key, bytes.len(), &mut self.out);
            }
            // When it is told depends on when it is asked for.
            Event::Writable { .. } => {}
            other => self.seen.others.push(format!("{other:?}")),
        }
    }

    /// What a server does with a request follows from the input, so that streams are left in every state.
    fn answer(&mut self, key: Key) {
        let what = self.does.wrapping_add(key.id() as u8) % 5;
        let out = &mut self.out;
        match what {
            0 => {}
            1 => self.machine.reset(key, ErrorCode::CANCEL, out),
            2 => drop(
                self.machine.send_head(key, out, true, |encoder, out| encode_own(encoder, out, 204, &[], 0)),
            ),
            3 => {
                self.machine
                    .send_head(key, out, false, |encoder, out| encode_own(encoder, out, 200, &[], 70_000));
                let _ = self.machine.send_data(key, out, &[b'x'; 70_000], true);
            }
            _ => {
                self.machine.send_head(key, out, false, |encoder, out| encode_own(encoder, out, 200, &[], 0));
                self.machine.send_trailers(key, out, b"x-sum: 1\r\n");
            }
        }
    }

    /// What was written are whole frames, and a machine that gave up stays so.
    fn rest(&mut self) {
        let mut rest = self.out.strip_prefix(PREFACE).unwrap_or(&self.out);
        let mut last = Kind::Data;
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = FrameHead::parse(head);
            rest = after.get(head.length as usize..).unwrap_or_else(|| panic!("a frame is cut: {head:?}"));
            last = head.kind;
        }
        assert!(rest.is_empty());
        if let Some(error) = self.seen.error {
            assert_eq!(last, Kind::GoAway);
            assert!(self.machine.is_over() && self.machine.active() == 0);
            assert_eq!(self.feed(b"\0"), Err(error));
        }
    }
}
