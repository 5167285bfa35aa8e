//! HTTP/2 servers in memory: one small request read, and its answer written, by Pinion's machine and by the `h2`
//! crate on the same bytes. This is the comparison that decided for a layer of our own (`ARCHITECTURE.md`).
//!
//! ```text
//!   HEADERS (from a table that is warm) ─▶ server ─▶ request ─▶ 200, content-type, content-length, 100 bytes ─▶ out
//! ```
//!
//! Both are polled from the outside, without a runtime or a socket; what they write is thrown away.

use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use pinion_core::http::h1::encode::Forwarding;
use pinion_core::http::h1::parse::{HeadLimits, Progress, parse_request};
use pinion_core::http::h2::frame::{FrameHead, HEAD_BYTES, Kind};
use pinion_core::http::h2::head::{encode_own, encode_request};
use pinion_core::http::h2::{Connection, Event, Limits, Scratch, Sent};
use pinion_core::http::{Framing, HeaderEdits, Method, RequestHead, ResponseHead};
use pinion_core::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::message::request;
use super::{Group, Work};

/// Field lines of the request: a small API's, a browser's.
const FIELDS: &[usize] = &[4, 12];

const BODY: [u8; 100] = [b'x'; 100];

pub(super) const OURS: Group = Group {
    name: "h2-serve",
    what: "serve a small request over HTTP/2",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: ours,
};

pub(super) const CRATE: Group = Group {
    name: "h2-crate-serve",
    what: "the same by the `h2` crate",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: theirs,
};

/// What a client sends: its greeting, and the frame of a request, whose stream is put in each time.
struct Requests {
    hello: Vec<u8>,
    frame: Vec<u8>,
    stream: u32,
}

impl Requests {
    fn new(fields: usize) -> Self {
        let text = request(fields);
        let mut head = RequestHead::new();
        let read =
            parse_request(&text, &HeadLimits { head_bytes: 32 * 1024, uri_bytes: 8 * 1024 }, &mut head);
        debug_assert_eq!(read, Ok(Progress::Complete));
        let mut hello = Vec::new();
        // The client's window is never the bottleneck.
        let limits = Limits { connection_window: (1 << 31) - 1, ..Limits::client() };
        let mut client = Connection::client(limits, &mut hello);
        let mut frame = Vec::new();
        let mut stream = 1;
        // The compression's tables are warm after a few.
        for _ in 0..8 {
            hello.append(&mut frame);
            let opened = client.open(&mut frame, Method::Get, true, |encoder, out| {
                let (fwd, edits) = (Forwarding::default(), HeaderEdits::empty());
                encode_request(encoder, out, &text, &head, None, &fwd, &edits, b"http", Framing::None);
            });
            stream = opened.map_or(stream, |key| key.id());
        }
        Requests { hello, frame, stream }
    }

    fn next(&mut self) -> &[u8] {
        let head = FrameHead {
            length: (self.frame.len() - HEAD_BYTES) as u32,
            kind: Kind::Headers,
            flags: self.frame[4],
            stream: self.stream,
        };
        self.frame[..HEAD_BYTES].copy_from_slice(&head.encode());
        self.stream += 2;
        &self.frame
    }
}

struct Ours {
    machine: Connection,
    out: Vec<u8>,
    text: Vec<u8>,
    request: Box<RequestHead>,
    response: Box<ResponseHead>,
    served: u64,
    answered: u64,
}

impl Ours {
    fn serve(&mut self, mut bytes: &[u8]) {
        let now = Instant::from_nanos(self.served);
        loop {
            let mut scratch =
                Scratch { text: &mut self.text, request: &mut self.request, response: &mut self.response };
            let event = self.machine.receive(&mut bytes, now, &mut scratch, &mut self.out);
            match event {
                Ok(Some(Event::Head { key, .. })) => {
                    black_box(&self.request);
                    self.machine.send_head(key, &mut self.out, false, |encoder, out| {
                        encode_own(encoder, out, 200, &[(b"content-type", b"application/json")], 100);
                    });
                    let sent = self.machine.send_data(key, &mut self.out, &BODY, true);
                    self.answered += u64::from(sent == Sent::Some(BODY.len()));
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        black_box(&self.out);
        self.out.clear();
    }
}

fn ours(fields: usize) -> Work {
    let mut requests = Requests::new(fields);
    let mut out = Vec::new();
    let mut server = Ours {
        machine: Connection::server(Limits::server(), &mut out),
        out,
        text: Vec::new(),
        request: Box::new(RequestHead::new()),
        response: Box::new(ResponseHead::new()),
        served: 0,
        answered: 0,
    };
    server.serve(&requests.hello);
    Box::new(move |operations| {
        let before = server.answered;
        for _ in 0..operations {
            server.served += 1;
            server.serve(requests.next());
        }
        assert_eq!(server.answered - before, operations, "every request is answered");
    })
}

/// Bytes that were put there to be read; what is written is thrown away.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Ok(mut bytes) = self.0.lock() else { return Poll::Ready(Err(io::ErrorKind::Other.into())) };
        if bytes.is_empty() {
            return Poll::Pending;
        }
        let n = bytes.len().min(room.remaining());
        room.put_slice(&bytes[..n]);
        bytes.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        black_box(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Theirs {
    connection: h2::server::Connection<Pipe, Bytes>,
    answered: u64,
}

impl Theirs {
    /// Accepts and answers until there is nothing to do.
    fn serve(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok((request, mut respond)))) = self.connection.poll_accept(&mut cx) {
            black_box(&request);
            let mut response = http::Response::new(());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("100"));
            if let Ok(mut stream) = respond.send_response(response, false) {
                let sent = stream.send_data(Bytes::from_static(&BODY), true);
                self.answered += u64::from(sent.is_ok());
            }
        }
    }
}

fn theirs(fields: usize) -> Work {
    let mut requests = Requests::new(fields);
    let pipe = Pipe::default();
    let put = |pipe: &Pipe, bytes: &[u8]| {
        if let Ok(mut pipe) = pipe.0.lock() {
            pipe.extend_from_slice(bytes);
        }
    };
    put(&pipe, &requests.hello);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(100)
        .initial_window_size(256 * 1024)
        .initial_connection_window_size(1 << 20);
    let mut handshake = Box::pin(builder.handshake::<_, Bytes>(pipe.clone()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut server = match handshake.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(connection)) => Some(Theirs { connection, answered: 0 }),
        _ => None,
    };
    Box::new(move |operations| {
        let Some(server) = &mut server else {
            assert_eq!(operations, 0, "the greeting was not taken");
            return;
        };
        server.serve();
        let before = server.answered;
        for _ in 0..operations {
            put(&pipe, requests.next());
            server.serve();
        }
        assert_eq!(server.answered - before, operations, "every request is answered");
    })
}
