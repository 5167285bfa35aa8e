//! WebSocket echo (RFC 6455): every message comes back whole, as it is complete.
//!
//! ```text
//! frame: FIN RSV opcode | MASK length (7) | length (16 or 64) | mask (4) | payload
//!
//! text, binary ── continuation … FIN ─▶ the same message, in one frame
//! ping ─▶ pong with its payload       close ─▶ the same close, then the end
//! ```
//!
//! Strict: what a client must not send ends the connection with the close code for it. A message waits
//! for its answer as a request does (delay, standstill, workers). No extensions: none is offered.

use std::io;
use std::rc::Rc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::answer::{Plan, Refusal};
use super::request::Request;
use super::state::{Busy, Thread};
use super::wire::{Stream, Wire};

/// The largest message, in bytes, over all its frames.
const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The largest payload of a control frame, in bytes (section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What the accept key is made with (section 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Close codes (section 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// Whether a request asks for WebSocket.
pub(super) fn is_wanted(request: &Request<'_>) -> bool {
    request.is_11 && request.head.has_token("upgrade", "websocket")
}

/// The fields of the answer that accepts a request, with the empty line.
///
/// # Errors
/// The request is not a right handshake (section 4.2.1).
pub(super) fn accept(request: &Request<'_>) -> Result<String, Refusal> {
    let head = &request.head;
    if request.method != "GET" || !head.has_token("connection", "upgrade") {
        return Err((400, "a WebSocket handshake is a GET with Connection: Upgrade"));
    }
    if !head.values("sec-websocket-version").eq([&b"13"[..]]) {
        return Err((426, "only version 13 of WebSocket is spoken here"));
    }
    let mut keys = head.values("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) => key,
        _ => return Err((400, "not exactly one Sec-WebSocket-Key of 16 bytes")),
    };
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, ACCEPT_GUID].concat());
    let mut fields = format!(
        "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n",
        BASE64_STANDARD.encode(hash)
    );
    // Any subprotocol is an echo to us: the client's first choice.
    let offered = head
        .values("sec-websocket-protocol")
        .next()
        .and_then(|value| std::str::from_utf8(value.split(|&byte| byte == b',').next()?.trim_ascii()).ok());
    if let Some(protocol) = offered {
        fields.push_str(&format!("sec-websocket-protocol: {protocol}\r\n"));
    }
    fields.push_str("\r\n");
    Ok(fields)
}

/// Serves one connection to its end; `input` is what has been read of it.
pub(super) async fn serve<S: Stream>(
    mut wire: Wire<S>,
    mut input: Vec<u8>,
    plan: Plan,
    thread: Rc<Thread>,
) -> io::Result<()> {
    let busy = Busy::new(&thread);
    let (mut messages, mut output) = (Messages::default(), Vec::new());
    loop {
        let mut taken = 0;
        loop {
            let event = match messages.next(&mut input[taken..]) {
                Ok(Some((used, event))) => {
                    taken += used;
                    event
                }
                Ok(None) => break,
                Err(code) => Some(Event::Close(code.to_be_bytes().to_vec())),
            };
            match event {
                None => {}
                Some(Event::Ping(payload)) => push_frame(PONG, &payload, &mut output),
                Some(Event::Message(opcode, payload)) => {
                    if let Some(at) = thread.ready(&plan) {
                        busy.set(true);
                        wire.writer.write(&mut output).await?;
                        thread.alarm.until(at).await;
                        busy.set(false);
                    }
                    push_frame(opcode, &payload, &mut output);
                    messages.reuse(payload);
                }
                Some(Event::Close(payload)) => {
                    push_frame(CLOSE, &payload, &mut output);
                    wire.writer.write(&mut output).await?;
                    return wire.linger().await;
                }
            }
        }
        input.drain(..taken);
        wire.writer.write(&mut output).await?;
        if !wire.read(&mut input).await? {
            return Ok(());
        }
    }
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Message(u8, Vec<u8>),
    Ping(Vec<u8>),
    /// With the payload to answer it with.
    Close(Vec<u8>),
}

/// Puts messages together.
#[derive(Default)]
struct Messages {
    /// The kind of the message that has begun, text or binary.
    opcode: Option<u8>,
    payload: Vec<u8>,
}

/// The fixed part of a frame.
struct Header {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    header_bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// Reads what `bytes` begin with; `None` while it is incomplete.
    ///
    /// # Errors
    /// The close code for a frame that is wrong. `room` is how long a message's next part may be.
    fn read(bytes: &[u8], room: u64) -> Result<Option<Header>, u16> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        let is_control = opcode & 0x8 != 0;
        let is_known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
        // No extension gives the reserved bits a meaning; a client masks every frame (section 5.1).
        if first & 0x70 != 0 || !is_known || second & 0x80 == 0 {
            return Err(PROTOCOL_ERROR);
        }
        let short = second & 0x7f;
        if is_control && (!is_final || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(PROTOCOL_ERROR);
        }
        // A length takes the fewest bytes that hold it (section 5.2).
        let (length_bytes, length) = match short {
            126 => match rest.first_chunk::<2>() {
                None => return Ok(None),
                Some(bytes) => (2, Some(u64::from(u16::from_be_bytes(*bytes))).filter(|&n| n > 125)),
            },
            127 => match rest.first_chunk::<8>() {
                None => return Ok(None),
                Some(bytes) => (8, Some(u64::from_be_bytes(*bytes)).filter(|&n| n > 0xffff && n >> 63 == 0)),
            },
            short => (0, Some(u64::from(short))),
        };
        let length = length.ok_or(PROTOCOL_ERROR)?;
        if !is_control && length > room {
            return Err(TOO_BIG);
        }
        let Some(mask) = rest.get(length_bytes..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(None);
        };
        let header_bytes = 2 + length_bytes + 4;
        // INVARIANT: at most the message limit, which any size holds.
        Ok(Some(Header { is_final, opcode, mask: *mask, header_bytes, payload_bytes: length as usize }))
    }
}

