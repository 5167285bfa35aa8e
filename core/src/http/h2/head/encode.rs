//! Writes heads as header blocks: requests to upstreams, responses and our own answers to clients.
//!
//! The inputs are those of `h1::encode`, and so is what goes out: hop-by-hop fields stay behind, framing is
//! written anew, edits have the last word. Names become lower-case. What an HTTP/1 `Upgrade` asks for is asked
//! for by an extended CONNECT (RFC 8441).
//!
//! Invariants:
//! - pseudo-headers come first, each once; no connection-specific field follows (RFC 9113 sections 8.2.2 and 8.3);
//! - a line of an HTTP/2 head is passed on as it lies there, without a copy.
//!
//! HOT: no allocation once the buffers have grown, no formatting.
//!
//! Not here: frames, content, which framing to choose.

use super::super::hpack::{Encoder, Indexing};
use crate::http::edits::{HeaderEdits, is_host};
use crate::http::grpc;
use crate::http::h1::encode::Forwarding;
use crate::http::h1::{forwarded, is_bodiless, list, write_decimal as decimal};
use crate::http::head::{Field, Framing, Known, Method, RequestHead, ResponseHead, TargetForm, Version};
use crate::http::known::{Mask, is};

const TIMEOUT: &[u8; 12] = b"grpc-timeout";

/// Appends the request's header block as it goes to the upstream.
///
/// `bytes` begins at the request line, of either version. `path` is the normalised path if it differs from the one
/// sent. `framing` is the upstream content's; without a length nothing is said about it. Content ends with the
/// stream, and that is said by whoever makes the frames.
#[expect(clippy::too_many_arguments, reason = "the inputs of h1::encode, and what HTTP/2 adds")]
#[inline]
pub fn encode_request(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    path: Option<&[u8]>,
    fwd: &Forwarding<'_>,
    edits: &HeaderEdits,
    scheme: &[u8],
    framing: Framing,
) {
    debug_assert!(framing != Framing::UntilClose, "a request body has an end");
    encoder.begin(out);
    let offer = head.upgrade.map(|offer| offer.of(bytes)).unwrap_or_default();
    let protocol = fwd.upgrade.and_then(|upgrades| upgrades.pass(offer).next());
    pseudo(encoder, out, bytes, head, path, fwd, edits, scheme, protocol);
    let mut skip = Known::ContentLength.bit() | Known::Host.bit() | forwarded::replaced(head, fwd);
    if framing == Framing::None {
        skip |= Known::Trailer.bit();
    }
    let fields = head.fields.as_slice();
    copy_fields(encoder, out, bytes, fields, head.version, skip, |field| {
        is_edited(field, bytes, edits)
            || (protocol.is_some() && is_handshake(field.name.of(bytes)))
            || (fwd.grpc_timeout.is_some() && is(field.name.of(bytes), TIMEOUT))
    });
    if takes_trailers(bytes, head) {
        encoder.field(out, b"te", b"trailers", Indexing::Usual);
    }
    if let Some(left) = fwd.grpc_timeout.filter(|_| edits.is_empty() || !edits.drops(TIMEOUT)) {
        encoder.made_field(out, TIMEOUT, |value| grpc::timeout::write(left, value));
    }
    forwarded::append(&mut Own { encoder, out }, bytes, head, fwd, edits);
    if let Framing::Length(length) = framing {
        length_field(encoder, out, length);
    }
    append_edits(encoder, out, edits);
}

/// Appends the header block of a final response. A 101 becomes 200: what it agrees to was asked for by an extended
/// CONNECT.
#[inline]
pub fn encode_response(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &ResponseHead,
    edits: &HeaderEdits,
    framing: Framing,
) {
    encoder.begin(out);
    let switches = head.status == 101;
    status(encoder, out, if switches { 200 } else { head.status });
    let mut skip = Known::ContentLength.bit();
    if framing == Framing::None {
        skip |= Known::Trailer.bit();
    }
    copy_fields(encoder, out, bytes, head.fields.as_slice(), head.version, skip, |field| {
        is_edited(field, bytes, edits) || (switches && is_handshake(field.name.of(bytes)))
    });
    let length = match framing {
        // The length that a body would have had: answers to HEAD, and 304 (RFC 9110 section 8.6).
        Framing::None if !is_bodiless(head.status) => head.length,
        // The stream's end says so.
        Framing::Length(0) if head.version == Version::Http2 => head.length,
        Framing::Length(length) => Some(length),
        _ => None,
    };
    if let Some(length) = length {
        length_field(encoder, out, length);
    }
    append_edits(encoder, out, edits);
}

/// Appends the answer to a CONNECT, or extended CONNECT, whose tunnel stands.
pub fn encode_connected(encoder: &mut Encoder, out: &mut Vec<u8>, edits: &HeaderEdits) {
    encoder.begin(out);
    status(encoder, out, 200);
    append_edits(encoder, out, edits);
}

/// Appends an interim (1xx) response as it came, without hop-by-hop fields.
pub fn encode_interim(encoder: &mut Encoder, out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead) {
    encoder.begin(out);
    status(encoder, out, head.status);
    let skip = Known::ContentLength.bit() | Known::Trailer.bit();
    copy_fields(encoder, out, bytes, head.fields.as_slice(), head.version, skip, |_| false);
}

/// Appends the head of an answer of our own, whose content has `length` bytes; answers that have none by their
/// status say nothing about it.
pub fn encode_own(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    status: u16,
    fields: &[(&[u8], &[u8])],
    length: u64,
) {
    encoder.begin(out);
    self::status(encoder, out, status);
    for (name, value) in fields {
        encoder.any_field(out, name, value, Indexing::Usual);
    }
    if !is_bodiless(status) && status != 304 {
        length_field(encoder, out, length);
    }
}

