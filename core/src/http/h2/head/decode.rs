//! Makes heads of header blocks (RFC 9113 section 8).
//!
//! Invariants:
//! - every pseudo-header that must be there is, and no other one;
//! - framing has one reading: content-length and the stream's end agree;
//! - lines are canonical: `name: value`, lower-case names, no white space around values.
//!
//! HOT: no allocation once `text` has room.
//!
//! Not here: taking the block apart (`reader`), names and values one by one (`hpack::kind`).

use super::super::hpack::{Decoder, Line};
use super::reader::{Facts, Pseudo, Reader, whole};
use super::{BlockError, HeadLimits};
use crate::http::h1::{is_forbidden, reason_phrase};
use crate::http::head::{Field, Fields};
use crate::http::{Framing, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version};
use crate::limits::{HEADER_COUNT_MAX, TRAILER_BYTES_MAX};
use memchr::memchr;

/// Reads a request's head from a whole header block. `text` is cleared and gets the HTTP/1 form, `head` the
/// spans into it; both mean something only on success. `end_stream`: no content follows.
///
/// An extended CONNECT (RFC 8441) becomes what asks for the same in HTTP/1.1: `GET` with `upgrade`, and
/// [`RequestHead::protocol`] says where it came from.
///
/// # Errors
/// See [`BlockError`]; after all but [`BlockError::Compression`] the decoder goes on with the next block.
pub fn decode_request(
    decoder: &mut Decoder,
    block: &[u8],
    end_stream: bool,
    limits: &HeadLimits,
    text: &mut Vec<u8>,
    head: &mut RequestHead,
) -> Result<(), BlockError> {
    whole(decoder, block, limits.head_bytes, text, |reader| {
        let (pseudo, first) = reader.pseudo()?;
        request_line(reader, &pseudo, limits, head)?;
        let authority = pseudo.authority.map(|_| 0);
        let mut facts = Facts { count: head.fields.len(), authority, ..Facts::default() };
        reader.fields::<true>(first, head.fields.resize(HEADER_COUNT_MAX), &mut facts)?;
        head.fields.resize(facts.count);
        reader.end(&mut head.fields, &facts);
        head.len = reader.text.len();
        settle_request(head, &facts, end_stream)
    })
}

/// Reads a response's head from a whole header block, as [`decode_request`] does; it answers a request with
/// method `request`.
///
/// # Errors
/// See [`BlockError`].
pub fn decode_response(
    decoder: &mut Decoder,
    block: &[u8],
    end_stream: bool,
    request: Method,
    limits: &HeadLimits,
    text: &mut Vec<u8>,
    head: &mut ResponseHead,
) -> Result<(), BlockError> {
    whole(decoder, block, limits.head_bytes, text, |reader| {
        let (pseudo, first) = reader.pseudo()?;
        status_line(reader, &pseudo, head)?;
        let mut facts = Facts::default();
        reader.fields::<false>(first, head.fields.resize(HEADER_COUNT_MAX), &mut facts)?;
        head.fields.resize(facts.count);
        reader.end(&mut head.fields, &facts);
        head.len = reader.text.len();
        settle_response(head, &facts, end_stream, request)
    })
}

/// Reads trailers from a whole header block: `text` is cleared and gets `name: value CR LF` lines, without
/// those that may not be in a trailer section (RFC 9110 section 6.5.1).
///
/// # Errors
/// See [`BlockError`].
pub fn decode_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limits: &HeadLimits,
    text: &mut Vec<u8>,
) -> Result<(), BlockError> {
    whole(decoder, block, limits.head_bytes.min(TRAILER_BYTES_MAX), text, |reader| {
        while let Some((start, got)) = reader.line()? {
            let Line { kind, known, name, .. } = got.line;
            if kind.is_pseudo() {
                return Err(BlockError::Malformed("pseudo-header field in trailers"));
            }
            let name = &reader.text[start..start + name as usize];
            if known != Known::Other || is_forbidden(name) {
                reader.text.truncate(start);
            }
        }
        Ok(())
    })
}