impl Messages {
    /// Takes the frame that `input` begins with: its length, and what it completes.
    ///
    /// # Errors
    /// The code to close with.
    fn next(&mut self, input: &mut [u8]) -> Result<Option<(usize, Option<Event>)>, u16> {
        let Some(header) = Header::read(input, MESSAGE_BYTES_MAX - self.payload.len() as u64)? else {
            return Ok(None);
        };
        let whole = header.header_bytes + header.payload_bytes;
        let Some(payload) = input.get_mut(header.header_bytes..whole) else { return Ok(None) };
        unmask(payload, header.mask);
        let event = match header.opcode {
            PING => Some(Event::Ping(payload.to_vec())),
            // Nobody was asked for one.
            PONG => None,
            CLOSE => Some(Event::Close(close_payload(payload)?)),
            opcode => self.data(opcode, header.is_final, payload)?,
        };
        Ok(Some((whole, event)))
    }

    /// Adds a part of a message; gives the message with its last part.
    fn data(&mut self, opcode: u8, is_final: bool, payload: &[u8]) -> Result<Option<Event>, u16> {
        let opcode = match (opcode, self.opcode) {
            (CONTINUATION, Some(begun)) => begun,
            (CONTINUATION, None) | (_, Some(_)) => return Err(PROTOCOL_ERROR),
            (opcode, None) => opcode,
        };
        self.payload.extend_from_slice(payload);
        if !is_final {
            self.opcode = Some(opcode);
            return Ok(None);
        }
        self.opcode = None;
        let payload = std::mem::take(&mut self.payload);
        if opcode == TEXT && std::str::from_utf8(&payload).is_err() {
            return Err(NOT_UTF8);
        }
        Ok(Some(Event::Message(opcode, payload)))
    }

    /// Takes a message's memory back for the next one.
    fn reuse(&mut self, mut payload: Vec<u8>) {
        if self.payload.capacity() == 0 {
            payload.clear();
            self.payload = payload;
        }
    }
}

/// What a close is answered with: its own code, if it is one that may be sent (section 7.4).
fn close_payload(payload: &[u8]) -> Result<Vec<u8>, u16> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Vec::new()) } else { Err(PROTOCOL_ERROR) };
    };
    if !matches!(u16::from_be_bytes(*code), 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(PROTOCOL_ERROR);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(NOT_UTF8);
    }
    Ok(code.to_vec())
}

/// Takes the mask off (section 5.3), or puts it on: eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends one final frame, without a mask, as a server's are.
fn push_frame(opcode: u8, payload: &[u8], output: &mut Vec<u8>) {
    output.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => output.push(length as u8),
        length @ 126..=0xffff => {
            output.push(126);
            output.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            output.push(127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(payload);
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
