//! The parts together: tables of frames and heads, both machines against each other, against the `h2`
//! crate, and against noise.

mod client;
mod frames;
mod hostile;
mod oracle;
mod pair;
mod server;

use std::sync::Arc;

use super::client::{Client, ClientEvent, ClientOptions, Ticket};
use super::frame::{self, FRAME_BYTES_DEFAULT, WINDOW_DEFAULT};
use super::server::{Server, ServerEvent, ServerOptions};
use super::{encode_answer, encode_request};

const CLIENT: ClientOptions = ClientOptions {
    max_streams: 1_000,
    window: WINDOW_DEFAULT,
    frame_bytes_max: FRAME_BYTES_DEFAULT,
    counted: Some("x-server"),
};

const SERVER: ServerOptions = ServerOptions {
    max_streams: 100,
    window: WINDOW_DEFAULT,
    frame_bytes_max: FRAME_BYTES_DEFAULT,
    connect_protocol: false,
};

fn get() -> Vec<u8> {
    encode_request(&[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")])
}

fn post() -> Vec<u8> {
    encode_request(&[(":method", "POST"), (":scheme", "http"), (":authority", "a.example"), (":path", "/p")])
}

fn body(length: usize, seed: u32) -> Arc<[u8]> {
    (0..length).map(|at| (at as u32).wrapping_mul(31).wrapping_add(seed) as u8).collect()
}

/// A client and a server on one connection, all bytes delivered at once.
struct Both {
    client: Client,
    server: Server,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    client_events: Vec<ClientEvent>,
    server_events: Vec<ServerEvent>,
    /// Every byte so far, to the server and to the client.
    record: (Vec<u8>, Vec<u8>),
}

impl Both {
    fn new(client: ClientOptions, server: ServerOptions) -> Self {
        let mut both = Both {
            client: Client::new(client),
            server: Server::new(server),
            to_server: Vec::new(),
            to_client: Vec::new(),
            client_events: Vec::new(),
            server_events: Vec::new(),
            record: (Vec::new(), Vec::new()),
        };
        both.client.begin(&mut both.to_server);
        both.server.begin(&mut both.to_client);
        both.settle();
        both
    }

    /// Delivers until nobody has anything to say.
    fn settle(&mut self) {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            let bytes = std::mem::take(&mut self.to_server);
            self.record.0.extend_from_slice(&bytes);
            assert_eq!(self.server.feed(&bytes, &mut self.to_client, &mut self.server_events), Ok(()));
            let bytes = std::mem::take(&mut self.to_client);
            self.record.1.extend_from_slice(&bytes);
            assert_eq!(self.client.feed(&bytes, &mut self.to_server, &mut self.client_events), Ok(()));
        }
    }

    /// Bytes from the server's side that no server would send.
    fn inject(&mut self, bytes: &[u8]) -> Result<(), crate::message::Malformed> {
        self.client.feed(bytes, &mut self.to_server, &mut self.client_events)
    }

    fn request(&mut self, ticket: Ticket, block: &[u8], body: &Arc<[u8]>) {
        self.client.request(ticket, block, body, &mut self.to_server);
        self.settle();
    }
}

/// A frame as bytes.
fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::header(payload.len(), kind, flags, stream, &mut out);
    out.extend_from_slice(payload);
    out
}

/// The headers of all frames in `bytes`: kind, flags, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, &[u8])> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let header = frame::Header::parse(header);
        let (payload, rest) = rest.split_at(header.length);
        found.push((header.kind, header.flags, header.stream, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame was written");
    found
}

#[test]
fn a_request_and_its_answer() {
    let mut both = Both::new(CLIENT, SERVER);
    both.request(7, &post(), &body(100_000, 1));
    let ServerEvent::Head { stream: 1, fields, end: false } = &both.server_events[0] else {
        panic!("{:?}", both.server_events[0]);
    };
    assert_eq!(fields.value(":path"), Some(&b"/p"[..]));
    assert_eq!(fields.len(), 4);
    let mut received = Vec::new();
    for event in &both.server_events[1..] {
        let ServerEvent::Data { stream: 1, bytes, .. } = event else { panic!("{event:?}") };
        received.extend_from_slice(bytes);
    }
    assert!(matches!(both.server_events.last(), Some(ServerEvent::Data { end: true, .. })));
    assert_eq!(received[..], body(100_000, 1)[..]);

    both.server.interim::<&str, &str>(1, 103, &[], &mut both.to_client);
    both.server.answer(
        1,
        200,
        &[("X-Server", "b2"), ("content-length", "70000")],
        false,
        &mut both.to_client,
    );
    assert_eq!(both.server.data(1, &body(70_000, 2), false, &mut both.to_client), 70_000 - 65_535);
    assert_eq!(both.server.pending(1), 70_000 - 65_535);
    both.server.trailers(1, &[("grpc-status", "5")], &mut both.to_client);
    both.settle();
    let answer = ClientEvent::Answered {
        ticket: 7,
        status: 200,
        grpc_status: Some(5),
        content_bytes: 70_000,
        counted: Some("b2".into()),
    };
    assert_eq!(both.client_events, [answer]);
    assert_eq!((both.client.in_flight(), both.server.open_streams()), (0, 0));
    assert_eq!(both.client.room(), 100);
}

#[test]
fn blocks_of_any_length_are_cut_as_the_peer_demands() {
    let mut both = Both::new(CLIENT, SERVER);
    let long = "v".repeat(100_000);
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];
    fields.push(("x-long", &long));
    both.request(1, &encode_request(&fields), &body(0, 0));
    assert!(matches!(&both.server_events[..], [ServerEvent::Head { fields, end: true, .. }]
        if fields.value("x-long") == Some(long.as_bytes())));
    let block = encode_answer(200, &[("x-server", &long)]);
    both.server.answer_block(1, &block, true, &mut both.to_client);
    let kinds: Vec<_> =
        frames(&both.to_client).iter().map(|frame| (frame.0, frame.1, frame.3.len())).collect();
    assert_eq!(kinds.first(), Some(&(1, 1, 16_384)));
    assert!(kinds.len() > 2 && kinds.last().is_some_and(|last| (last.0, last.1) == (9, 4)), "{kinds:?}");
    both.settle();
    assert!(matches!(&both.client_events[..], [ClientEvent::Answered { counted: Some(value), .. }]
        if *value == long));
}
