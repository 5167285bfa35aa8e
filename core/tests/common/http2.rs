//! What must hold for any header blocks whatever, and for any HTTP/1 head that goes on over HTTP/2.
//!
//! Another implementation of HPACK judges: what is taken here, and what is written here, it reads as the same lines.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test program includes this file and uses its part"
)]

use pinion_core::http::h1::encode::Forwarding;
use pinion_core::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use pinion_core::http::h2::head::{
    BlockError, decode_request, decode_response, decode_trailers, encode_interim, encode_request,
    encode_response, encode_trailers,
};
use pinion_core::http::h2::hpack::{Decoder, Encoder};
use pinion_core::http::{
    Fields, Framing, HeaderEdits, Known, Method, Normalised, RequestHead, ResponseHead, TargetForm, Version,
    normalize_path,
};

use super::invariants::{LIMITS, check_request};

/// Roomy, for heads that were taken within [`LIMITS`] and have grown a little.
const ROOMY: HeadLimits = HeadLimits { head_bytes: 48 * 1024, uri_bytes: 16 * 1024 };

/// A flag byte (bit 0: the stream ends), the first block's length, and the blocks.
pub fn blocks(bytes: &[u8]) -> Option<(bool, [&[u8]; 2])> {
    let [flags, length, rest @ ..] = bytes else { return None };
    let (first, second) = rest.split_at(rest.len().min(usize::from(*length)));
    Some((flags & 1 != 0, [first, second]))
}

/// The lines of a block as the other implementation reads them; `None` if it doesn't.
fn oracle(decoder: &mut fluke_hpack::Decoder<'_>, block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    decoder.decode(block).ok()
}

fn lines(text: &[u8], fields: &Fields) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|field| (field.name.of(text).to_vec(), field.value.of(text).to_vec())).collect()
}

/// Two blocks on one connection, as requests. True if one of them was taken.
pub fn check_requests(bytes: &[u8]) -> bool {
    let Some((end, blocks)) = blocks(bytes) else { return false };
    let mut decoder = Decoder::new();
    let mut other = fluke_hpack::Decoder::new();
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    let mut taken = false;
    for block in blocks {
        match decode_request(&mut decoder, block, end, &LIMITS, &mut text, &mut head) {
            Ok(()) => {
                taken = true;
                check_head(&text, &head, end);
                let said = oracle(&mut other, block).unwrap_or_else(|| panic!("only taken here: {block:x?}"));
                check_said(&said, &text, &head);
                check_sent_on(&text, &head);
            }
            Err(BlockError::Compression) => return taken,
            Err(_) => drop(oracle(&mut other, block)),
        }
    }
    taken
}

/// The head is one that `h1::parse` makes of the text, and its text has one reading.
fn check_head(text: &[u8], head: &RequestHead, end: bool) {
    let shown = String::from_utf8_lossy(text);
    let mut again = RequestHead::new();
    assert_eq!(parse_request(text, &ROOMY, &mut again), Ok(Progress::Complete), "{shown:?}");
    assert_eq!(head.version, Version::Http2);
    assert_eq!(
        (again.method, again.method_span, again.form, again.target, again.authority),
        (head.method, head.method_span, head.form, head.target, head.authority),
        "{shown:?}"
    );
    assert_eq!(
        (again.path, again.query, again.len, again.skip, again.expect_continue, again.upgrade),
        (head.path, head.query, head.len, head.skip, head.expect_continue, head.upgrade),
        "{shown:?}"
    );
    assert_eq!((again.keep_alive, head.len), (head.keep_alive, text.len()), "{shown:?}");
    assert_eq!(again.fields.len(), head.fields.len(), "{shown:?}");
    for (read, field) in again.fields.iter().zip(&head.fields) {
        let mut field = *field;
        field.sensitive = false;
        assert_eq!(*read, field, "{shown:?}");
    }
    if head.framing == Framing::Chunked {
        assert!(again.framing == Framing::None && !end, "{shown:?}");
    } else {
        assert_eq!(again.framing, head.framing, "{shown:?}");
        assert!(!(end && matches!(head.framing, Framing::Length(1..))), "{shown:?}");
    }
    check_request(text);
}

