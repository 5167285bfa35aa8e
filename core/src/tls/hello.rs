//! The ClientHello, as far as routing needs it: server name, ALPN, versions. Read before anybody answers it.
//!
//! ```text
//!   record   type 22 | version 3.x | length ─┬─ part of the message ─┐   the message may lie in several records,
//!   record   type 22 | version 3.x | length ─┴─ part of the message ─┤   and a record in several segments
//!                                                                    v
//!   message  type 1 | length (3) | version | random (32) | session | suites | compression | extensions
//! ```
//!
//! Invariants:
//! - incremental: [`HelloReader::read`] gets everything received so far and looks at each record's head once;
//! - bounded by [`TLS_HELLO_BYTES_MAX`], heads of records included;
//! - whatever could be read in two ways (a length that does not fit, an extension that comes twice, two names)
//!   is an error with a reason, and so no other end can see another name than the one routed by;
//! - extensions, versions and protocols that are not known (GREASE, RFC 8701) are stepped over.
//!
//! With Encrypted ClientHello the outer name is the one that is seen, and routed by; [`ClientHello::encrypted`]
//! tells (it is also true for GREASE, which can't be told apart: that is its purpose).
//!
//! Not here: waiting for bytes, choosing a route, whether the destination accepts the message.

use std::fmt;

use crate::limits::TLS_HELLO_BYTES_MAX;

/// Bytes of a record's head.
const RECORD_HEAD_BYTES: usize = 5;
/// The content type of records that carry a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// Bytes of content in a record: 2^14 (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// The type of the message (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
/// Bytes of the message's head: type and length.
const MESSAGE_HEAD_BYTES: usize = 4;

/// Extension numbers (RFC 6066, RFC 7301, RFC 8446, RFC 9849).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What a connection begins with is no ClientHello that could be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// The first byte is not that of a handshake record: another protocol.
    NotTls,
    /// A record that TLS does not allow: its type, version or length.
    Record,
    /// A handshake message other than a ClientHello.
    Message,
    /// It is longer than [`TLS_HELLO_BYTES_MAX`].
    TooLarge,
    /// A length inside the message does not fit what it counts.
    Length,
    /// An extension that comes twice.
    Repeated,
    /// A server name that is no host name, or several.
    ServerName,
}

impl HelloError {
    /// The word for logs.
    pub const fn label(self) -> &'static str {
        match self {
            HelloError::NotTls => "not_tls",
            HelloError::Record => "bad_record",
            HelloError::Message => "not_a_client_hello",
            HelloError::TooLarge => "too_large",
            HelloError::Length => "bad_length",
            HelloError::Repeated => "repeated_extension",
            HelloError::ServerName => "bad_server_name",
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for HelloError {}

/// How far reading has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed; as far as can be seen it is a ClientHello.
    Partial,
    /// All of it is there.
    Complete(ClientHello),
}

/// What a ClientHello says, as far as anybody asks here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host that the client wants, in the form of `http::normalize`: lower case, without final dot.
    pub server_name: Option<Box<str>>,
    /// The protocols that the client offers, best first.
    pub alpn: Box<[Box<[u8]>]>,
    /// The highest version of TLS that the client speaks: `0x0304` is TLS 1.3. GREASE values left out.
    pub version: u16,
    /// It has the extension of Encrypted ClientHello, so that `server_name` may be a name for show.
    pub encrypted: bool,
}

/// Reads one ClientHello from the bytes at the beginning of a connection.
#[derive(Clone, Debug, Default)]
pub struct HelloReader {
    /// Where the head of the next record stands; all records before are whole.
    at: usize,
    /// How many bytes of the message stand in those.
    held: usize,
    /// The content of records so far, where the message lies in more than one.
    message: Vec<u8>,
}

impl HelloReader {
    /// A reader at the beginning of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with `bytes`, which are all bytes received so far, those of earlier calls included.
    ///
    /// # Errors
    ///
    /// It can't become a ClientHello any more, or not one that could be routed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, HelloError> {
        loop {
            let rest = &bytes[self.at.min(bytes.len())..];
            let Some(length) = record(rest, self.at == 0)? else {
                return partial(bytes);
            };
            let end = self.at + RECORD_HEAD_BYTES + length;
            if end > TLS_HELLO_BYTES_MAX {
                return Err(HelloError::TooLarge);
            }
            let Some(content) = rest.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length) else {
                return partial(bytes);
            };
            // Nearly always one record holds all: then nothing is copied.
            if self.held == 0
                && let Some(message) = message(content)?
            {
                return client_hello(message).map(Progress::Complete);
            }
            self.at = end;
            self.held += length;
            self.message.extend_from_slice(content);
            if let Some(message) = message(&self.message)? {
                return client_hello(message).map(Progress::Complete);
            }
        }
    }
}

/// More is needed, if more is allowed.
fn partial(bytes: &[u8]) -> Result<Progress, HelloError> {
    if bytes.len() >= TLS_HELLO_BYTES_MAX { Err(HelloError::TooLarge) } else { Ok(Progress::Partial) }
}

