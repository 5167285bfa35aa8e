//! Writes messages: requests to upstreams, responses and our own answers to clients.
//!
//! Every message is written in one canonical way: start line with single spaces, `Name: value` lines
//! ending in CR LF, framing written anew from what was understood, hop-by-hop fields left out. Field
//! lines that are canonical already are copied as they are, neighbours in one go.
//!
//! Invariants:
//! - each received line is copied at most once; the output is appended to a buffer the caller sized;
//! - at most one of Content-Length and Transfer-Encoding is written, and it says what the body's
//!   encoding will be;
//! - Host comes exactly once, whatever the client sent.
//!
//! HOT: no allocation while the buffer has room, no formatting.
//!
//! Not here: bodies (`body`), which framing to choose (`conn`).

use super::super::edits::{HeaderEdits, is_host};
use super::super::head::{
    Field, Fields, Framing, Known, Method, RequestHead, ResponseHead, TargetForm, Version,
};
use super::super::known::Mask;
pub use chunk::{CHUNK_END, LAST_CHUNK, SizeLine, encode_chunk_size};
pub use forwarded::{ClientCert, Forwarding};

mod chunk;
pub(crate) mod forwarded;

/// How a response is framed for its client; see `conn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFrame {
    /// The client's version.
    pub version: Version,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// The body's framing towards the client.
    pub framing: Framing,
    /// The status is 101 and the Upgrade goes through.
    pub upgrade: bool,
}