/// Everything that the other implementation read is in the head, and nothing else.
fn check_said(said: &[(Vec<u8>, Vec<u8>)], text: &[u8], head: &RequestHead) {
    let one = |name: &[u8]| said.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_slice());
    let tunnel = head.method == Method::Connect;
    if head.protocol.is_none() {
        assert_eq!(one(b":method"), Some(head.method_span.of(text)));
    } else {
        assert_eq!(one(b":method"), Some(&b"CONNECT"[..]));
    }
    assert_eq!(one(b":protocol"), head.protocol.map(|protocol| protocol.of(text)));
    let target = if tunnel { one(b":authority") } else { one(b":path") };
    assert_eq!(target, Some(head.target.of(text)));
    let authority = one(b":authority").or(one(b"host"));
    assert_eq!(authority, Some(head.authority.of(text)));
    let plain = |name: &[u8]| !name.starts_with(b":") && name != b"cookie" && name != b"host";
    let said_plain: Vec<_> = said.iter().filter(|(name, _)| plain(name)).cloned().collect();
    let got: Vec<_> = lines(text, &head.fields)
        .into_iter()
        .filter(|(name, _)| plain(name))
        .filter(|(name, _)| head.protocol.is_none() || (name != b"upgrade" && name != b"connection"))
        .collect();
    assert_eq!(got, said_plain);
    let crumbs: Vec<_> = said.iter().filter(|(name, _)| name == b"cookie").collect();
    let filled: Vec<_> =
        crumbs.iter().filter(|(_, value)| !value.is_empty()).map(|(_, value)| value.clone()).collect();
    let cookies: Vec<_> =
        lines(text, &head.fields).into_iter().filter(|(name, _)| name == b"cookie").collect();
    assert_eq!(cookies.len(), crumbs.len().min(1));
    assert_eq!(cookies.first().map(|(_, value)| value.clone()).unwrap_or_default(), filled.join(&b"; "[..]));
}

/// What goes on over HTTP/2 is read as the same request, by this reader and the other; the second time, too,
/// when much of it is an index.
fn check_sent_on(text: &[u8], head: &RequestHead) {
    let mut room = Vec::new();
    let path = match normalize_path(head.path.of(text), &mut room) {
        Err(_) => return,
        Ok(Normalised::Same) => None,
        Ok(Normalised::Changed) => Some(room.as_slice()),
    };
    // What is added has to fit, too.
    if head.fields.len() > 100 || head.len > 30 * 1024 {
        return;
    }
    let fwd = Forwarding {
        peer_ip: b"192.0.2.1",
        proto: b"http",
        fallback_host: b"fallback",
        via: true,
        ..Forwarding::default()
    };
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new();
    let mut other = fluke_hpack::Decoder::new();
    for _ in 0..3 {
        let mut block = Vec::new();
        let framing = head.framing;
        let edits = HeaderEdits::empty();
        encode_request(&mut encoder, &mut block, text, head, path, &fwd, &edits, b"https", framing);
        let said = oracle(&mut other, &block).unwrap_or_else(|| panic!("only read here: {block:x?}"));
        let (mut sent, mut read) = (Vec::new(), RequestHead::new());
        let end = framing == Framing::None;
        let got = decode_request(&mut decoder, &block, end, &ROOMY, &mut sent, &mut read);
        assert_eq!(got, Ok(()), "{:?}", String::from_utf8_lossy(text));
        check_head(&sent, &read, end);
        check_said(&said, &sent, &read);
        let authority = head.authority.of(text);
        let authority = if authority.is_empty() { b"fallback" } else { authority };
        assert_eq!(read.authority.of(&sent), authority);
        assert_eq!((read.method, read.framing), (head.method, framing));
        assert_eq!(read.query.map(|query| query.of(&sent)), head.query.map(|query| query.of(text)));
        check_kept(text, &head.fields, &sent, &read.fields);
    }
}

/// Fields that matter to nobody on the way arrive as they were sent, and no others.
fn check_kept(before: &[u8], fields: &Fields, after: &[u8], read: &Fields) {
    let plain = |text: &[u8], fields: &Fields| -> Vec<(Vec<u8>, Vec<u8>)> {
        fields
            .iter()
            .filter(|field| matches!(field.known, Known::Other | Known::ContentType) && !field.hop)
            .map(|field| (field.name.of(text).to_ascii_lowercase(), field.value.of(text).to_vec()))
            .filter(|(name, _)| name != b"cookie")
            .collect()
    };
    assert_eq!(plain(before, fields), plain(after, read));
}

/// A request from an HTTP/1 client that goes on over HTTP/2.
pub fn check_http1_request(bytes: &[u8]) {
    let mut head = RequestHead::new();
    if parse_request(bytes, &LIMITS, &mut head) == Ok(Progress::Complete)
        && head.form != TargetForm::Authority
    {
        check_sent_on(head.bytes(bytes), &head);
    }
}