/// Appends trailers: lines `name: value CR LF` as `decode_trailers` or HTTP/1's trailer section have them.
pub fn encode_trailers(encoder: &mut Encoder, out: &mut Vec<u8>, text: &[u8]) {
    encoder.begin(out);
    let mut rest = text;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, next) = rest.split_at(end + 1);
        if let Some(colon) = memchr::memchr(b':', line) {
            let (name, value) = line.split_at(colon);
            encoder.any_field(out, name, value[1..].trim_ascii(), Indexing::Usual);
        }
        rest = next;
    }
}

/// The pseudo-headers of a request.
#[expect(clippy::too_many_arguments, reason = "the inputs of its only caller")]
#[inline]
fn pseudo(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    path: Option<&[u8]>,
    fwd: &Forwarding<'_>,
    edits: &HeaderEdits,
    scheme: &[u8],
    protocol: Option<&[u8]>,
) {
    match head.method {
        _ if protocol.is_some() => encoder.field(out, b":method", b"CONNECT", Indexing::Usual),
        Method::Get => encoder.fixed(out, 2),
        Method::Post => encoder.fixed(out, 3),
        _ => encoder.field(out, b":method", head.method_span.of(bytes), Indexing::Usual),
    }
    if let Some(protocol) = protocol {
        encoder.field(out, b":protocol", protocol, Indexing::Usual);
    }
    if head.form == TargetForm::Authority {
        encoder.field(out, b":authority", head.target.of(bytes), Indexing::Usual);
        return;
    }
    match scheme {
        b"http" => encoder.fixed(out, 6),
        b"https" => encoder.fixed(out, 7),
        _ => encoder.field(out, b":scheme", scheme, Indexing::Usual),
    }
    let authority = match edits.set.iter().find(|(name, _)| is_host(name)) {
        Some((_, value)) => value,
        None if head.authority.is_empty() => fwd.fallback_host,
        None => head.authority.of(bytes),
    };
    encoder.field(out, b":authority", authority, Indexing::Usual);
    let sent = head.path.of(bytes);
    let whole = head.form == TargetForm::Absolute && head.method == Method::Options;
    let path = match path.unwrap_or(sent) {
        // RFC 9113 section 8.3.1: OPTIONS for the whole server.
        _ if whole && sent.is_empty() && head.query.is_none() => b"*",
        b"" => b"/",
        path => path,
    };
    match head.query {
        None if path == b"/" => encoder.fixed(out, 4),
        None => encoder.field(out, b":path", path, Indexing::Usual),
        Some(query) => encoder.made_field(out, b":path", |value| {
            value.extend_from_slice(path);
            value.push(b'?');
            value.extend_from_slice(query.of(bytes));
        }),
    }
}

/// Appends the fields that are forwarded.
#[inline]
fn copy_fields(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &[Field],
    version: Version,
    skip: Mask,
    dropped: impl Fn(&Field) -> bool,
) {
    for field in fields {
        if field.hop | (skip & field.known.bit() != 0) || dropped(field) {
            continue;
        }
        let indexing = if field.sensitive { Indexing::Never } else { Indexing::Usual };
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        if version == Version::Http2 {
            encoder.field(out, name, value, indexing);
        } else {
            encoder.any_field(out, name, value, indexing);
        }
    }
}

/// Whether `te: trailers` goes with the request (RFC 9113 section 8.2.2): it came with it, or gRPC asks for it.
#[inline]
fn takes_trailers(bytes: &[u8], head: &RequestHead) -> bool {
    let trailers =
        |field: &Field| list(field.value.of(bytes)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    let mut te = head.fields.iter().filter(|field| field.known == Known::Te);
    te.any(trailers) || grpc::Kind::of_fields(bytes, &head.fields) == Some(grpc::Kind::Grpc)
}

/// Whether an edit leaves this field out.
#[inline]
fn is_edited(field: &Field, bytes: &[u8], edits: &HeaderEdits) -> bool {
    !edits.is_empty() && edits.drops(field.name.of(bytes))
}

/// What a WebSocket's handshake in HTTP/1.1 has and an extended CONNECT has not (RFC 8441 section 5).
fn is_handshake(name: &[u8]) -> bool {
    is(name, b"sec-websocket-key") || is(name, b"sec-websocket-accept")
}

#[inline]
fn append_edits(encoder: &mut Encoder, out: &mut Vec<u8>, edits: &HeaderEdits) {
    if edits.is_empty() {
        return;
    }
    for (name, value) in edits.set.iter().chain(&edits.add).filter(|(name, _)| !is_host(name)) {
        encoder.field(out, name, value, Indexing::Usual);
    }
}

/// Where lines of our own go.
struct Own<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl forwarded::Lines for Own<'_> {
    #[inline]
    fn line(&mut self, name: forwarded::Name, value: &[u8]) {
        self.encoder.field(self.out, name.lower, value, Indexing::Usual);
    }

    #[inline]
    fn made(&mut self, name: forwarded::Name, write: impl FnOnce(&mut Vec<u8>)) {
        self.encoder.made_field(self.out, name.lower, write);
    }
}

#[inline]
fn length_field(encoder: &mut Encoder, out: &mut Vec<u8>, length: u64) {
    encoder.made_field(out, b"content-length", |value| decimal(value, length));
}

#[inline]
fn status(encoder: &mut Encoder, out: &mut Vec<u8>, status: u16) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8 % 10);
            return encoder.field(out, b":status", &digits, Indexing::Usual);
        }
    };
    encoder.fixed(out, index);
}

#[cfg(test)]
mod tests;
