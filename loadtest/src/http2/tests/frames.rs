//! Frames one by one, and a recorded exchange cut at every place.

use super::*;
use crate::http2::frame::{Fault, code, flag, kind};
use crate::http2::reader::{Incoming, Reader};

fn read(bytes: &[u8]) -> Result<Vec<String>, Fault> {
    let (mut reader, mut rest, mut found) = (Reader::new(FRAME_BYTES_DEFAULT), bytes, Vec::new());
    while let Some(incoming) = reader.next(&mut rest)? {
        found.push(format!("{incoming:?}"));
    }
    assert!(rest.is_empty());
    Ok(found)
}

#[test]
fn well_formed_frames() {
    let head = |block: &'static [u8], end| Incoming::Head { stream: 1, block, end };
    let rows: Vec<(Vec<u8>, Incoming<'_>)> = vec![
        (raw(kind::DATA, 0, 1, b"abc"), Incoming::Data { stream: 1, bytes: b"abc", end: false, flow: 3 }),
        (
            raw(kind::DATA, 9, 1, b"\x02abc\0\0"),
            Incoming::Data { stream: 1, bytes: b"abc", end: true, flow: 6 },
        ),
        (raw(kind::DATA, 8, 1, b"\x00"), Incoming::Data { stream: 1, bytes: b"", end: false, flow: 1 }),
        (raw(kind::HEADERS, 5, 1, b"b"), head(b"b", true)),
        (raw(kind::HEADERS, 4 | 8 | 32, 1, b"\x01\0\0\0\0\0b\0"), head(b"b", false)),
        (raw(kind::PRIORITY, 0, 9, &[0; 5]), Incoming::Nothing),
        (raw(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), Incoming::Reset { stream: 1, code: 8 }),
        (raw(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]), Incoming::Settings(&[0, 4, 0, 0, 0, 1])),
        (raw(kind::SETTINGS, 1, 0, b""), Incoming::SettingsAck),
        (raw(kind::PING, 0, 0, b"12345678"), Incoming::Ping(*b"12345678")),
        (raw(kind::PING, 1, 0, b"12345678"), Incoming::Nothing),
        (raw(kind::GOAWAY, 0, 0, &[0x80, 0, 0, 3, 0, 0, 0, 0, b'x']), Incoming::GoAway { last: 3 }),
        (
            vec![0, 0, 4, kind::WINDOW_UPDATE, 0, 0x80, 0, 0, 1, 0x80, 0, 0, 2],
            Incoming::WindowUpdate { stream: 1, increment: 2 },
        ),
        (raw(0x77, 0xff, 5, b"whatever"), Incoming::Nothing),
    ];
    for (bytes, expected) in rows {
        assert_eq!(read(&bytes), Ok(vec![format!("{expected:?}")]));
    }
}

#[test]
fn malformed_frames() {
    let rows: &[(Vec<u8>, u32)] = &[
        (raw(kind::DATA, 0, 0, b"abc"), code::PROTOCOL_ERROR),
        (raw(kind::DATA, 8, 1, b""), code::FRAME_SIZE_ERROR),
        (raw(kind::DATA, 8, 1, b"\x03ab"), code::PROTOCOL_ERROR),
        (raw(kind::HEADERS, 4, 0, b"b"), code::PROTOCOL_ERROR),
        (raw(kind::HEADERS, 4 | 32, 1, b"1234"), code::FRAME_SIZE_ERROR),
        (raw(kind::HEADERS, 4 | 8, 1, b"\x02b"), code::PROTOCOL_ERROR),
        (raw(kind::PRIORITY, 0, 1, &[0; 4]), code::FRAME_SIZE_ERROR),
        (raw(kind::PRIORITY, 0, 0, &[0; 5]), code::PROTOCOL_ERROR),
        (raw(kind::RST_STREAM, 0, 1, &[0; 3]), code::FRAME_SIZE_ERROR),
        (raw(kind::RST_STREAM, 0, 0, &[0; 4]), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 0, 1, b""), code::PROTOCOL_ERROR),
        (raw(kind::SETTINGS, 0, 0, &[0; 5]), code::FRAME_SIZE_ERROR),
        (raw(kind::SETTINGS, 1, 0, &[0; 6]), code::FRAME_SIZE_ERROR),
        (raw(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), code::PROTOCOL_ERROR),
        (raw(kind::PING, 0, 0, &[0; 7]), code::FRAME_SIZE_ERROR),
        (raw(kind::PING, 0, 1, &[0; 8]), code::PROTOCOL_ERROR),
        (raw(kind::GOAWAY, 0, 0, &[0; 7]), code::FRAME_SIZE_ERROR),
        (raw(kind::GOAWAY, 0, 1, &[0; 8]), code::PROTOCOL_ERROR),
        (raw(kind::WINDOW_UPDATE, 0, 1, &[0; 3]), code::FRAME_SIZE_ERROR),
        (raw(kind::CONTINUATION, 4, 1, b""), code::PROTOCOL_ERROR),
        (raw(kind::DATA, 0, 1, &[0; 16_385])[..9].to_vec(), code::FRAME_SIZE_ERROR),
        ([raw(kind::HEADERS, 0, 1, b"a"), raw(kind::DATA, 0, 1, b"")].concat(), code::PROTOCOL_ERROR),
        ([raw(kind::HEADERS, 0, 1, b"a"), raw(0x77, 0, 1, b"")].concat(), code::PROTOCOL_ERROR),
        ([raw(kind::HEADERS, 0, 1, b"a"), raw(kind::CONTINUATION, 4, 3, b"")].concat(), code::PROTOCOL_ERROR),
    ];
    for (bytes, expected) in rows {
        assert_eq!(read(bytes).map_err(|fault| fault.code), Err(*expected), "{bytes:?}");
    }
}