/// The interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends the request as it goes to the upstream: HTTP/1.1, origin-form (`*` stays).
///
/// `bytes` begins at the request line. `path` is the normalised path if it differs from the one sent.
/// `framing` is the upstream body's.
#[inline]
pub fn encode_request(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    path: Option<&[u8]>,
    fwd: &Forwarding<'_>,
    edits: &HeaderEdits,
    framing: Framing,
) {
    debug_assert!(framing != Framing::UntilClose, "a request body has an end");
    request_line(out, bytes, head, path);
    let authority = head.authority.of(bytes);
    let own_host = head.form == TargetForm::Absolute || authority.is_empty();
    let mut skip = Known::ContentLength.bit();
    if own_host {
        skip |= Known::Host.bit();
        if !edits.sets(b"host") {
            line(out, b"Host", if authority.is_empty() { fwd.fallback_host } else { authority });
        }
    }
    skip |= forwarded::replaced(head, fwd);
    if framing != Framing::Chunked {
        skip |= Known::Trailer.bit();
    }
    copy_fields(out, bytes, &head.fields, head.len, skip, edits);
    forwarded::append(out, bytes, head, fwd, edits);
    append_edits(out, edits);
    body_fields(out, framing);
    if let (Some(upgrades), Some(offer)) = (fwd.upgrade, head.upgrade) {
        upgrade_fields(out, upgrades.pass(offer.of(bytes)));
    } else if framing.has_body() && head.method.content_undefined() {
        // See `RequestHead::closes_upstream`.
        line(out, b"Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a final response (or of 101 with `frame.upgrade`).
#[inline]
pub fn encode_response(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &ResponseHead,
    frame: &ResponseFrame,
    edits: &HeaderEdits,
) {
    debug_assert!(
        frame.framing != Framing::Chunked || frame.version != Version::Http10,
        "HTTP/1.0 knows no chunks"
    );
    status_line(out, head.status, reason_of(head, bytes));
    let mut skip = Known::ContentLength.bit();
    if frame.framing != Framing::Chunked {
        skip |= Known::Trailer.bit();
    }
    copy_fields(out, bytes, &head.fields, head.len, skip, edits);
    append_edits(out, edits);
    match (frame.framing, head.length) {
        // The length that a body would have had: answers to HEAD, and 304 (RFC 9110 section 8.6).
        (Framing::None, Some(length)) if !is_bodiless(head.status) => {
            body_fields(out, Framing::Length(length))
        }
        (framing, _) => body_fields(out, framing),
    }
    if frame.upgrade
        && let Some(upgrade) = head.upgrade
    {
        upgrade_fields(out, std::iter::once(upgrade.of(bytes)));
    } else {
        connection_field(out, frame.version, frame.keep_alive);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the answer to a CONNECT whose tunnel stands: a head alone, since what follows is the tunnel's
/// (RFC 9110 section 9.3.6).
pub fn encode_connected(out: &mut Vec<u8>, edits: &HeaderEdits) {
    status_line(out, 200, reason_phrase(200));
    append_edits(out, edits);
    out.extend_from_slice(b"\r\n");
}

/// Appends the 101 that a stream's 2xx stands for (RFC 8441 section 5): the connection switches to `protocol`, and a
/// WebSocket key is answered with `accept`.
pub fn encode_switching(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &ResponseHead,
    edits: &HeaderEdits,
    protocol: &[u8],
    accept: Option<&[u8]>,
) {
    status_line(out, 101, reason_phrase(101));
    let skip = Known::ContentLength.bit() | Known::Trailer.bit();
    copy_fields(out, bytes, &head.fields, head.len, skip, edits);
    append_edits(out, edits);
    upgrade_fields(out, std::iter::once(protocol));
    if let Some(accept) = accept {
        line(out, b"Sec-WebSocket-Accept", accept);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim (1xx) response as it came, without hop-by-hop fields.
pub fn encode_interim(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead) {
    status_line(out, head.status, reason_of(head, bytes));
    let skip = Known::ContentLength.bit() | Known::Trailer.bit();
    copy_fields(out, bytes, &head.fields, head.len, skip, &HeaderEdits::default());
    out.extend_from_slice(b"\r\n");
}

/// Appends an answer of our own. `head_request` leaves the body out, but not its length. HTTP/1.0 clients
/// are answered with `keep_alive` false, since nothing here would tell them otherwise.
pub fn encode_own(
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(&[u8], &[u8])],
    body: &[u8],
    keep_alive: bool,
    head_request: bool,
) {
    status_line(out, status, reason_phrase(status));
    for (name, value) in fields {
        line(out, name, value);
    }
    if !is_bodiless(status) && status != 304 {
        body_fields(out, Framing::Length(body.len() as u64));
    }
    if !keep_alive {
        line(out, b"Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !head_request && !is_bodiless(status) && status != 304 {
        out.extend_from_slice(body);
    }
}

/// No content and no Content-Length (RFC 9110 section 8.6).
pub(crate) const fn is_bodiless(status: u16) -> bool {
    status < 200 || status == 204
}

#[inline]
fn request_line(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, path: Option<&[u8]>) {
    out.extend_from_slice(head.method_span.of(bytes));
    out.push(b' ');
    let sent = head.path.of(bytes);
    match head.form {
        TargetForm::Authority => out.extend_from_slice(head.target.of(bytes)),
        // RFC 9112 section 3.2.4: OPTIONS for the whole server.
        TargetForm::Absolute if sent.is_empty() && head.query.is_none() && head.method == Method::Options => {
            out.push(b'*');
        }
        TargetForm::Origin | TargetForm::Absolute | TargetForm::Asterisk => {
            let path = path.unwrap_or(sent);
            out.extend_from_slice(if path.is_empty() { b"/" } else { path });
            if let Some(query) = head.query {
                out.push(b'?');
                out.extend_from_slice(query.of(bytes));
            }
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

#[inline]
fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase: as it came, or (HTTP/2 has none) the usual one.
#[inline]
fn reason_of<'a>(head: &ResponseHead, bytes: &'a [u8]) -> &'a [u8] {
    if head.version == Version::Http2 { reason_phrase(head.status) } else { head.reason.of(bytes) }
}

/// Copies the fields that are forwarded. Lines between which nothing is left out or changed go in one copy.
#[inline]
fn copy_fields(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &Fields,
    len: usize,
    skip: Mask,
    edits: &HeaderEdits,
) {
    let edited = !edits.is_empty();
    let list = fields.as_slice();
    // After the last line comes the empty one.
    let end = len.saturating_sub(2);
    let mut run = list.first().map_or(end, |first| usize::from(first.name.start));
    for (place, field) in list.iter().enumerate() {
        let dropped =
            field.hop | (skip & field.known.bit() != 0) || (edited && is_edited(field, bytes, edits));
        if field.canonical & !dropped {
            continue;
        }
        out.extend_from_slice(bytes.get(run..usize::from(field.name.start)).unwrap_or(&[]));
        if !dropped {
            line(out, field.name.of(bytes), field.value.of(bytes));
        }
        run = list.get(place + 1).map_or(end, |next| usize::from(next.name.start));
    }
    out.extend_from_slice(bytes.get(run..end).unwrap_or(&[]));
}

/// Whether an edit leaves this field out. Host can be replaced, never removed.
#[inline]
fn is_edited(field: &Field, bytes: &[u8], edits: &HeaderEdits) -> bool {
    let name = field.name.of(bytes);
    if field.known == Known::Host { edits.sets(name) } else { edits.drops(name) }
}

#[inline]
fn append_edits(out: &mut Vec<u8>, edits: &HeaderEdits) {
    for (name, value) in &edits.set {
        line(out, name, value);
    }
    // A second Host would be a second reading.
    for (name, value) in edits.add.iter().filter(|(name, _)| !is_host(name)) {
        line(out, name, value);
    }
}

#[inline]
fn body_fields(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

/// Connection and Upgrade of a message that offers or takes these protocols.
fn upgrade_fields<'a>(out: &mut Vec<u8>, protocols: impl Iterator<Item = &'a [u8]>) {
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
    for (place, protocol) in protocols.enumerate() {
        out.extend_from_slice(if place > 0 { b", " } else { b"" });
        out.extend_from_slice(protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Connection, where the version's default says something else.
#[inline]
fn connection_field(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    match (version, keep_alive) {
        (Version::Http11 | Version::Http2, true) => {}
        (Version::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
    }
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number.
#[inline]
pub(crate) fn decimal(out: &mut Vec<u8>, number: u64) {
    // 2^64 has 20 digits.
    let mut text = [0; 20];
    let mut start = text.len();
    let mut rest = number;
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[start..]);
}

/// The usual phrase for the statuses we answer with (RFC 9110 section 15); empty for others.
pub(crate) const fn reason_phrase(status: u16) -> &'static [u8] {
    match status {
        200 => b"OK",
        201 => b"Created",
        202 => b"Accepted",
        204 => b"No Content",
        301 => b"Moved Permanently",
        302 => b"Found",
        303 => b"See Other",
        304 => b"Not Modified",
        307 => b"Temporary Redirect",
        308 => b"Permanent Redirect",
        400 => b"Bad Request",
        401 => b"Unauthorized",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        408 => b"Request Timeout",
        410 => b"Gone",
        413 => b"Content Too Large",
        414 => b"URI Too Long",
        417 => b"Expectation Failed",
        421 => b"Misdirected Request",
        429 => b"Too Many Requests",
        431 => b"Request Header Fields Too Large",
        500 => b"Internal Server Error",
        501 => b"Not Implemented",
        502 => b"Bad Gateway",
        503 => b"Service Unavailable",
        504 => b"Gateway Timeout",
        505 => b"HTTP Version Not Supported",
        _ => b"",
    }
}

#[cfg(test)]
mod tests;
