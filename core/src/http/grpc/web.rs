//! gRPC-Web: gRPC for browsers, which see no trailers and may want text.
//!
//! ```text
//!   request   content-type application/grpc-web[-text]+proto ─▶ application/grpc+proto, te: trailers
//!             messages as they are; text: base64, any number of strings one behind the other ─▶ messages
//!   response  content-type back; messages as they are, and the trailers as a last message:
//!             │ 0x80 │ length: 4 │ name: value CR LF … │          text: all of that as base64
//! ```
//!
//! Invariants:
//! - pieces may be cut anywhere: what comes out does not depend on it, but for padding;
//! - a message that has come is passed on whole: text is padded at its end rather than held back;
//! - two bytes and a message's prefix are all that is kept.
//!
//! HOT: no allocation while the buffer has room.
//!
//! Not here: what gRPC-Web clients need from CORS; it is the route's headers.

use super::{Code, Kind};
use crate::http::head::{Framing, Known, RequestHead, ResponseHead, Span};

/// The two forms of gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Web {
    /// Messages as they are.
    Binary,
    /// Base64.
    Text,
}

/// The first byte of the message that holds the trailers.
const TRAILERS: u8 = 0x80;
/// Bytes before each message: a flag and the length.
const PREFIX_BYTES: usize = 5;
/// What gRPC's content-type and gRPC-Web's begin with.
const CONTENT_TYPE: &[u8] = b"application/grpc";

impl Web {
    /// Makes a gRPC request of a gRPC-Web request's head; `bytes` begins at the request line. `None`, and no
    /// change, for other requests.
    pub fn request(bytes: &mut [u8], head: &mut RequestHead) -> Option<Web> {
        let field = head.fields.as_mut_slice().iter_mut().find(|field| field.known == Known::ContentType)?;
        let Some(Kind::Web(web)) = Kind::of(field.value.of(bytes)) else { return None };
        let format = super::format(field.value.of(bytes)).len();
        let start = usize::from(field.value.start) + CONTENT_TYPE.len();
        if format > 0 {
            let plus = memchr::memchr(b'+', field.value.of(bytes))? + usize::from(field.value.start);
            bytes.copy_within(plus..plus + format, start);
        }
        field.value = Span::at(usize::from(field.value.start), start + format);
        // The line is longer than what is left of it.
        field.canonical = false;
        Some(web)
    }

    /// The framing of the request's content on its way to the upstream.
    pub const fn request_framing(self, framing: Framing) -> Framing {
        match (self, framing) {
            (Web::Text, Framing::Length(1..)) => Framing::Chunked,
            _ => framing,
        }
    }

    /// Makes a gRPC-Web response of a gRPC response's head; `content_type` is where its new one was put
    /// behind the head. False, and no change, for other responses; also where the status is in the head already, so
    /// that no trailers follow as a message (then only the content-type changes).
    pub fn response(self, bytes: &[u8], head: &mut ResponseHead, content_type: Span) -> bool {
        if Kind::of_fields(bytes, &head.fields) != Some(Kind::Grpc) {
            return false;
        }
        let trailers_only = Code::of_fields(bytes, &head.fields).is_some() && !head.framing.has_body();
        let fields = head.fields.as_mut_slice();
        let Some(field) = fields.iter_mut().find(|field| field.known == Known::ContentType) else {
            return false;
        };
        field.value = content_type;
        // Its value is elsewhere now.
        field.canonical = false;
        if !trailers_only {
            head.framing = Framing::Chunked;
            head.length = None;
        }
        !trailers_only
    }
}

/// The text is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A text request's content on its way to the upstream.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    /// The values of digits that wait for the rest of their group.
    group: u32,
    /// Digits and padding in it, below four.
    digits: u8,
    padding: u8,
}

