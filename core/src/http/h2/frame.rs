//! What every HTTP/2 frame begins with, and the numbers of the protocol (RFC 9113 sections 4.1, 6, 7 and 11).
//!
//! ```text
//!   | length: 3 | type: 1 | flags: 1 | reserved bit, stream: 4 | payload: length bytes
//! ```
//!
//! Invariants: nine bytes in, nine bytes out; the reserved bit is neither read nor written.
//!
//! Not here: what a frame means to a connection or stream.

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;
/// The greatest stream identifier, also GOAWAY's "no stream is refused yet".
pub const STREAM_MAX: u32 = (1 << 31) - 1;
/// The greatest flow-control window (RFC 9113 section 6.9.1).
pub const WINDOW_MAX: u32 = (1 << 31) - 1;
/// A stream's and the connection's window before anything else is said.
pub const WINDOW_DEFAULT: u32 = 65_535;
/// The least SETTINGS_MAX_FRAME_SIZE, and what holds before anything else is said.
pub const FRAME_BYTES_DEFAULT: u32 = 16_384;
/// The greatest SETTINGS_MAX_FRAME_SIZE.
pub const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;
/// SETTINGS_HEADER_TABLE_SIZE before anything else is said.
pub const TABLE_BYTES_DEFAULT: u32 = 4_096;

/// A frame's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Content.
    Data,
    /// A header block, or its beginning.
    Headers,
    /// Deprecated; read and ignored.
    Priority,
    /// The end of one stream.
    RstStream,
    /// Parameters of the connection.
    Settings,
    /// Announces a stream of the server's.
    PushPromise,
    /// Is answered with the same eight bytes.
    Ping,
    /// No streams beyond a certain one.
    GoAway,
    /// More may be sent.
    WindowUpdate,
    /// The rest of a header block.
    Continuation,
    /// Any other; ignored (RFC 9113 section 4.1).
    Other(u8),
}

impl Kind {
    /// The type of that number.
    #[inline]
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            other => Kind::Other(other),
        }
    }

    /// The type's number.
    #[inline]
    pub const fn number(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::Headers => 1,
            Kind::Priority => 2,
            Kind::RstStream => 3,
            Kind::Settings => 4,
            Kind::PushPromise => 5,
            Kind::Ping => 6,
            Kind::GoAway => 7,
            Kind::WindowUpdate => 8,
            Kind::Continuation => 9,
            Kind::Other(number) => number,
        }
    }
}