/// Writes the request line and what comes with it.
#[inline]
fn request_line(
    reader: &mut Reader<'_>,
    pseudo: &Pseudo,
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<(), BlockError> {
    const NO_METHOD: BlockError = BlockError::Malformed("missing :method");
    let aside = &reader.aside;
    let method = pseudo.method.ok_or(NO_METHOD)?.of(aside);
    let authority = pseudo.authority.map(|place| place.of(aside));
    let protocol = pseudo.protocol.map(|place| place.of(aside));
    head.method = Method::of(method);
    let target = target(head.method, aside, pseudo)?;
    if target.len() > limits.uri_bytes {
        return Err(BlockError::UriTooLong);
    }
    let method = if protocol.is_some() { b"GET" } else { method };
    head.form = match target {
        b"*" => TargetForm::Asterisk,
        [b'/', ..] => TargetForm::Origin,
        _ => TargetForm::Authority,
    };
    let text = &mut *reader.text;
    text.extend_from_slice(method);
    text.push(b' ');
    let start = text.len();
    text.extend_from_slice(target);
    let end = text.len();
    text.extend_from_slice(b" HTTP/1.1\r\n");
    head.method_span = Span::at(0, method.len());
    head.target = Span::at(start, end);
    let mark = if head.form == TargetForm::Origin { memchr(b'?', target) } else { None };
    head.query = mark.map(|mark| Span::at(start + mark + 1, end));
    head.path = match head.form {
        TargetForm::Authority => Span::at(start, start),
        _ => Span::at(start, mark.map_or(end, |mark| start + mark)),
    };
    head.fields.resize(0);
    if let Some(authority) = authority {
        push(text, &mut head.fields, b"host", authority, Known::Host);
    }
    head.protocol = None;
    head.upgrade = None;
    if let Some(protocol) = protocol {
        head.method = Method::Get;
        push(text, &mut head.fields, b"connection", b"upgrade", Known::Connection);
        head.protocol = Some(push(text, &mut head.fields, b"upgrade", protocol, Known::Upgrade));
        head.upgrade = head.protocol;
    }
    Ok(())
}

/// The request's target, and whether the pseudo-headers that must be there are (RFC 9113 sections 8.3.1 and 8.5,
/// RFC 8441 section 4), and no others.
#[inline]
fn target<'a>(method: Method, aside: &'a [u8], pseudo: &Pseudo) -> Result<&'a [u8], BlockError> {
    let malformed = |reason| Err(BlockError::Malformed(reason));
    if pseudo.status.is_some() {
        return malformed(":status in a request");
    }
    if method == Method::Connect && pseudo.protocol.is_none() {
        if pseudo.scheme.is_some() || pseudo.path.is_some() {
            return malformed("CONNECT with :scheme or :path");
        }
        let Some(authority) = pseudo.authority else { return malformed("CONNECT without :authority") };
        let authority = authority.of(aside);
        let port = memchr::memrchr(b':', authority).map(|colon| &authority[colon + 1..]).unwrap_or_default();
        if port.is_empty() || port.contains(&b']') {
            return malformed("CONNECT without a port");
        }
        return Ok(authority);
    }
    if pseudo.protocol.is_some() && (method != Method::Connect || pseudo.authority.is_none()) {
        return malformed(":protocol without CONNECT and :authority");
    }
    if pseudo.scheme.is_none() {
        return malformed("missing :scheme");
    }
    let Some(path) = pseudo.path else { return malformed("missing :path") };
    let path = path.of(aside);
    if path == b"*" && method != Method::Options {
        return malformed(":path does not suit the method");
    }
    Ok(path)
}

