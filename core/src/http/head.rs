//! A message head as ranges into the bytes it was read from, with the facts that parsing settled.
//!
//! ```text
//!   bytes  \r\n G E T   / a ? b   H T T P / 1 . 1 \r\n H o s t :   x \r\n ... \r\n\r\n
//!          └skip┘└────── spans count from here, the first byte of the start line ────┘len
//! ```
//!
//! Invariants:
//! - a head that was returned as complete holds only what `h1::parse` allows: nothing in it has two readings;
//! - spans never leave the head; a foreign slice yields an empty result, never a panic;
//! - one value is kept per shard and reused: the field list is not cleared, only its length.
//!
//! HOT: no allocation, no lock. Not here: reading and writing heads (`h1`).

pub use super::known::Known;
pub use super::method::Method;
use crate::limits::HEADER_COUNT_MAX;

/// A range of a head's bytes, counted from the first byte of its start line. 16 bits suffice because
/// [`crate::limits::HEADER_BYTES_MAX`] is below 64 KiB.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

impl Span {
    /// The bytes of this span in `bytes` (which must begin at the start line); empty when out of range.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or(&[])
    }

    /// Whether it holds no byte.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// How many bytes it holds.
    #[inline]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// A span of two offsets, which the head limit keeps below 64 KiB.
    #[inline]
    pub(crate) const fn at(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u16::MAX as usize);
        Span { start: start as u16, end: end as u16 }
    }
}

/// The version a peer speaks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2: its heads have the same form here, see `h2`.
    Http2,
}

impl Version {
    /// As access logs name it.
    pub const fn label(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

/// One field line.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name as sent, a token.
    pub name: Span,
    /// The value without surrounding white space.
    pub value: Span,
    /// Which field it is, if it matters to a proxy.
    pub known: Known,
    /// Not forwarded: hop-by-hop itself, named by `Connection`, or a look-alike of such a field.
    pub hop: bool,
    /// The line is exactly `name: value`, with one space, and may be copied as it is.
    pub canonical: bool,
    /// HTTP/2: it is never to be compressed, here and further on (RFC 7541 section 6.2.3).
    pub sensitive: bool,
}

/// The field lines of one head, inline.
#[derive(Clone, Debug)]
pub struct Fields {
    list: [Field; HEADER_COUNT_MAX],
    len: usize,
}

const NO_FIELD: Field = Field {
    name: Span { start: 0, end: 0 },
    value: Span { start: 0, end: 0 },
    known: Known::Other,
    hop: false,
    canonical: false,
    sensitive: false,
};

impl Fields {
    /// An empty list.
    pub const fn new() -> Self {
        Fields { list: [NO_FIELD; HEADER_COUNT_MAX], len: 0 }
    }

    /// The lines in the order they came.
    #[inline]
    pub fn as_slice(&self) -> &[Field] {
        self.list.get(..self.len).unwrap_or(&[])
    }

    /// The lines in the order they came.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.as_slice().iter()
    }

    /// How many lines there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first line of that field.
    #[inline]
    pub fn find(&self, known: Known) -> Option<&Field> {
        self.iter().find(|field| field.known == known)
    }

    /// Makes room for exactly `count` lines (at most [`HEADER_COUNT_MAX`]) and returns them for writing.
    #[inline]
    pub(crate) fn resize(&mut self, count: usize) -> &mut [Field] {
        self.len = count.min(HEADER_COUNT_MAX);
        &mut self.list[..self.len]
    }

    /// The lines, for marking.
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [Field] {
        &mut self.list[..self.len]
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// This many bytes, below 2^63.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

impl Framing {
    /// Whether content bytes (or an end marker of content) follow the head.
    pub const fn has_body(self) -> bool {
        !matches!(self, Framing::None | Framing::Length(0))
    }
}

/// The form of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, of CONNECT.
    Authority,
    /// `*`, of OPTIONS.
    Asterisk,
}

/// A request head; all spans count from the first byte of the request line, that is `bytes[skip..]`.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method's token.
    pub method_span: Span,
    /// The client's version.
    pub version: Version,
    /// The target's form.
    pub form: TargetForm,
    /// The target as sent.
    pub target: Span,
    /// The effective authority: of an absolute or authority target, else the Host field's value. Empty
    /// only on HTTP/1.0 without Host.
    pub authority: Span,
    /// The path as sent; empty for an absolute target without one and for CONNECT, `*` for asterisk-form.
    pub path: Span,
    /// The query without its `?`.
    pub query: Option<Span>,
    /// The field lines.
    pub fields: Fields,
    /// Bytes of the head from the request line to the empty line, both included; without `skip`.
    pub len: usize,
    /// Bytes of empty lines before the request line (RFC 9112 section 2.2).
    pub skip: usize,
    /// The body's framing.
    pub framing: Framing,
    /// Whether the client is willing to use the connection again.
    pub keep_alive: bool,
    /// `Expect: 100-continue` on HTTP/1.1.
    pub expect_continue: bool,
    /// The Upgrade field's value when `Connection: upgrade` came with it, on HTTP/1.1, without a body.
    pub upgrade: Option<Span>,
    /// The protocol of an extended CONNECT (RFC 8441), which asks for what [`Self::upgrade`] then says, too.
    pub protocol: Option<Span>,
}

impl RequestHead {
    /// An empty head to parse into.
    pub const fn new() -> Self {
        const NONE: Span = Span { start: 0, end: 0 };
        RequestHead {
            method: Method::Get,
            method_span: NONE,
            version: Version::Http11,
            form: TargetForm::Origin,
            target: NONE,
            authority: NONE,
            path: NONE,
            query: None,
            fields: Fields::new(),
            len: 0,
            skip: 0,
            framing: Framing::None,
            keep_alive: true,
            expect_continue: false,
            upgrade: None,
            protocol: None,
        }
    }

    /// The head's bytes: what all spans count in.
    #[inline]
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.skip..self.skip + self.len).unwrap_or(&[])
    }

    /// Where in the received bytes the body begins.
    #[inline]
    pub const fn body_start(&self) -> usize {
        self.skip + self.len
    }

    /// Content whose meaning is undefined for the method: it is forwarded with `Connection: close`, so
    /// that an upstream which leaves it unread can't take it for a request.
    #[inline]
    pub const fn closes_upstream(&self) -> bool {
        self.framing.has_body() && self.method.content_undefined()
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

/// A response head; all spans count from the first byte of the status line.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: u16,
    /// The upstream's version.
    pub version: Version,
    /// The reason phrase, possibly empty.
    pub reason: Span,
    /// The field lines.
    pub fields: Fields,
    /// Bytes of the head, empty line included.
    pub len: usize,
    /// The body's framing, given the request's method.
    pub framing: Framing,
    /// The declared Content-Length, also where there is no body (answers to HEAD, 304).
    pub length: Option<u64>,
    /// Whether the upstream is willing to use the connection again.
    pub keep_alive: bool,
    /// The Upgrade field's value when `Connection: upgrade` came with it.
    pub upgrade: Option<Span>,
}

impl ResponseHead {
    /// An empty head to parse into.
    pub const fn new() -> Self {
        ResponseHead {
            status: 0,
            version: Version::Http11,
            reason: Span { start: 0, end: 0 },
            fields: Fields::new(),
            len: 0,
            framing: Framing::None,
            length: None,
            keep_alive: true,
            upgrade: None,
        }
    }

    /// Whether it is interim: a final response follows (101 is final here).
    #[inline]
    pub const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}
