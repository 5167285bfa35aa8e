//! HTTP/2's frames on the wire (RFC 9113, sections 4 and 6): their header, their limits, and how each
//! one that this program sends is written.
//!
//! ```text
//! | length 24 | kind 8 | flags 8 | reserved 1, stream 31 | payload: length bytes |
//! ```
//!
//! Not here: reading (`reader.rs`), and what frames mean for streams and windows.

use super::hpack::Bad;

/// What a client sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header, in bytes.
pub(super) const HEADER_BYTES: usize = 9;

/// The window of a stream and of the connection until SETTINGS and WINDOW_UPDATE change it, in bytes.
pub(crate) const WINDOW_DEFAULT: u32 = 65_535;

/// No window grows above this, in bytes (RFC 9113, section 6.9.1).
pub(crate) const WINDOW_MAX: u32 = 0x7fff_ffff;

/// The longest payload that every peer takes, in bytes, and the longest that one may offer to take.
pub(crate) const FRAME_BYTES_DEFAULT: u32 = 16_384;
/// See [`FRAME_BYTES_DEFAULT`].
pub(crate) const FRAME_BYTES_MAX: u32 = 16_777_215;

/// The highest stream there can be.
pub(super) const STREAM_MAX: u32 = 0x7fff_ffff;

/// The longest list of header fields that is read, counted as in RFC 9113, section 6.5.2, and the
/// longest block: as long as the longest head in HTTP/1.1.
pub(crate) const HEADER_LIST_BYTES_MAX: usize = crate::message::HEAD_BYTES_MAX;

/// Into how many CONTINUATION frames a block may be cut: a block of the longest list in frames of the
/// default size takes 16.
pub(super) const CONTINUATIONS_MAX: usize = 1_024;

/// The kinds of frames (RFC 9113, section 6).
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// The flags; what a bit means depends on the kind.
pub(super) mod flag {
    /// DATA, HEADERS: the last of the stream.
    pub(crate) const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: the answer to the peer's.
    pub(crate) const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the last of the block.
    pub(crate) const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: there is padding.
    pub(crate) const PADDED: u8 = 0x8;
    /// HEADERS: five bytes of priority stand before the block.
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The settings (RFC 9113, section 6.5.2; RFC 8441, section 3).
pub(super) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The error codes that this program sends or looks at (RFC 9113, section 7).
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const CANCEL: u32 = 8;
    pub(crate) const COMPRESSION_ERROR: u32 = 9;
    pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What the peer did that ends the connection: the code of the GOAWAY, and words for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u32,
    pub(super) text: &'static str,
}

impl Fault {
    /// A violation without a code of its own.
    pub(super) const fn protocol(text: &'static str) -> Self {
        Fault { code: code::PROTOCOL_ERROR, text }
    }

    /// A frame of a length that its kind does not have.
    pub(super) const fn size(text: &'static str) -> Self {
        Fault { code: code::FRAME_SIZE_ERROR, text }
    }

    /// More bytes, or more window, than there may be.
    pub(super) const fn flow(text: &'static str) -> Self {
        Fault { code: code::FLOW_CONTROL_ERROR, text }
    }
}

impl From<Bad> for Fault {
    fn from(bad: Bad) -> Self {
        Fault { code: code::COMPRESSION_ERROR, text: bad.0 }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    /// Reads one; the reserved bit is ignored.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Header {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & STREAM_MAX,
        }
    }

    /// Whether the flag is set.
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame's header.
pub(super) fn header(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    debug_assert!(length <= FRAME_BYTES_MAX as usize && stream <= STREAM_MAX);
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Writes SETTINGS.
pub(super) fn settings(values: &[(u16, u32)], out: &mut Vec<u8>) {
    header(values.len() * 6, kind::SETTINGS, 0, 0, out);
    for (setting, value) in values {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes the answer to the peer's SETTINGS.
pub(super) fn settings_ack(out: &mut Vec<u8>) {
    header(0, kind::SETTINGS, flag::ACK, 0, out);
}

/// Writes the answer to the peer's PING.
pub(super) fn ping_ack(opaque: [u8; 8], out: &mut Vec<u8>) {
    header(8, kind::PING, flag::ACK, 0, out);
    out.extend_from_slice(&opaque);
}

/// Writes WINDOW_UPDATE; stream 0 is the connection.
pub(super) fn window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    debug_assert!((1..=WINDOW_MAX).contains(&increment));
    header(4, kind::WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Writes RST_STREAM.
pub(super) fn reset(stream: u32, code: u32, out: &mut Vec<u8>) {
    header(4, kind::RST_STREAM, 0, stream, out);
    out.extend_from_slice(&code.to_be_bytes());
}

/// Writes GOAWAY: `last` is the highest stream that is processed.
pub(super) fn go_away(last: u32, code: u32, text: &str, out: &mut Vec<u8>) {
    header(8 + text.len(), kind::GOAWAY, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes a header block: HEADERS, and CONTINUATION as the peer's frame size demands.
pub(super) fn headers(stream: u32, parts: [&[u8]; 2], end: bool, frame_bytes_max: usize, out: &mut Vec<u8>) {
    let mut left = parts[0].len() + parts[1].len();
    let (mut kind, mut flags) = (kind::HEADERS, if end { flag::END_STREAM } else { 0 });
    let mut bytes = parts;
    loop {
        let mut length = left.min(frame_bytes_max);
        left -= length;
        if left == 0 {
            flags |= flag::END_HEADERS;
        }
        header(length, kind, flags, stream, out);
        for part in &mut bytes {
            let (now, later) = part.split_at(length.min(part.len()));
            out.extend_from_slice(now);
            (length, *part) = (length - now.len(), later);
        }
        if left == 0 {
            return;
        }
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

/// Writes one DATA frame.
pub(super) fn data(stream: u32, bytes: &[u8], end: bool, out: &mut Vec<u8>) {
    header(bytes.len(), kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, out);
    out.extend_from_slice(bytes);
}