/// Appends a line of our own, and returns its value's span.
#[inline]
fn push(text: &mut Vec<u8>, fields: &mut Fields, name: &[u8], value: &[u8], known: Known) -> Span {
    let start = text.len();
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
    let colon = start + name.len();
    let value = Span::at(colon + 2, text.len() - 2);
    let count = fields.len();
    if let Some(slot) = fields.resize(count + 1).get_mut(count) {
        let (name, hop) = (Span::at(start, colon), known.is_hop());
        *slot = Field { name, value, known, hop, canonical: true, sensitive: false };
    }
    value
}

/// The authority, framing and the rest (RFC 9113 section 8.1.1).
#[inline]
fn settle_request(head: &mut RequestHead, facts: &Facts, end_stream: bool) -> Result<(), BlockError> {
    let Some(host) = facts.authority.and_then(|place| head.fields.as_slice().get(place)) else {
        return Err(BlockError::Malformed("neither :authority nor host"));
    };
    head.authority = if head.form == TargetForm::Authority { head.target } else { host.value };
    head.version = Version::Http2;
    head.skip = 0;
    head.keep_alive = true;
    head.expect_continue = facts.expects;
    head.framing = framing(facts.length, end_stream)?;
    if head.method == Method::Connect || head.protocol.is_some() {
        // What follows is the tunnel's.
        if facts.length.is_some() {
            return Err(BlockError::Malformed("CONNECT with content-length"));
        }
        head.framing = Framing::None;
    } else if head.method == Method::Trace && head.framing != Framing::None {
        return Err(BlockError::Malformed("TRACE with content"));
    }
    Ok(())
}

/// What the length and the stream's end say together.
#[inline]
fn framing(length: Option<u64>, end_stream: bool) -> Result<Framing, BlockError> {
    match (length, end_stream) {
        (Some(1..), true) => Err(BlockError::Malformed("content-length without content")),
        (Some(length), _) => Ok(Framing::Length(length)),
        (None, true) => Ok(Framing::None),
        (None, false) => Ok(Framing::Chunked),
    }
}

/// Writes the status line.
#[inline]
fn status_line(reader: &mut Reader<'_>, pseudo: &Pseudo, head: &mut ResponseHead) -> Result<(), BlockError> {
    let Pseudo { method: None, scheme: None, authority: None, path: None, protocol: None, status } = pseudo
    else {
        return Err(BlockError::Malformed("a request's pseudo-header field in a response"));
    };
    let Some(&[hundreds, tens, ones]) =
        status.map(|place| place.of(&reader.aside)).and_then(|text| text.first_chunk())
    else {
        return Err(BlockError::Malformed("missing :status"));
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    head.status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    let text = &mut *reader.text;
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(&[hundreds, tens, ones, b' ']);
    let start = text.len();
    text.extend_from_slice(reason_phrase(head.status));
    head.reason = Span::at(start, text.len());
    text.extend_from_slice(b"\r\n");
    Ok(())
}

/// Framing and the rest (RFC 9113 sections 8.1.1 and 8.6; for content that can't be see RFC 9110 section 6.4.1).
#[inline]
fn settle_response(
    head: &mut ResponseHead,
    facts: &Facts,
    end_stream: bool,
    request: Method,
) -> Result<(), BlockError> {
    head.version = Version::Http2;
    head.keep_alive = true;
    head.upgrade = None;
    head.length = facts.length;
    head.framing = match head.status {
        101 => return Err(BlockError::Malformed("status 101")),
        100..200 if end_stream => {
            return Err(BlockError::Malformed("an interim response that ends the stream"));
        }
        100..200 | 204 => {
            if facts.length.is_some_and(|length| length > 0) {
                return Err(BlockError::Malformed("a body is not allowed here"));
            }
            head.length = None;
            Framing::None
        }
        304 => Framing::None,
        200..300 if request == Method::Connect => Framing::None,
        _ if request == Method::Head => Framing::None,
        _ => match framing(facts.length, end_stream)? {
            // There is content, none of it: an HTTP/1 client has to be told so.
            Framing::None => Framing::Length(0),
            framing => framing,
        },
    };
    Ok(())
}

#[cfg(test)]
mod tests;
