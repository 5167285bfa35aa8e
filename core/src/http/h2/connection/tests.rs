//! Tests of the machine: scripts of frames, and what must come of them however they are torn.
//!
//! Not here: both roles against each other (`crate::sim`), another implementation (`tests/h2_oracle.rs`).

use std::collections::BTreeMap;

use super::super::frame::{ErrorCode, FrameHead, HEAD_BYTES, Kind, PREFACE, flags};
use super::super::head::encode_own;
use super::*;
use crate::http::Method;

mod client;
mod drain;
mod floods;
mod flow;
mod frames;
mod heads;
mod states;

/// `GET / ` of host `a`; the block that most scripts send.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// The same with POST.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];
/// `:status: 200`.
const OK: &[u8] = &[0x88];
/// `x: y`, as a trailer.
const TRAILER: &[u8] = &[0x00, 1, b'x', 1, b'y'];

const END: u8 = flags::END_STREAM;
const WHOLE: u8 = flags::END_HEADERS;
const ACK: u8 = flags::ACK;

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = FrameHead { length: payload.len() as u32, kind, flags, stream }.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(Kind::Headers, flags, stream, block)
}

fn get(stream: u32) -> Vec<u8> {
    headers(stream, WHOLE | END, GET)
}

fn post(stream: u32) -> Vec<u8> {
    headers(stream, WHOLE, POST)
}

fn data(stream: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    frame(Kind::Data, flags, stream, content)
}

fn rst(stream: u32, code: ErrorCode) -> Vec<u8> {
    frame(Kind::RstStream, 0, stream, &code.0.to_be_bytes())
}

fn update(stream: u32, more: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &more.to_be_bytes())
}

fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    super::super::settings::put(&mut bytes, entries);
    bytes
}

fn goaway(last: u32, code: ErrorCode) -> Vec<u8> {
    frame(Kind::GoAway, 0, 0, &[last.to_be_bytes(), code.0.to_be_bytes()].concat())
}

/// An event without borrowed bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Head { id: u32, end: bool, text: String },
    Refused { id: u32, error: BlockError, end: bool },
    Trailers { id: u32, text: String },
    Data { id: u32, bytes: Vec<u8>, end: bool },
    Reset { id: u32, code: ErrorCode, by_peer: bool, processed: bool },
    Writable(u32),
    GoAway(ErrorCode),
    Settings,
    Pong,
}

/// What was sent: kind, flags, stream, payload.
type Frame = (Kind, u8, u32, Vec<u8>);

/// One machine with what its caller keeps.
struct Side {
    machine: Connection,
    out: Vec<u8>,
    text: Vec<u8>,
    request: RequestHead,
    response: ResponseHead,
    now: Instant,
    keys: BTreeMap<u32, Key>,
    /// Content is consumed as it comes.
    consumes: bool,
    /// Bytes given to the machine at a time.
    pieces: usize,
}

impl Side {
    fn new(machine: Connection, out: Vec<u8>) -> Self {
        Side {
            machine,
            out,
            text: Vec::new(),
            request: RequestHead::new(),
            response: ResponseHead::new(),
            now: Instant::from_nanos(1 << 40),
            keys: BTreeMap::new(),
            consumes: true,
            pieces: usize::MAX,
        }
    }

    /// A server whose client has sent its preface and SETTINGS, and acknowledged ours.
    fn server(limits: Limits) -> Self {
        let mut out = Vec::new();
        let machine = Connection::server(limits, &mut out);
        let mut side = Side::new(machine, out);
        let hello = [PREFACE.to_vec(), settings(&[]), frame(Kind::Settings, ACK, 0, &[])].concat();
        assert_eq!(side.feed(&hello), Ok(vec![Seen::Settings]));
        side.out.clear();
        side
    }

    /// A client whose server has sent its SETTINGS, and acknowledged ours.
    fn client(limits: Limits) -> Self {
        let mut out = Vec::new();
        let machine = Connection::client(limits, &mut out);
        let mut side = Side::new(machine, out);
        let hello = [settings(&[]), frame(Kind::Settings, ACK, 0, &[])].concat();
        assert_eq!(side.feed(&hello), Ok(vec![Seen::Settings]));
        side.out.clear();
        side
    }

    /// Gives it bytes, in pieces, and says what came of them; neighbouring pieces of content are joined.
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Seen>, ConnectionError> {
        let mut seen: Vec<Seen> = Vec::new();
        for piece in bytes.chunks(self.pieces.clamp(1, bytes.len().max(1))) {
            let mut rest = piece;
            loop {
                let mut scratch = Scratch {
                    text: &mut self.text,
                    request: &mut self.request,
                    response: &mut self.response,
                };
                let Some(event) = self.machine.receive(&mut rest, self.now, &mut scratch, &mut self.out)?
                else {
                    break;
                };
                if let Event::Data { key, bytes, .. } = event
                    && self.consumes
                {
                    self.machine.consumed(key, bytes.len(), &mut self.out);
                }
                let event = self.seen(event);
                match (seen.last_mut(), &event) {
                    (
                        Some(Seen::Data { id, bytes, end: end @ false }),
                        Seen::Data { id: next, bytes: more, end: ends },
                    ) if id == next => {
                        bytes.extend_from_slice(more);
                        *end = *ends;
                    }
                    _ => seen.push(event),
                }
            }
            assert_eq!(rest, b"", "everything is taken");
        }
        while let Some(event) = self.machine.next_queued() {
            let event = self.seen(event);
            seen.push(event);
        }
        Ok(seen)
    }

