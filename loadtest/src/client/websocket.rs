//! Speaks WebSocket (RFC 6455): a request is a message, its answer the next message that comes back.
//!
//! ```text
//! Opening ─101─▶ Open: message out ─▶ message back ─▶ message out …
//! ```
//!
//! Invariants: one message at a time; what is sent is masked with a key drawn anew for each frame; pings are
//! answered; a close ends the connection.

use base64::Engine as _;

use super::failure::Failure;
use super::request::Prepared;
use super::wire::{Answer, Event, Output, Ticket};
use crate::message::{HEAD_BYTES_MAX, Head, head_length};

/// What the key of a handshake is hashed with (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The longest control frame's payload (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

const OPCODE_CONTINUATION: u8 = 0x0;
const OPCODE_TEXT: u8 = 0x1;
const OPCODE_BINARY: u8 = 0x2;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xa;

/// One connection.
pub(crate) struct WebSocket {
    /// The head of the handshake, without the lines of WebSocket and its end.
    head: Vec<u8>,
    /// What the peer has to hash the key to.
    accept: String,
    is_open: bool,
    is_closing: bool,
    ticket: Option<Ticket>,
    /// A head or a frame that has not come whole.
    partial: Vec<u8>,
    /// Whether a fragmented message has begun.
    is_fragmented: bool,
    message_bytes: u64,
    /// Bytes of a data frame's payload that are still to come, and whether it ends the message.
    left: Option<(u64, bool)>,
}

impl WebSocket {
    /// A new connection, which the head of `request` opens.
    pub(crate) fn new(request: &Prepared) -> Self {
        WebSocket {
            head: request.http1_head().to_vec(),
            accept: String::new(),
            is_open: false,
            is_closing: false,
            ticket: None,
            partial: Vec::new(),
            is_fragmented: false,
            message_bytes: 0,
            left: None,
        }
    }

    /// Writes the handshake.
    pub(crate) fn begin(&mut self, out: &mut Output<'_>) {
        let mut nonce = [0; 16];
        for half in nonce.chunks_mut(8) {
            half.copy_from_slice(&out.random.bits().to_be_bytes());
        }
        let key = base64::prelude::BASE64_STANDARD.encode(nonce);
        self.accept = accept(&key);
        out.bytes.extend_from_slice(&self.head);
        let lines = format!(
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
        );
        out.bytes.extend_from_slice(lines.as_bytes());
    }

    /// One message at a time, once it is open.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.is_open && !self.is_closing && self.ticket.is_none())
    }

    /// Whether the peer closed it.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Writes a message in one frame.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        self.ticket = Some(ticket);
        let body = request.body(out.random);
        frame(OPCODE_BINARY, &body, out);
    }

    /// Closes with the status of a normal end (RFC 6455, section 7.4.1).
    pub(crate) fn end(&mut self, out: &mut Output<'_>) {
        if self.is_open && !self.is_closing {
            self.is_closing = true;
            frame(OPCODE_CLOSE, &1000_u16.to_be_bytes(), out);
        }
    }

    /// Reads the answer to the handshake, then frames.
    ///
    /// # Errors
    /// Not WebSocket, or a message that nobody asked for.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut Output<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        self.partial.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut self.partial);
        let mut taken = 0;
        loop {
            let step = if self.is_open {
                self.frame(&input[taken..], out, events)?
            } else {
                self.handshake(&input[taken..])?
            };
            match step {
                0 => break,
                step => taken += step,
            }
        }
        input.drain(..taken);
        self.partial = input;
        Ok(())
    }

    /// Reads the answer to the handshake; how many bytes it has, or 0 while it is not whole.
    fn handshake(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let Some(length) = head_length(bytes, 0) else {
            return if bytes.len() > HEAD_BYTES_MAX { Err(Failure::Malformed) } else { Ok(0) };
        };
        let head = Head::split(&bytes[..length])?;
        let switched = head.start.starts_with(b"HTTP/1.1 101")
            && head.has_token("upgrade", "websocket")
            && head.values("sec-websocket-accept").next() == Some(self.accept.as_bytes());
        if !switched {
            return Err(Failure::Refused);
        }
        self.is_open = true;
        Ok(length)
    }

    /// Reads one frame, or what has come of a data frame's payload.
    fn frame(
        &mut self,
        bytes: &[u8],
        out: &mut Output<'_>,
        events: &mut Vec<Event>,
    ) -> Result<usize, Failure> {
        if let Some((left, is_last)) = self.left {
            return Ok(self.payload(bytes, left, is_last, events));
        }
        let &[first, second, ..] = bytes else { return Ok(0) };
        let (is_last, opcode, short) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        // No extension was agreed on, and servers do not mask (RFC 6455, sections 5.2 and 5.1).
        if first & 0x70 != 0 || second & 0x80 != 0 {
            return Err(Failure::Malformed);
        }
        let (length, header) = match (short, &bytes[2..]) {
            (126, &[a, b, ..]) => (u64::from(u16::from_be_bytes([a, b])), 4),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
            (126 | 127, _) => return Ok(0),
            _ => (u64::from(short), 2),
        };
        if opcode >= OPCODE_CLOSE {
            return self
                .control(opcode, is_last, length, &bytes[header..], out)
                .map(|whole| if whole { header + length as usize } else { 0 });
        }
        let continues = opcode == OPCODE_CONTINUATION;
        let known = matches!(opcode, OPCODE_CONTINUATION | OPCODE_TEXT | OPCODE_BINARY);
        if !known || continues != self.is_fragmented || self.ticket.is_none() {
            return Err(Failure::Malformed);
        }
        self.is_fragmented = !is_last;
        self.message_bytes += length;
        self.left = Some((length, is_last));
        if length == 0 {
            self.payload(&[], 0, is_last, events);
        }
        Ok(header)
    }

    fn payload(&mut self, bytes: &[u8], left: u64, is_last: bool, events: &mut Vec<Event>) -> usize {
        let part = left.min(bytes.len() as u64);
        self.left = Some((left - part, is_last)).filter(|(left, _)| *left > 0);
        if self.left.is_none()
            && is_last
            && let Some(ticket) = self.ticket.take()
        {
            let content_bytes = std::mem::take(&mut self.message_bytes);
            let answer = Answer { status: 200, content_bytes, ..Answer::default() };
            events.push(Event::Answered { ticket, answer });
        }
        part as usize
    }

    /// Handles a control frame if it is whole; says whether it is.
    fn control(
        &mut self,
        opcode: u8,
        is_last: bool,
        length: u64,
        bytes: &[u8],
        out: &mut Output<'_>,
    ) -> Result<bool, Failure> {
        if !is_last || length > CONTROL_BYTES_MAX as u64 {
            return Err(Failure::Malformed);
        }
        let Some(payload) = bytes.get(..length as usize) else { return Ok(false) };
        match opcode {
            OPCODE_PING => frame(OPCODE_PONG, payload, out),
            OPCODE_PONG => {}
            OPCODE_CLOSE if !self.is_closing => {
                self.is_closing = true;
                frame(OPCODE_CLOSE, &payload[..payload.len().min(2)], out);
            }
            OPCODE_CLOSE => {}
            _ => return Err(Failure::Malformed),
        }
        Ok(true)
    }
}