#[test]
fn blocks_are_put_together_and_bounded() {
    let parts = [
        raw(kind::HEADERS, flag::END_STREAM, 1, b"a"),
        raw(kind::CONTINUATION, 0, 1, b""),
        raw(kind::CONTINUATION, flag::END_HEADERS, 1, b"bc"),
    ];
    let head = Incoming::Head { stream: 1, block: b"abc", end: true };
    assert_eq!(read(&parts.concat()), Ok(vec!["Nothing".into(), "Nothing".into(), format!("{head:?}")]));
    let endless = [parts[0].clone(), parts[1].repeat(1_025)].concat();
    assert_eq!(read(&endless).map_err(|fault| fault.code), Err(code::ENHANCE_YOUR_CALM));
    let long = [parts[0].clone(), raw(kind::CONTINUATION, 0, 1, &[0; 16_384]).repeat(16)].concat();
    assert_eq!(read(&long).map_err(|fault| fault.code), Err(code::ENHANCE_YOUR_CALM));
}

/// An exchange with everything in it: bodies, interim heads, continuations, trailers, resets.
fn recorded() -> Both {
    let mut both = Both::new(CLIENT, SERVER);
    both.request(1, &get(), &body(0, 0));
    both.request(2, &post(), &body(300, 2));
    both.client.open_stream(3, &post(), &mut both.to_server);
    both.client.send_message(3, &Arc::from(&b"\0\0\0\0\x01a"[..]), &mut both.to_server);
    both.client.request(4, &post(), &body(20, 4), &mut both.to_server);
    both.client.cancel(4, &mut both.to_server);
    both.client.finish_stream(3, &mut both.to_server);
    both.settle();
    let out = &mut both.to_client;
    both.server.interim(1, 103, &[("link", "</a>")], out);
    both.server.answer::<&str, &str>(1, 204, &[], true, out);
    both.server.answer(3, 200, &[("x-server", "s")], false, out);
    both.server.data(3, &body(200, 3), false, out);
    both.server.trailers(3, &[("grpc-status", "0")], out);
    both.server.answer::<&str, &str>(5, 200, &[], false, out);
    both.server.data(5, b"\0\0\0\0\x02ab\0\0\0\0\0", false, out);
    both.server.trailers(5, &[("grpc-status", "9")], out);
    both.settle();
    both
}

#[test]
fn an_exchange_cut_anywhere_is_the_same() {
    let whole = recorded();
    assert_eq!(whole.client_events.len(), 5, "{:?}", whole.client_events);
    assert!(whole.server_events.contains(&ServerEvent::Reset { stream: 7 }));
    let cuts = |length: usize| (0..=length).map(|at| vec![at]).chain([(0..length).collect()]);

    let bytes = &whole.record.0;
    for cut in cuts(bytes.len()) {
        let mut server = Server::new(SERVER);
        let (mut out, mut events, mut from) = (Vec::new(), Vec::new(), 0);
        for to in cut.into_iter().chain([bytes.len()]) {
            assert_eq!(server.feed(&bytes[from..to], &mut out, &mut events), Ok(()), "{to}");
            from = to;
        }
        assert_eq!(events, whole.server_events);
    }

    // The client must have asked before the answers come.
    let bytes = &whole.record.1;
    for cut in cuts(bytes.len()) {
        let mut client = Client::new(CLIENT);
        let (mut out, mut events, mut from) = (Vec::new(), Vec::new(), 0);
        client.request(1, &get(), &body(0, 0), &mut out);
        client.request(2, &post(), &body(300, 2), &mut out);
        client.open_stream(3, &post(), &mut out);
        client.request(4, &post(), &body(20, 4), &mut out);
        client.cancel(4, &mut out);
        client.finish_stream(3, &mut out);
        for to in cut.into_iter().chain([bytes.len()]) {
            assert_eq!(client.feed(&bytes[from..to], &mut out, &mut events), Ok(()), "{to}");
            from = to;
        }
        assert_eq!(events, whole.client_events);
    }
}