/// The value of each digit of base64, or 64.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut value = 0;
    while value < 64 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl TextDecoder {
    /// Appends what `text` stands for, but for an unfinished group at its end: at most three bytes for four.
    ///
    /// # Errors
    /// A byte that is no digit, or padding where none may be.
    pub fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        for &byte in text {
            let value = VALUES[usize::from(byte)];
            if byte == b'=' && self.digits >= 2 {
                self.padding += 1;
            } else if value == 64 || self.padding > 0 {
                return Err(Malformed);
            }
            self.group = self.group << 6 | u32::from(value & 63);
            self.digits += 1;
            if self.digits == 4 {
                let [_, bytes @ ..] = self.group.to_be_bytes();
                let count = 3 - usize::from(self.padding);
                // What padding stands for is zero, or the text had two readings.
                if bytes[count..].iter().any(|&byte| byte != 0) {
                    return Err(Malformed);
                }
                out.extend_from_slice(&bytes[..count]);
                *self = TextDecoder::default();
            }
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub const fn is_complete(&self) -> bool {
        self.digits == 0
    }
}

/// Where messages end in a response's content.
#[derive(Clone, Debug, Default)]
struct Messages {
    /// Bytes of the next message's prefix so far.
    prefix: [u8; PREFIX_BYTES],
    have: usize,
    /// Bytes of the message that are still to come.
    left: u64,
}

impl Messages {
    /// How many of these bytes come before the next message's beginning, all but the first time; then whether a
    /// message ends with them.
    fn next(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        if self.have < PREFIX_BYTES {
            taken = bytes.len().min(PREFIX_BYTES - self.have);
            self.prefix[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            if self.have < PREFIX_BYTES {
                return (taken, false);
            }
            let [_, length @ ..] = self.prefix;
            self.left = u64::from(u32::from_be_bytes(length));
        }
        let rest = (bytes.len() - taken) as u64;
        let content = rest.min(self.left);
        self.left -= content;
        if self.left == 0 {
            self.have = 0;
        }
        (taken + content as usize, self.left == 0)
    }
}

/// A response's content on its way to the browser.
#[derive(Clone, Debug)]
pub struct ResponseBody {
    web: Web,
    messages: Messages,
    /// Bytes that wait for the rest of their group of three.
    held: [u8; 3],
    holds: usize,
}

impl ResponseBody {
    /// Content for a client of that kind.
    pub fn new(web: Web) -> Self {
        ResponseBody { web, messages: Messages::default(), held: [0; 3], holds: 0 }
    }

    /// Whether content passes as it is, so that [`Self::data`] need not be asked.
    pub const fn passes(&self) -> bool {
        matches!(self.web, Web::Binary)
    }

    /// The most bytes that so many bytes come to: each message of five bytes may be a text of its own.
    pub const fn bound(bytes: usize) -> usize {
        (bytes + 4) / PREFIX_BYTES * 8 + 8
    }

    /// Appends a piece of content.
    pub fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.web == Web::Binary {
            return out.extend_from_slice(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (count, ends) = self.messages.next(rest);
            let (piece, more) = rest.split_at(count);
            self.digits(piece, out);
            if ends {
                self.pad(out);
            }
            rest = more;
        }
    }

    /// Appends the trailers, lines `name: value CR LF`, with which the content ends.
    pub fn trailers(&mut self, lines: &[u8], out: &mut Vec<u8>) {
        let mut prefix = [TRAILERS, 0, 0, 0, 0];
        // Trailers are bounded far below 2^32 bytes.
        prefix[1..].copy_from_slice(&(lines.len() as u32).to_be_bytes());
        if self.web == Web::Binary {
            out.extend_from_slice(&prefix);
            return out.extend_from_slice(lines);
        }
        self.pad(out);
        self.digits(&prefix, out);
        self.digits(lines, out);
        self.pad(out);
    }

    /// Appends the digits of whole groups, and holds the rest.
    fn digits(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while self.holds > 0 && !rest.is_empty() {
            self.held[self.holds] = rest[0];
            self.holds += 1;
            rest = &rest[1..];
            if self.holds == 3 {
                out.extend_from_slice(&digits(self.held));
                self.holds = 0;
            }
        }
        let (groups, last) = rest.as_chunks::<3>();
        for group in groups {
            out.extend_from_slice(&digits(*group));
        }
        if !last.is_empty() {
            self.held[..last.len()].copy_from_slice(last);
            self.holds = last.len();
        }
    }

    /// Ends a text.
    fn pad(&mut self, out: &mut Vec<u8>) {
        if self.holds == 0 {
            return;
        }
        self.held[self.holds..].fill(0);
        let mut group = digits(self.held);
        group[self.holds + 1..].fill(b'=');
        out.extend_from_slice(&group);
        self.holds = 0;
    }
}

/// The digits of three bytes.
fn digits([first, second, third]: [u8; 3]) -> [u8; 4] {
    let group = u32::from_be_bytes([0, first, second, third]);
    [18, 12, 6, 0].map(|shift| DIGITS[(group >> shift & 63) as usize])
}

#[cfg(test)]
mod tests;
