//! Makes heads of header blocks (RFC 9113 section 8).
//!
//! ```text
//!   pseudo-headers ─▶ aside ─▶ start line, host      │ one pass over the block:
//!   fields ─────────────────▶ text, line by line     │ each line is appended, looked at, kept or taken back
//!   cookies that come late ─▶ aside ─▶ the first one │
//! ```
//!
//! Invariants:
//! - each pseudo-header comes at most once and before all fields; what must be there is;
//! - a refused block was read to its end, so that the table is in step;
//! - lines are canonical: `name: value`, lower-case names, no white space around values.
//!
//! HOT: no allocation once `text` has room.
//!
//! Not here: names and values one by one (`hpack::kind`).

use super::super::hpack::{Block, Decoder, Got, Kind, Line, reason};
use super::{BlockError, HeadLimits};
use crate::http::h1::{decimal, is_forbidden, reason_phrase};
use crate::http::head::{Field, Fields};
use crate::http::known::is;
use crate::http::{Framing, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version};
use crate::limits::{HEADER_BYTES_MAX, HEADER_COUNT_MAX, TRAILER_BYTES_MAX};
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

/// Runs `read` over a block, and whatever it says about the head, reads the block to its end.
#[inline]
fn whole(
    decoder: &mut Decoder,
    block: &[u8],
    bytes_max: usize,
    text: &mut Vec<u8>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<(), BlockError>,
) -> Result<(), BlockError> {
    text.clear();
    let mut aside = std::mem::take(&mut decoder.aside);
    aside.clear();
    let room = bytes_max.min(HEADER_BYTES_MAX);
    let mut reader = Reader { decoder: &mut *decoder, block: Block::new(block), text, aside, room };
    let mut result = read(&mut reader);
    if !matches!(result, Ok(()) | Err(BlockError::Compression))
        && reader.decoder.finish(&mut reader.block).is_err()
    {
        result = Err(BlockError::Compression);
    }
    let aside = std::mem::take(&mut reader.aside);
    decoder.aside = aside;
    decoder.aside.shrink_to(ASIDE_BYTES_KEPT);
    result
}

/// Bytes of pseudo-headers and late cookies for which memory is kept.
const ASIDE_BYTES_KEPT: usize = 4 * 1024;

/// One block on its way to a text.
struct Reader<'a> {
    decoder: &'a mut Decoder,
    block: Block<'a>,
    text: &'a mut Vec<u8>,
    aside: Vec<u8>,
    /// What the rest of the header list may come to (RFC 9113 section 6.5.2).
    room: usize,
}

/// Where the values of pseudo-headers are in [`Reader::aside`].
#[derive(Clone, Copy, Default)]
struct Pseudo {
    method: Option<Place>,
    scheme: Option<Place>,
    authority: Option<Place>,
    path: Option<Place>,
    status: Option<Place>,
    protocol: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    start: usize,
    end: usize,
}

impl Place {
    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or(&[])
    }
}

/// What fields said that matters to the head.
#[derive(Clone, Copy, Default)]
struct Facts {
    /// Fields so far.
    count: usize,
    length: Option<u64>,
    expects: bool,
    /// The number of the field with the authority.
    authority: Option<usize>,
    hosts: u8,
    /// The number of the cookie field.
    cookie: Option<usize>,
    /// Where cookies that could not be appended begin in [`Reader::aside`].
    late_cookies: Option<usize>,
}

