//! Frames, right and wrong, against the part of WebSocket that needs no socket.

use super::*;
use crate::random::Random;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_frame(0, payload, &mut bytes);
    bytes[0] = first;
    bytes[1] |= 0x80;
    let header = bytes.len() - payload.len();
    let mask = [0x11, 0x22, 0x33, 0x44];
    unmask(&mut bytes[header..], mask);
    bytes.splice(header..header, mask);
    bytes
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, u16> {
    let (mut messages, mut input, mut events) = (Messages::default(), bytes.to_vec(), Vec::new());
    let mut taken = 0;
    while let Some((used, event)) = messages.next(&mut input[taken..])? {
        taken += used;
        events.extend(event);
    }
    assert_eq!(taken, input.len(), "bytes are left");
    Ok(events)
}

fn message(opcode: u8, payload: &[u8]) -> Event {
    Event::Message(opcode, payload.to_vec())
}

#[test]
fn messages_are_put_together_from_their_frames() {
    for length in [0, 1, 7, 8, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let payload = vec![b'x'; length];
        assert_eq!(events(&frame(0x82, &payload)), Ok(vec![message(BINARY, &payload)]), "{length}");
    }
    // A ping may come between the frames of a message.
    let bytes = [frame(0x01, b"he"), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, b"llo")].concat();
    assert_eq!(events(&bytes), Ok(vec![Event::Ping(b"?".to_vec()), message(TEXT, b"hello")]));
    assert_eq!(events(&frame(0x8a, b"unasked")), Ok(vec![]));
    // A character may be cut by a frame.
    let bytes = [frame(0x01, &[0xc3]), frame(0x80, &[0xa4])].concat();
    assert_eq!(events(&bytes), Ok(vec![message(TEXT, "ä".as_bytes())]));
}

#[test]
fn an_incomplete_frame_is_waited_for_at_every_byte() {
    for payload in [&b"hello"[..], &[b'x'; 300], &[b'x'; 70_000]] {
        let bytes = frame(0x82, payload);
        for cut in (0..bytes.len()).filter(|cut| *cut < 20 || cut % 999 == 0) {
            let mut messages = Messages::default();
            let mut input = bytes[..cut].to_vec();
            assert_eq!(messages.next(&mut input), Ok(None), "cut at {cut}");
            assert_eq!(input, bytes[..cut], "changed before it was whole");
        }
    }
}

#[test]
fn wrong_frames_close_with_their_code() {
    let unmasked = [0x81, 0x01, b'a'];
    let long_for_short = [0x82, 0xfe, 0, 5, 1, 2, 3, 4];
    let longer_for_long = [0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4];
    let negative = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    let huge = [0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 1, 2, 3, 4];
    for (code, bytes) in [
        (PROTOCOL_ERROR, &unmasked[..]),
        (PROTOCOL_ERROR, &frame(0xc1, b"reserved bit")),
        (PROTOCOL_ERROR, &frame(0x83, b"unknown opcode")),
        (PROTOCOL_ERROR, &frame(0x8b, b"unknown control opcode")),
        (PROTOCOL_ERROR, &frame(0x09, b"ping in parts")),
        (PROTOCOL_ERROR, &frame(0x89, &[0; 126])),
        (PROTOCOL_ERROR, &frame(0x80, b"continues nothing")),
        (PROTOCOL_ERROR, &[frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        (PROTOCOL_ERROR, &long_for_short),
        (PROTOCOL_ERROR, &longer_for_long),
        (PROTOCOL_ERROR, &negative),
        (PROTOCOL_ERROR, &frame(0x88, &[3])),
        (PROTOCOL_ERROR, &frame(0x88, &1005_u16.to_be_bytes())),
        (PROTOCOL_ERROR, &frame(0x88, &999_u16.to_be_bytes())),
        (NOT_UTF8, &frame(0x88, &[3, 0xe8, 0xff])),
        (NOT_UTF8, &frame(0x81, &[0xff])),
        (TOO_BIG, &huge),
    ] {
        assert_eq!(events(bytes), Err(code), "{bytes:x?}");
    }
}

#[test]
fn a_message_is_bounded_over_all_its_frames() {
    let half = vec![0; MESSAGE_BYTES_MAX as usize / 2];
    let whole = [frame(0x02, &half), frame(0x80, &half)].concat();
    assert!(matches!(&events(&whole).unwrap()[..], [Event::Message(BINARY, m)] if m.len() == 2 * half.len()));
    let more = [frame(0x02, &half), frame(0x00, &half), frame(0x80, &[0])].concat();
    assert_eq!(events(&more), Err(TOO_BIG));
}

#[test]
fn a_close_is_answered_with_its_code() {
    assert_eq!(events(&frame(0x88, b"")), Ok(vec![Event::Close(vec![])]));
    let payload = [&1000_u16.to_be_bytes()[..], b"bye"].concat();
    assert_eq!(events(&frame(0x88, &payload)), Ok(vec![Event::Close(vec![0x03, 0xe8])]));
}

#[test]
fn handshakes_are_accepted_or_refused() {
    let check = |fields: &str| {
        let head = format!("GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n{fields}\r\n");
        accept(&Request::read(head.as_bytes()).unwrap()).map_err(|(status, _)| status)
    };
    // The example of section 1.3.
    let key = "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let fields = check(&format!("{key}{version}Sec-WebSocket-Protocol: chat, superchat\r\n")).unwrap();
    assert_eq!(
        fields,
        "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         sec-websocket-protocol: chat\r\n\r\n"
    );
    assert_eq!(check(key), Err(426));
    assert_eq!(check(&format!("{key}Sec-WebSocket-Version: 8\r\n")), Err(426));
    assert_eq!(check(version), Err(400));
    assert_eq!(check(&format!("{version}Connection: Upgrade\r\nSec-WebSocket-Key: c2hvcnQ=\r\n")), Err(400));
}

#[test]
fn noise_is_waited_for_or_refused_but_never_panics() {
    let mut random = Random::seeded(12);
    for _ in 0..20_000 {
        let opcode = [TEXT, BINARY, CONTINUATION, PING, CLOSE][random.bits() as usize % 5];
        let payload: Vec<u8> = (0..random.bits() % 20).map(|_| random.bits() as u8).collect();
        let mut bytes = frame((0x80 * (random.bits() % 2) as u8) | opcode, &payload);
        for _ in 0..random.bits() % 3 {
            let at = random.bits() as usize % bytes.len();
            bytes[at] = random.bits() as u8;
        }
        let mut messages = Messages::default();
        while let Ok(Some((used, _))) = messages.next(&mut bytes) {
            assert!(used <= bytes.len());
            bytes.drain(..used);
        }
    }
}