/// Appends a masked frame.
fn frame(opcode: u8, payload: &[u8], out: &mut Output<'_>) {
    out.bytes.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.bytes.push(0x80 | 126);
            out.bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.bytes.push(0x80 | 127);
            out.bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = (out.random.bits() as u32).to_be_bytes();
    out.bytes.extend_from_slice(&mask);
    out.bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// What proves that the peer read the key (RFC 6455, section 4.2.2).
fn accept(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    );
    base64::prelude::BASE64_STANDARD.encode(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::request::Draft;
    use crate::random::Random;

    struct Fixture {
        socket: WebSocket,
        request: Prepared,
        random: Random,
        sent: Vec<u8>,
    }

    impl Fixture {
        /// An open connection that has sent one message.
        fn waiting() -> Self {
            let draft = Draft { method: "GET".to_owned(), ..Draft::default() };
            let request = Prepared::new(&"ws://a/chat".parse().unwrap(), &draft).unwrap();
            let socket = WebSocket::new(&request);
            let mut fixture = Fixture { socket, request, random: Random::seeded(1), sent: Vec::new() };
            let mut out = Output { bytes: &mut fixture.sent, random: &mut fixture.random };
            fixture.socket.begin(&mut out);
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                fixture.socket.accept
            );
            assert_eq!(fixture.feed(answer.as_bytes()), Ok(vec![]));
            let mut out = Output { bytes: &mut fixture.sent, random: &mut fixture.random };
            fixture.socket.send(3, &fixture.request, &mut out);
            fixture.sent.clear();
            fixture
        }

        fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
            let mut events = Vec::new();
            let mut out = Output { bytes: &mut self.sent, random: &mut self.random };
            self.socket.feed(bytes, &mut out, &mut events)?;
            Ok(events)
        }
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_key_is_hashed_as_the_rfc_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_message_in_fragments_with_a_ping_between_is_one_answer_at_every_split() {
        let wire = [&[0x02, 3][..], b"abc", &[0x89, 1], b"p", &[0x80, 2], b"de"].concat();
        for cut in 0..=wire.len() {
            let mut fixture = Fixture::waiting();
            let mut events = fixture.feed(&wire[..cut]).unwrap();
            events.extend(fixture.feed(&wire[cut..]).unwrap());
            let answer = Answer { status: 200, content_bytes: 5, ..Answer::default() };
            assert_eq!(events, [Event::Answered { ticket: 3, answer }], "{cut}");
            assert_eq!((fixture.sent[0], fixture.sent[1]), (0x8a, 0x81));
            assert_eq!(fixture.socket.room(), 1);
        }
    }

    #[test]
    fn long_and_empty_messages_are_counted() {
        for length in [0_usize, 125, 126, 65_535, 65_536] {
            let mut wire = vec![0x82];
            match length {
                0..=125 => wire.push(length as u8),
                126..=65_535 => wire.extend([&[126][..], &(length as u16).to_be_bytes()].concat()),
                _ => wire.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            wire.resize(wire.len() + length, 7);
            let events = Fixture::waiting().feed(&wire).unwrap();
            assert!(
                matches!(&events[..], [Event::Answered { answer, .. }] if answer.content_bytes == length as u64),
                "{length}: {events:?}"
            );
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_an_error() {
        for wrong in [
            &[0x82, 0x81, 0, 0, 0, 0, 1][..],
            &[0xc2, 0],
            &[0x83, 0],
            &[0x80, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
        ] {
            assert_eq!(Fixture::waiting().feed(wrong), Err(Failure::Malformed), "{wrong:?}");
        }
        let mut fixture = Fixture::waiting();
        fixture.feed(&[0x82, 0]).unwrap();
        assert_eq!(fixture.feed(&[0x82, 0]), Err(Failure::Malformed));
    }

    #[test]
    fn a_close_is_answered_and_ends_it() {
        let mut fixture = Fixture::waiting();
        assert_eq!(fixture.feed(&[0x88, 2, 0x03, 0xe8]), Ok(vec![]));
        assert!(fixture.socket.is_closing() && fixture.socket.room() == 0);
        assert_eq!((fixture.sent[0], fixture.sent[1]), (0x88, 0x82));
    }
}
