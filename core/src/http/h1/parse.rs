//! Reads request and response heads, strictly (RFC 9112 sections 2 to 5).
//!
//! The scanner is our own. `httparse` tolerates what a proxy must not (bare LF, bytes beyond ASCII and `#`
//! in targets, empty lines before a response), so that every line had to be looked at twice; reading and
//! writing a request took 1.45 times, a response 1.6 times as long. Tests hold the two against each other:
//! whatever is accepted here, `httparse` reads in the same way (`tests/common/invariants.rs`).
//!
//! Invariants:
//! - `Complete` means: one reading, whatever follows in the buffer;
//! - `Partial` means: more bytes can still make it complete within the limits; a limit that is already
//!   passed is an error at once;
//! - a call reads at most `head_bytes` bytes and always starts over. A caller that gets a head in many
//!   small pieces asks [`may_end`] first, so that the sum stays linear: only pieces that complete an empty
//!   line are parsed, and of a valid head only the last one does.
//!
//! HOT: no allocation; the field list is written in place.
//!
//! Not here: field lines (`scan`), what they mean (`fields`), paths' one form (`normalize`).

use super::super::edits::is_value;
use super::super::head::{Framing, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version};
use super::super::normalize::authority_host;
pub use super::error::HeadError;
use super::fields::Facts;
use super::scan;
use crate::limits::{HEADER_BYTES_MAX, LEADING_EMPTY_LINES_MAX};

/// The bounds of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head; never taken as more than [`HEADER_BYTES_MAX`].
    pub head_bytes: usize,
    /// Bytes of a request target.
    pub uri_bytes: usize,
}

/// Whether the head is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is complete and was written to the argument.
    Complete,
}

/// Whether bytes that arrived from offset `from` on can have completed a head, so that parsing is worth
/// a try. Looks only at those bytes and the three before them.
#[inline]
pub fn may_end(bytes: &[u8], from: usize) -> bool {
    let new = bytes.get(from.saturating_sub(3)..).unwrap_or(&[]);
    memchr::memchr_iter(b'\n', new)
        .any(|place| matches!(new.get(place + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

/// Parses a request head from the start of `bytes` into `head`, which is only meaningful on `Complete`.
#[inline]
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Progress, HeadError> {
    let skip = match bytes.first() {
        Some(b'\r' | b'\n') => empty_lines(bytes)?,
        _ => 0,
    };
    let all = bytes.get(skip..).unwrap_or(&[]);
    let window = all.get(..limits.head_bytes.min(HEADER_BYTES_MAX)).unwrap_or(all);
    if matches!(window.first(), None | Some(b'\r')) {
        return Ok(Progress::Partial);
    }
    let Some(line) = scan::first_line(window)? else { return partial_request(window, limits) };
    read_request_line(line, limits, head)?;
    let mut facts = Facts::default();
    let Some(len) = scan::fields(window, line.len() + 2, &mut head.fields, &mut facts)? else {
        return partial_request(window, limits);
    };
    let window = &window[..len];
    head.skip = skip;
    head.protocol = None;
    head.len = len;
    settle_host(window, head, &facts)?;
    settle_request(window, head, &facts)?;
    Ok(Progress::Complete)
}

/// Parses a response head from the start of `bytes`, an answer to a request with method `request`.
#[inline]
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    request: Method,
    head: &mut ResponseHead,
) -> Result<Progress, HeadError> {
    let window = bytes.get(..limits.head_bytes.min(HEADER_BYTES_MAX)).unwrap_or(bytes);
    if matches!(window.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::EmptyLines);
    }
    let Some(line) = scan::first_line(window)? else { return partial_response(window, limits) };
    read_status_line(line, head)?;
    let mut facts = Facts::default();
    let Some(len) = scan::fields(window, line.len() + 2, &mut head.fields, &mut facts)? else {
        return partial_response(window, limits);
    };
    head.len = len;
    settle_response(&window[..len], head, request, &facts)?;
    Ok(Progress::Complete)
}

/// How many bytes of empty lines come first. A CR whose LF has not come yet counts as not read.
#[cold]
fn empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut skip = 0;
    loop {
        match bytes.get(skip..) {
            Some([b'\r', b'\n', ..]) => skip += 2,
            Some([b'\n', ..] | [b'\r', _, ..]) => return Err(HeadError::LineEnding),
            _ => return Ok(skip),
        }
        if skip > 2 * LEADING_EMPTY_LINES_MAX {
            return Err(HeadError::EmptyLines);
        }
    }
}

/// An incomplete request: refused as soon as a limit is certainly passed, or what came is no request.
#[cold]
fn partial_request(window: &[u8], limits: &HeadLimits) -> Result<Progress, HeadError> {
    if target_is_too_long(window, limits) {
        return Err(HeadError::UriTooLong);
    }
    if !matches!(window.get(scan::token_len(window)), None | Some(b' ')) || window.first() == Some(&b' ') {
        return Err(HeadError::Method);
    }
    partial(window, limits)
}

/// An incomplete response, likewise.
#[cold]
fn partial_response(window: &[u8], limits: &HeadLimits) -> Result<Progress, HeadError> {
    let known = window.len().min(VERSION_START.len());
    if window[..known] != VERSION_START[..known] {
        return Err(HeadError::StatusLine);
    }
    partial(window, limits)
}

fn partial(window: &[u8], limits: &HeadLimits) -> Result<Progress, HeadError> {
    if window.len() >= limits.head_bytes.min(HEADER_BYTES_MAX) {
        return Err(HeadError::HeadTooLarge);
    }
    Ok(Progress::Partial)
}

/// Whether what follows the method is longer than a target may be. Bytes of the version would have to
/// fit in too, so an unfinished target is measured as it stands.
fn target_is_too_long(window: &[u8], limits: &HeadLimits) -> bool {
    let Some(space) = memchr::memchr(b' ', window) else { return false };
    let rest = &window[space + 1..];
    memchr::memchr3(b' ', b'\r', b'\n', rest).unwrap_or(rest.len()) > limits.uri_bytes
}

const VERSION_START: &[u8] = b"HTTP/1.";

/// The version that these eight bytes name.
#[inline]
fn version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        _ => None,
    }
}