/// Two blocks on one connection, as responses, then as trailers. True if one of them was taken.
pub fn check_responses(bytes: &[u8]) -> bool {
    let Some((end, blocks)) = blocks(bytes) else { return false };
    let mut taken = false;
    for method in [Method::Get, Method::Head, Method::Connect] {
        let mut decoder = Decoder::new();
        let (mut text, mut head) = (Vec::new(), ResponseHead::new());
        for block in blocks {
            match decode_response(&mut decoder, block, end, method, &LIMITS, &mut text, &mut head) {
                Ok(()) => {
                    taken = true;
                    check_response_head(&text, &head, method);
                    check_passed_on(&text, &head, method);
                }
                Err(BlockError::Compression) => break,
                Err(_) => {}
            }
        }
    }
    check_trailers(blocks) || taken
}

fn check_response_head(text: &[u8], head: &ResponseHead, method: Method) {
    let shown = String::from_utf8_lossy(text);
    let mut again = ResponseHead::new();
    assert_eq!(parse_response(text, &ROOMY, method, &mut again), Ok(Progress::Complete), "{shown:?}");
    assert_eq!(
        (again.status, again.reason, again.len, again.length, again.upgrade),
        (head.status, head.reason, head.len, head.length, head.upgrade),
        "{shown:?}"
    );
    if again.framing == Framing::UntilClose {
        assert!(matches!(head.framing, Framing::Chunked | Framing::Length(0)), "{shown:?}");
    } else {
        assert_eq!(again.framing, head.framing, "{shown:?}");
    }
    for (read, field) in again.fields.iter().zip(&head.fields) {
        let mut field = *field;
        field.sensitive = false;
        assert_eq!(*read, field, "{shown:?}");
    }
    assert_eq!(again.fields.len(), head.fields.len(), "{shown:?}");
}

/// What is passed on over HTTP/2 is read as the same response.
fn check_passed_on(text: &[u8], head: &ResponseHead, method: Method) {
    if head.fields.len() > 100 || head.len > 30 * 1024 {
        return;
    }
    let mut encoder = Encoder::new(4096);
    let mut decoder = Decoder::new();
    let mut other = fluke_hpack::Decoder::new();
    for _ in 0..3 {
        let mut block = Vec::new();
        let framing = if head.framing == Framing::UntilClose { Framing::Chunked } else { head.framing };
        if head.is_interim() {
            encode_interim(&mut encoder, &mut block, text, head);
        } else {
            encode_response(&mut encoder, &mut block, text, head, &HeaderEdits::empty(), framing);
        }
        assert!(oracle(&mut other, &block).is_some(), "only read here: {block:x?}");
        let (mut sent, mut read) = (Vec::new(), ResponseHead::new());
        let end = !head.is_interim() && !framing.has_body();
        let got = decode_response(&mut decoder, &block, end, method, &ROOMY, &mut sent, &mut read);
        let shown = String::from_utf8_lossy(text);
        assert_eq!(got, Ok(()), "{shown:?}");
        check_response_head(&sent, &read, method);
        assert_eq!(read.status, if head.status == 101 { 200 } else { head.status });
        assert!(read.framing.has_body() == framing.has_body(), "{shown:?}");
        if !matches!(head.status, 101 | 204) && framing != Framing::Chunked {
            assert_eq!(read.length.unwrap_or(0), head.length.unwrap_or(0), "{shown:?}");
        }
        check_kept(text, &head.fields, &sent, &read.fields);
    }
}

/// A response from an HTTP/1 upstream that is passed on over HTTP/2.
pub fn check_http1_response(bytes: &[u8]) {
    for method in [Method::Get, Method::Head] {
        let mut head = ResponseHead::new();
        if parse_response(bytes, &LIMITS, method, &mut head) == Ok(Progress::Complete) {
            check_passed_on(&bytes[..head.len], &head, method);
        }
    }
}

/// Trailers are lines that go through the writer unchanged.
fn check_trailers(blocks: [&[u8]; 2]) -> bool {
    let mut decoder = Decoder::new();
    let mut taken = false;
    for block in blocks {
        let mut text = Vec::new();
        match decode_trailers(&mut decoder, block, &LIMITS, &mut text) {
            Ok(()) => {}
            Err(BlockError::Compression) => return taken,
            Err(_) => continue,
        }
        taken |= !text.is_empty();
        assert!(text.is_empty() || text.ends_with(b"\r\n"));
        let (mut encoder, mut again) = (Encoder::new(4096), Decoder::new());
        for _ in 0..3 {
            let (mut block, mut read) = (Vec::new(), Vec::new());
            encode_trailers(&mut encoder, &mut block, &text);
            assert_eq!(decode_trailers(&mut again, &block, &ROOMY, &mut read), Ok(()));
            assert_eq!(read, text, "{:?}", String::from_utf8_lossy(&text));
        }
    }
    taken
}