    fn seen(&mut self, event: Event<'_>) -> Seen {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        match event {
            Event::Head { key, end } => {
                self.keys.insert(key.id(), key);
                Seen::Head { id: key.id(), end, text }
            }
            Event::HeadRefused { key, error, end } => {
                self.keys.insert(key.id(), key);
                Seen::Refused { id: key.id(), error, end }
            }
            Event::Trailers { key } => Seen::Trailers { id: key.id(), text },
            Event::Data { key, bytes, end } => Seen::Data { id: key.id(), bytes: bytes.to_vec(), end },
            Event::Reset { key, code, by_peer, processed } => {
                Seen::Reset { id: key.id(), code, by_peer, processed }
            }
            Event::Writable { key } => Seen::Writable(key.id()),
            Event::GoAway { code } => Seen::GoAway(code),
            Event::Settings => Seen::Settings,
            Event::Pong => Seen::Pong,
        }
    }

    fn key(&self, id: u32) -> Key {
        self.keys[&id]
    }

    /// Answers 200.
    fn answer(&mut self, id: u32, end: bool) -> bool {
        let key = self.key(id);
        self.machine.send_head(key, &mut self.out, end, |encoder, out| encode_own(encoder, out, 200, &[], 0))
    }

    /// Asks with GET or POST.
    fn ask(&mut self, method: Method) -> u32 {
        let block = if method == Method::Post { POST } else { GET };
        let end = method != Method::Post;
        let opened = self.machine.open(&mut self.out, method, end, |_, out| out.extend_from_slice(block));
        let key = opened.expect("a stream");
        self.keys.insert(key.id(), key);
        key.id()
    }

    fn send(&mut self, id: u32, bytes: &[u8], end: bool) -> Sent {
        let key = self.key(id);
        self.machine.send_data(key, &mut self.out, bytes, end)
    }

    /// What it has sent since it was asked last.
    fn sent(&mut self) -> Vec<Frame> {
        let bytes = std::mem::take(&mut self.out);
        let mut rest = bytes.as_slice();
        let mut frames = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = FrameHead::parse(head);
            let (payload, after) = after.split_at(head.length as usize);
            frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
            rest = after;
        }
        assert_eq!(rest, b"", "whole frames");
        frames
    }

    /// The resets it has sent.
    fn resets(&mut self) -> Vec<(u32, ErrorCode)> {
        let code = |payload: &[u8]| ErrorCode(u32::from_be_bytes(payload.try_into().expect("4 bytes")));
        let frames = self.sent();
        let resets = frames.iter().filter(|frame| frame.0 == Kind::RstStream);
        resets.map(|(_, _, id, payload)| (*id, code(payload))).collect()
    }
}

/// What a script does besides sending frames.
enum Step {
    /// These bytes come.
    In(Vec<u8>),
    /// The server answers 200, and ends the stream or not.
    Answer(u32, bool),
    /// The server resets the stream.
    Reset(u32),
}
use Step::{Answer, In, Reset};

/// What a script must end with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comes {
    /// Nothing bad, and nothing is reset.
    Fine,
    /// A stream is reset by the machine.
    Stream(u32, ErrorCode),
    /// The connection is given up.
    Broken(ErrorCode),
}
use Comes::{Broken, Fine, Stream};

/// Runs a script against a server, whole, byte by byte and in odd pieces.
fn check(name: &str, script: &[Step], expected: Comes) {
    for pieces in [usize::MAX, 1, 7] {
        let mut side = Side::server(Limits::server());
        side.pieces = pieces;
        let mut came = Fine;
        for step in script {
            assert_eq!(came, Fine, "{name}: too early");
            match step {
                In(bytes) => {
                    if let Err(error) = side.feed(bytes) {
                        came = Broken(error.code);
                        let frames = side.sent();
                        let last = frames.last().expect("GOAWAY");
                        assert_eq!(last.0, Kind::GoAway, "{name}");
                        assert_eq!(last.3[4..], error.code.0.to_be_bytes(), "{name}");
                        assert!(side.machine.is_over(), "{name}");
                        assert_eq!(side.feed(&get(99)), Err(error), "{name}: it stays broken");
                        assert_eq!(side.out, b"", "{name}: GOAWAY once");
                    } else if let Some(&(id, code)) = side.resets().first() {
                        came = Stream(id, code);
                    }
                }
                Answer(id, end) => {
                    side.answer(*id, *end);
                    side.out.clear();
                }
                Reset(id) => {
                    let key = side.key(*id);
                    side.machine.reset(key, ErrorCode::CANCEL, &mut side.out);
                    side.out.clear();
                }
            }
        }
        assert_eq!(came, expected, "{name}, in pieces of {pieces}");
    }
}

#[test]
fn a_connection_is_small_and_may_move() {
    fn moves<T: Send + 'static>() {}
    moves::<Connection>();
    let size = size_of::<Connection>();
    assert!(size <= 896, "{size} bytes");
    // What a stream takes: its slot, and two places of the index, which is at most half full.
    assert_eq!((size_of::<stream::Stream>(), size_of::<Key>()), (48, 8));
}