/// Reads `method SP target SP version` (RFC 9112 section 3).
#[inline]
fn read_request_line(line: &[u8], limits: &HeadLimits, head: &mut RequestHead) -> Result<(), HeadError> {
    let method = scan::token_len(line);
    if method == 0 || line.get(method) != Some(&b' ') {
        return Err(HeadError::Method);
    }
    let rest = &line[method + 1..];
    let Some(target) = memchr::memchr(b' ', rest) else { return Err(HeadError::Target) };
    if target > limits.uri_bytes {
        return Err(HeadError::UriTooLong);
    }
    // Visible ASCII, and no fragment (RFC 3986).
    let foreign = |byte: u8| (byte.wrapping_sub(b'!') > b'~' - b'!') | (byte == b'#');
    if target == 0 || rest[..target].iter().fold(false, |found, &byte| found | foreign(byte)) {
        return Err(HeadError::Target);
    }
    head.version = match version(&rest[target + 1..]) {
        Some(version) => version,
        None => return Err(unknown_version(&rest[target + 1..])),
    };
    head.method = Method::of(&line[..method]);
    head.method_span = Span::at(0, method);
    head.target = Span::at(method + 1, method + 1 + target);
    read_target(line, head)
}

/// `HTTP/2.0` is well-formed, but another protocol.
#[cold]
fn unknown_version(text: &[u8]) -> HeadError {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::VersionUnsupported
        }
        _ => HeadError::Version,
    }
}

/// Reads `version SP status [SP reason]` (RFC 9112 section 4).
#[inline]
fn read_status_line(line: &[u8], head: &mut ResponseHead) -> Result<(), HeadError> {
    const BEFORE: usize = "HTTP/1.1 200".len();
    let Some((&[ref start @ .., b' ', hundreds, tens, ones], reason)) = line.split_first_chunk::<BEFORE>()
    else {
        return Err(HeadError::StatusLine);
    };
    let Some(version) = version(start) else { return Err(HeadError::StatusLine) };
    let digits = [hundreds, tens, ones];
    let value = |digit: u8| u16::from(digit.wrapping_sub(b'0'));
    head.status = value(hundreds) * 100 + value(tens) * 10 + value(ones);
    let spaces = reason.iter().take_while(|&&byte| byte == b' ').count();
    if !digits.iter().all(u8::is_ascii_digit)
        || head.status < 100
        || (spaces == 0 && !reason.is_empty())
        || !reason.iter().all(|&byte| is_value(byte))
    {
        return Err(HeadError::StatusLine);
    }
    head.version = version;
    head.reason = Span::at(BEFORE + spaces, line.len());
    Ok(())
}