impl Reader<'_> {
    /// The next line and where it begins in the text. A line that may not be in any head ends in an error.
    #[inline]
    fn line(&mut self) -> Result<Option<(usize, Got)>, BlockError> {
        let start = self.text.len();
        let Some(got) = self.decoder.next(&mut self.block, self.text, self.room)? else { return Ok(None) };
        if !got.written {
            return Err(BlockError::TooLarge);
        }
        if !got.line.valid {
            return Err(refuse(&got.line, &self.text[start..]));
        }
        self.room -= got.line.size();
        Ok(Some((start, got)))
    }

    /// Reads all pseudo-headers, and the line behind them; both are aside then.
    #[inline]
    fn pseudo(&mut self) -> Result<(Pseudo, Option<First>), BlockError> {
        let mut pseudo = Pseudo::default();
        loop {
            let start = self.aside.len();
            let Some(got) = self.decoder.next(&mut self.block, &mut self.aside, self.room)? else {
                return Ok((pseudo, None));
            };
            if !got.written {
                return Err(BlockError::TooLarge);
            }
            let line = got.line;
            if !line.valid {
                return Err(refuse(&line, &self.aside[start..]));
            }
            self.room -= line.size();
            let slot = match line.kind {
                Kind::Method => &mut pseudo.method,
                Kind::Scheme => &mut pseudo.scheme,
                Kind::Authority => &mut pseudo.authority,
                Kind::Path => &mut pseudo.path,
                Kind::Status => &mut pseudo.status,
                Kind::Protocol => &mut pseudo.protocol,
                Kind::Field | Kind::Cookie | Kind::Malformed => {
                    return Ok((pseudo, Some(First { start, got })));
                }
            };
            let value = start + line.name as usize + 2;
            let place = Place { start: value, end: value + line.value as usize };
            if slot.replace(place).is_some() {
                return Err(BlockError::Malformed("repeated pseudo-header field"));
            }
        }
    }

    /// Reads all fields. `first` is the one that ended the pseudo-headers.
    #[inline]
    fn fields<const REQUEST: bool>(
        &mut self,
        first: Option<First>,
        list: &mut [Field],
        facts: &mut Facts,
    ) -> Result<(), BlockError> {
        if let Some(first) = first {
            let start = self.text.len();
            self.text.extend_from_slice(&self.aside[first.start..]);
            self.field::<REQUEST>(start, &first.got, list, facts)?;
        }
        while let Some((start, got)) = self.line()? {
            self.field::<REQUEST>(start, &got, list, facts)?;
        }
        Ok(())
    }

    /// Takes the text's last line into the head, or takes it back.
    #[inline]
    fn field<const REQUEST: bool>(
        &mut self,
        start: usize,
        got: &Got,
        list: &mut [Field],
        facts: &mut Facts,
    ) -> Result<(), BlockError> {
        let field = span(start, got);
        let known = got.line.known;
        if got.line.kind != Kind::Field {
            if got.line.kind != Kind::Cookie {
                return Err(BlockError::Malformed("pseudo-header field behind fields"));
            }
            if REQUEST && let Some(cookie) = facts.cookie {
                self.join_cookie(start, field, cookie, list, facts);
                return Ok(());
            }
            facts.cookie = Some(facts.count);
        } else if known != Known::Other && self.note::<REQUEST>(start, field, list, facts)? == Keep::No {
            return Ok(());
        }
        *list.get_mut(facts.count).ok_or(BlockError::TooLarge)? = field;
        facts.count += 1;
        Ok(())
    }

    /// Takes note of a field that matters, and says whether it stays.
    fn note<const REQUEST: bool>(
        &mut self,
        start: usize,
        field: Field,
        list: &[Field],
        facts: &mut Facts,
    ) -> Result<Keep, BlockError> {
        let value = field.value.of(self.text);
        match field.known {
            Known::ContentLength => {
                if facts.length.is_some() {
                    return Err(BlockError::Malformed("repeated content-length"));
                }
                facts.length = decimal(value);
            }
            Known::Expect => {
                if !is(value, b"100-continue") {
                    return Err(BlockError::Expectation);
                }
                facts.expects = true;
            }
            // RFC 9113 section 8.2.2 allows it in requests.
            Known::Te if !REQUEST => return Err(BlockError::Malformed("te in a response")),
            Known::Host if REQUEST => {
                if facts.hosts > 0 {
                    return Err(BlockError::Malformed("repeated host"));
                }
                facts.hosts += 1;
                if let Some(authority) = facts.authority {
                    let authority = list.get(authority).copied().unwrap_or_default().value.of(self.text);
                    // RFC 9113 section 8.3.1: two different ones would be two readings.
                    if !authority.eq_ignore_ascii_case(value) {
                        return Err(BlockError::Malformed(":authority and host differ"));
                    }
                    self.text.truncate(start);
                    return Ok(Keep::No);
                }
                facts.authority = Some(facts.count);
            }
            _ => {}
        }
        Ok(Keep::Yes)
    }

    /// Joins one more cookie to the first (RFC 9113 section 8.2.3): at once if that is the line before, else at
    /// the end.
    fn join_cookie(
        &mut self,
        start: usize,
        field: Field,
        cookie: usize,
        list: &mut [Field],
        facts: &mut Facts,
    ) {
        let Some(first) = list.get_mut(cookie) else { return };
        first.sensitive |= field.sensitive;
        if field.value.is_empty() {
            self.text.truncate(start);
        } else if cookie + 1 == facts.count && facts.late_cookies.is_none() {
            // Over the CR LF of the line before and this line's name.
            let to = if first.value.is_empty() { start - 2 } else { start };
            self.text[start - 2..start].copy_from_slice(b"; ");
            self.text.copy_within(usize::from(field.value.start).., to);
            self.text.truncate(to + field.value.len() + 2);
            first.value = Span::at(usize::from(first.value.start), to + field.value.len());
            first.canonical = true;
        } else {
            facts.late_cookies.get_or_insert(self.aside.len());
            self.aside.extend_from_slice(b"; ");
            self.aside.extend_from_slice(field.value.of(self.text));
            self.text.truncate(start);
        }
    }

    /// Ends the text: late cookies and the empty line.
    #[inline]
    fn end(&mut self, fields: &mut Fields, facts: &Facts) {
        if let (Some(cookie), Some(late)) = (facts.cookie, facts.late_cookies) {
            self.insert_cookies(fields.as_mut_slice(), cookie, late);
        }
        self.text.extend_from_slice(b"\r\n");
    }

    /// Inserts the cookies that came late, and moves what is behind them.
    #[cold]
    fn insert_cookies(&mut self, list: &mut [Field], cookie: usize, late: usize) {
        let Some((first, behind)) = list.get_mut(cookie..).and_then(<[Field]>::split_first_mut) else {
            return;
        };
        let mut late = self.aside.get(late..).unwrap_or(&[]);
        if first.value.is_empty() {
            late = late.get(2..).unwrap_or(&[]);
        }
        let at = usize::from(first.value.end);
        let end = self.text.len();
        self.text.extend_from_slice(late);
        self.text.copy_within(at..end, at + late.len());
        self.text[at..at + late.len()].copy_from_slice(late);
        first.value = Span::at(usize::from(first.value.start), at + late.len());
        first.canonical = !first.value.is_empty();
        let moved =
            |span: Span| Span::at(usize::from(span.start) + late.len(), usize::from(span.end) + late.len());
        for field in behind {
            field.name = moved(field.name);
            field.value = moved(field.value);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// The line behind the pseudo-headers.
struct First {
    start: usize,
    got: Got,
}

/// The field that the line at `start` of the text is.
#[inline]
fn span(start: usize, got: &Got) -> Field {
    let colon = start + got.line.name as usize;
    let end = colon + 2 + got.line.value as usize;
    Field {
        name: Span::at(start, colon),
        value: Span::at(colon + 2, end),
        known: got.line.known,
        hop: got.line.known.is_hop(),
        canonical: got.line.value > 0,
        sensitive: got.sensitive,
    }
}

#[cold]
fn refuse(line: &Line, text: &[u8]) -> BlockError {
    BlockError::Malformed(reason(line.kind, line.known, text.get(..line.name as usize).unwrap_or(&[])))
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