/// Flags; which ones a type has is said with it in RFC 9113 section 6.
pub mod flags {
    /// DATA, HEADERS: the sender ends the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the block is complete.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS, PUSH_PROMISE: the payload begins with the length of its padding.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: five bytes of priority come before the block.
    pub const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// Bytes of the payload, below 2^24.
    pub length: u32,
    /// The type.
    pub kind: Kind,
    /// See [`flags`].
    pub flags: u8,
    /// The stream, below 2^31; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// Reads a head.
    #[inline]
    pub const fn parse(bytes: &[u8; HEAD_BYTES]) -> Self {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        FrameHead {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    /// Writes the head.
    #[inline]
    pub const fn encode(self) -> [u8; HEAD_BYTES] {
        debug_assert!(self.length <= FRAME_BYTES_MAX && self.stream <= STREAM_MAX);
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = (self.stream & STREAM_MAX).to_be_bytes();
        [l0, l1, l2, self.kind.number(), self.flags, s0, s1, s2, s3]
    }

    /// Whether all bits of `flag` are set.
    #[inline]
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag == flag
    }
}

/// Why a stream or connection ends (RFC 9113 section 7); peers may send any number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = ErrorCode(0x0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = ErrorCode(0x1);
    /// Something went wrong here.
    pub const INTERNAL_ERROR: Self = ErrorCode(0x2);
    /// The peer sent more than the window allowed.
    pub const FLOW_CONTROL_ERROR: Self = ErrorCode(0x3);
    /// SETTINGS were not answered in time.
    pub const SETTINGS_TIMEOUT: Self = ErrorCode(0x4);
    /// A frame on a stream that had ended.
    pub const STREAM_CLOSED: Self = ErrorCode(0x5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = ErrorCode(0x6);
    /// Nothing was done for the stream: it may be asked for again.
    pub const REFUSED_STREAM: Self = ErrorCode(0x7);
    /// The stream is not wanted any more.
    pub const CANCEL: Self = ErrorCode(0x8);
    /// A header block could not be decompressed.
    pub const COMPRESSION_ERROR: Self = ErrorCode(0x9);
    /// The connection of a CONNECT was reset.
    pub const CONNECT_ERROR: Self = ErrorCode(0xA);
    /// The peer behaves as if to do harm.
    pub const ENHANCE_YOUR_CALM: Self = ErrorCode(0xB);
    /// The transport is not good enough.
    pub const INADEQUATE_SECURITY: Self = ErrorCode(0xC);
    /// HTTP/1.1 is asked for.
    pub const HTTP_1_1_REQUIRED: Self = ErrorCode(0xD);

    /// The word for metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            ErrorCode::NO_ERROR => "no_error",
            ErrorCode::PROTOCOL_ERROR => "protocol_error",
            ErrorCode::INTERNAL_ERROR => "internal_error",
            ErrorCode::FLOW_CONTROL_ERROR => "flow_control_error",
            ErrorCode::SETTINGS_TIMEOUT => "settings_timeout",
            ErrorCode::STREAM_CLOSED => "stream_closed",
            ErrorCode::FRAME_SIZE_ERROR => "frame_size_error",
            ErrorCode::REFUSED_STREAM => "refused_stream",
            ErrorCode::CANCEL => "cancel",
            ErrorCode::COMPRESSION_ERROR => "compression_error",
            ErrorCode::CONNECT_ERROR => "connect_error",
            ErrorCode::ENHANCE_YOUR_CALM => "enhance_your_calm",
            ErrorCode::INADEQUATE_SECURITY => "inadequate_security",
            ErrorCode::HTTP_1_1_REQUIRED => "http_1_1_required",
            _ => "other",
        }
    }
}

/// Identifiers in SETTINGS (RFC 9113 section 6.5.2, RFC 8441, RFC 9218).
pub mod setting {
    /// The dynamic table that the sender keeps for decoding.
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    /// 0 or 1; servers send 0 or nothing.
    pub const ENABLE_PUSH: u16 = 0x2;
    /// Streams that the receiver may have open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// The window of new streams, and by difference of all others.
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// The greatest payload that the sender takes.
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    /// The greatest header list that the sender takes, in the count of section 6.5.2.
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// 1: extended CONNECT is understood (RFC 8441 section 3).
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    /// 1: the sender pays no heed to PRIORITY frames (RFC 9218 section 2.1).
    pub const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_as_they_are_read() {
        for number in 0..=255 {
            assert_eq!(Kind::of(number).number(), number);
            let head =
                FrameHead { length: 0x01_02_03, kind: Kind::of(number), flags: number, stream: STREAM_MAX };
            assert_eq!(FrameHead::parse(&head.encode()), head);
        }
        let bytes = [0, 0, 5, 1, flags::END_HEADERS | flags::PADDED, 0x80, 0, 0, 3];
        let head = FrameHead::parse(&bytes);
        assert_eq!(
            (head.length, head.kind, head.stream),
            (5, Kind::Headers, 3),
            "the reserved bit is ignored"
        );
        assert!(head.has(flags::END_HEADERS) && !head.has(flags::END_STREAM));
        assert_eq!(head.encode(), [0, 0, 5, 1, 0xC, 0, 0, 0, 3]);
    }

    #[test]
    fn codes_have_different_labels() {
        let mut labels: Vec<_> = (0..=0xE).map(|code| ErrorCode(code).label()).collect();
        assert_eq!(labels.pop(), Some("other"));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), 14);
    }
}