/// Splits the target into its parts (RFC 9112 section 3.2).
#[inline]
fn read_target(bytes: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let target = head.target.of(bytes);
    let start = usize::from(head.target.start);
    head.authority = Span::default();
    head.query = None;
    match target {
        _ if head.method == Method::Connect => {
            let port = memchr::memrchr(b':', target).map(|colon| &target[colon + 1..]).unwrap_or_default();
            if authority_host(target).is_none() || port.is_empty() || port.contains(&b']') {
                return Err(HeadError::TargetForm);
            }
            head.form = TargetForm::Authority;
            head.authority = head.target;
            head.path = Span::at(start, start);
        }
        [b'/', ..] => {
            head.form = TargetForm::Origin;
            split_query(target, start, head);
        }
        b"*" => {
            if head.method != Method::Options {
                return Err(HeadError::TargetForm);
            }
            head.form = TargetForm::Asterisk;
            head.path = head.target;
        }
        _ => {
            let scheme = scheme_len(target).ok_or(HeadError::Target)?;
            let rest = &target[scheme..];
            let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
            if authority_host(&rest[..end]).is_none() {
                return Err(HeadError::HostInvalid);
            }
            head.form = TargetForm::Absolute;
            head.authority = Span::at(start + scheme, start + scheme + end);
            split_query(&rest[end..], start + scheme + end, head);
        }
    }
    Ok(())
}

/// Splits `target`, which lies at `start`, at its first `?`.
#[inline]
fn split_query(target: &[u8], start: usize, head: &mut RequestHead) {
    let end = start + target.len();
    match memchr::memchr(b'?', target) {
        Some(mark) => {
            head.path = Span::at(start, start + mark);
            head.query = Some(Span::at(start + mark + 1, end));
        }
        None => head.path = Span::at(start, end),
    }
}

/// The length of `http://` or `https://` in any case.
fn scheme_len(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

/// Host (RFC 9112 section 3.2): exactly one and valid on HTTP/1.1, at most one on HTTP/1.0. The target's
/// own authority takes its place (section 3.2.2).
#[inline]
fn settle_host(bytes: &[u8], head: &mut RequestHead, facts: &Facts) -> Result<(), HeadError> {
    match facts.hosts() {
        0 if head.version == Version::Http10 => return Ok(()),
        0 => return Err(HeadError::HostMissing),
        1 => {}
        _ => return Err(HeadError::HostRepeated),
    }
    if authority_host(facts.host.of(bytes)).is_none() {
        return Err(HeadError::HostInvalid);
    }
    if head.authority.is_empty() {
        head.authority = facts.host;
    }
    Ok(())
}

/// Framing, persistence and the rest.
#[inline]
fn settle_request(bytes: &[u8], head: &mut RequestHead, facts: &Facts) -> Result<(), HeadError> {
    head.framing = facts.framing(bytes, head.version)?.unwrap_or(Framing::None);
    if head.framing != Framing::None {
        let forbidden = match head.method {
            Method::Trace | Method::Connect => facts.is_framed(),
            // An HTTP/1.0 server may well leave such content on the connection.
            method => {
                head.version == Version::Http10 && method.content_undefined() && head.framing.has_body()
            }
        };
        if forbidden {
            return Err(HeadError::BodyForbidden);
        }
    }
    match head.version {
        Version::Http11 | Version::Http2 => {
            head.keep_alive = !facts.close;
            head.expect_continue = facts.expects;
            head.upgrade = if head.framing.has_body() { None } else { facts.upgrade() };
        }
        Version::Http10 => {
            head.keep_alive = facts.keep_alive && !facts.close;
            head.upgrade = None;
            // RFC 9110 section 10.1.1: an HTTP/1.0 client can't wait for 100.
            head.expect_continue = false;
            if facts.expects {
                hide(head.fields.as_mut_slice(), Known::Expect);
            }
        }
    }
    Ok(())
}

fn hide(fields: &mut [super::super::head::Field], known: Known) {
    for field in fields.iter_mut().filter(|field| field.known == known) {
        field.hop = true;
    }
}

/// Framing and persistence of a response (RFC 9112 section 6.3).
#[inline]
fn settle_response(
    bytes: &[u8],
    head: &mut ResponseHead,
    request: Method,
    facts: &Facts,
) -> Result<(), HeadError> {
    let declared = facts.framing(bytes, head.version)?;
    head.length = match declared {
        Some(Framing::Length(length)) => Some(length),
        _ => None,
    };
    head.framing = match head.status {
        // Content-Length is forbidden here (RFC 9110 section 8.6). Zero says nothing else than the status
        // does, and many servers send it: it is dropped. Anything more has two readings.
        100..200 | 204 => {
            if facts.is_coded() || declared.is_some_and(Framing::has_body) {
                return Err(HeadError::BodyForbidden);
            }
            head.length = None;
            Framing::None
        }
        304 => Framing::None,
        200..300 if request == Method::Connect => Framing::None,
        _ if request == Method::Head => Framing::None,
        _ => declared.unwrap_or(Framing::UntilClose),
    };
    head.keep_alive = match head.version {
        Version::Http11 | Version::Http2 => !facts.close,
        Version::Http10 => facts.keep_alive && !facts.close,
    } && head.framing != Framing::UntilClose;
    head.upgrade = facts.upgrade();
    Ok(())
}

#[cfg(test)]
mod tests;