/// The length of the record that `bytes` begin with, as soon as its head is there; what is there of it must fit.
fn record(bytes: &[u8], first: bool) -> Result<Option<usize>, HelloError> {
    match bytes {
        [] => return Ok(None),
        // Another protocol, as long as nothing was TLS; SSL 2.0 too (RFC 7568 and before it RFC 6176 forbid it).
        [kind, ..] if *kind != HANDSHAKE && first => return Err(HelloError::NotTls),
        [kind, ..] if *kind != HANDSHAKE => return Err(HelloError::Record),
        [_, major, ..] if *major != 3 && first => return Err(HelloError::NotTls),
        [_, major, ..] if *major != 3 => return Err(HelloError::Record),
        _ => {}
    }
    let Some([high, low]) = bytes.get(3..RECORD_HEAD_BYTES) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // An empty part of a handshake is forbidden (RFC 8446 section 5.1), so that nobody has to count them.
    if (1..=RECORD_BYTES_MAX).contains(&length) { Ok(Some(length)) } else { Err(HelloError::Record) }
}

/// The body of the message in `content`, if all of it is there.
fn message(content: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    match content {
        [] => Ok(None),
        [kind, ..] if *kind != CLIENT_HELLO => Err(HelloError::Message),
        [_, a, b, c, body @ ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > TLS_HELLO_BYTES_MAX - MESSAGE_HEAD_BYTES - RECORD_HEAD_BYTES {
                return Err(HelloError::TooLarge);
            }
            Ok(body.get(..length))
        }
        _ => Ok(None),
    }
}

/// What is left to read of the message. Every method fails when less is there than asked for.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, HelloError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u16, HelloError> {
        self.array().map(u16::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HelloError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HelloError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// What a length of one byte counts.
    fn short(&mut self) -> Result<Reader<'a>, HelloError> {
        let length = self.byte()?;
        self.bytes(length.into()).map(Reader)
    }

    /// What a length of two bytes counts.
    fn long(&mut self) -> Result<Reader<'a>, HelloError> {
        let length = self.number()?;
        self.bytes(length.into()).map(Reader)
    }

    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    fn end(self) -> Result<(), HelloError> {
        if self.is_empty() { Ok(()) } else { Err(HelloError::Length) }
    }
}

/// Reads the message's body (RFC 8446 section 4.1.2; the older versions have the same form).
fn client_hello(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Reader(body);
    let version = body.number()?;
    let _random: [u8; 32] = body.array()?;
    if body.short()?.0.len() > 32 {
        return Err(HelloError::Length);
    }
    let suites = body.long()?.0.len();
    if suites == 0 || suites % 2 != 0 || body.short()?.is_empty() {
        return Err(HelloError::Length);
    }
    let mut hello = ClientHello { version, ..ClientHello::default() };
    // TLS 1.2 and older may have none, and then not even their length (RFC 5246 section 7.4.1.2).
    if body.is_empty() {
        return Ok(hello);
    }
    let mut extensions = body.long()?;
    body.end()?;
    let mut seen = 0_u8;
    while !extensions.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.long()?;
        let bit = match kind {
            SERVER_NAME => 1,
            ALPN => 2,
            SUPPORTED_VERSIONS => 4,
            ENCRYPTED_CLIENT_HELLO => 8,
            _ => continue,
        };
        if seen & bit != 0 {
            return Err(HelloError::Repeated);
        }
        seen |= bit;
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(content)?),
            ALPN => hello.alpn = protocols(content)?,
            SUPPORTED_VERSIONS => hello.version = highest(content)?.unwrap_or(hello.version),
            _ => hello.encrypted = true,
        }
    }
    Ok(hello)
}

/// The one host name (RFC 6066 section 3). Names of other kinds were never defined.
fn server_name(mut content: Reader<'_>) -> Result<Box<str>, HelloError> {
    /// The only kind of name there is.
    const HOST_NAME: u8 = 0;
    let mut list = content.long()?;
    content.end()?;
    let kind = list.byte()?;
    let name = list.long()?.0;
    if kind != HOST_NAME || !list.is_empty() {
        return Err(HelloError::ServerName);
    }
    host_name(name).ok_or(HelloError::ServerName)
}

/// The name in the form that names are compared in, if it is one: labels of letters, digits, `-` and `_`, at most
/// 253 bytes. A final dot means nothing (RFC 6066 forbids it, clients send it).
fn host_name(name: &[u8]) -> Option<Box<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split(|&byte| byte == b'.').all(label) {
        return None;
    }
    Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase().into())
}

/// The protocols offered (RFC 7301 section 3.1): at least one, none of them empty.
fn protocols(mut content: Reader<'_>) -> Result<Box<[Box<[u8]>]>, HelloError> {
    let mut list = content.long()?;
    content.end()?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.short()?.0;
        if protocol.is_empty() {
            return Err(HelloError::Length);
        }
        protocols.push(protocol.into());
    }
    if protocols.is_empty() { Err(HelloError::Length) } else { Ok(protocols.into()) }
}

/// The highest version offered (RFC 8446 section 4.2.1) that is one: GREASE values look like `0x?A?A`.
fn highest(mut content: Reader<'_>) -> Result<Option<u16>, HelloError> {
    let mut list = content.short()?;
    content.end()?;
    let mut highest = None;
    while !list.is_empty() {
        let version = list.number()?;
        if version >> 8 == 3 {
            highest = highest.max(Some(version));
        }
    }
    Ok(highest)
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
