//! What must hold for any bytes whatever, as functions that panic when it does not.
//!
//! Property tests, the smoke runner and the fuzz targets all call these.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test program includes this file and uses its part"
)]

use pinion_core::http::h1::body::{BodyError, BodyReader, Emit};
use pinion_core::http::h1::encode::{Forwarding, ResponseFrame, encode_request, encode_response};
use pinion_core::http::h1::parse::{HeadError, HeadLimits, Progress, may_end, parse_request, parse_response};
use pinion_core::http::{
    Fields, Framing, HeaderEdits, Method, Normalised, RequestHead, ResponseHead, TargetForm, Upgrades,
    Version, normalize_host, normalize_path,
};

use pinion_core::sim::reader::{self, Reading};

/// Ordinary limits.
pub const LIMITS: HeadLimits = HeadLimits { head_bytes: 32 * 1024, uri_bytes: 8 * 1024 };

/// What the proxy would send upstream for these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The head or the path was refused.
    Refused(HeadError),
    /// The path has two readings.
    PathRefused,
    /// The method is not forwarded.
    Unsupported,
    /// The head was accepted, the body was refused.
    BodyRefused(BodyError),
    /// More bytes are needed.
    Incomplete,
    /// These bytes, which took that many of the input.
    Sent(Vec<u8>, usize),
}

/// A body that was read: the bytes to forward, the content, and how much input it took.
pub struct ReadBody {
    pub output: Vec<u8>,
    pub payload: u64,
    pub consumed: usize,
    pub done: bool,
}

/// Reads a body from pieces of the given sizes (cycled).
pub fn read_body(
    bytes: &[u8],
    framing: Framing,
    emit: Emit,
    pieces: &[usize],
) -> Result<ReadBody, BodyError> {
    let mut reader = BodyReader::new(framing, emit);
    let mut read = ReadBody { output: Vec::new(), payload: 0, consumed: 0, done: reader.is_done() };
    let mut sizes = pieces.iter().copied().cycle();
    while !read.done && read.consumed < bytes.len() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, bytes.len() - read.consumed);
        let mut piece = bytes[read.consumed..read.consumed + size].to_vec();
        let fed = reader.feed(&mut piece)?;
        assert!(fed.kept <= fed.consumed && fed.consumed <= size, "{fed:?} of {size}");
        assert!(fed.done || fed.consumed == size, "an unfinished body takes everything: {fed:?} of {size}");
        read.output.extend_from_slice(&piece[..fed.kept]);
        read.consumed += fed.consumed;
        read.done = fed.done;
    }
    assert_eq!(read.done, reader.is_done());
    read.output.extend_from_slice(reader.tail());
    read.payload = reader.payload_bytes();
    Ok(read)
}

/// Does what the proxy does with a request, all at once.
pub fn forward(bytes: &[u8]) -> Forwarded {
    let mut head = RequestHead::new();
    match parse_request(bytes, &LIMITS, &mut head) {
        Err(error) => return Forwarded::Refused(error),
        Ok(Progress::Partial) => return Forwarded::Incomplete,
        Ok(Progress::Complete) => {}
    }
    if head.form == TargetForm::Authority {
        return Forwarded::Unsupported;
    }
    let head_bytes = head.bytes(bytes);
    let mut room = Vec::new();
    let path = match normalize_path(head.path.of(head_bytes), &mut room) {
        Err(_) => return Forwarded::PathRefused,
        Ok(Normalised::Same) => None,
        Ok(Normalised::Changed) => Some(room.as_slice()),
    };
    let mut out = Vec::new();
    let fwd = Forwarding {
        peer_ip: b"192.0.2.1",
        proto: b"http",
        fallback_host: b"fallback",
        ..Forwarding::default()
    };
    encode_request(&mut out, head_bytes, &head, path, &fwd, &HeaderEdits::empty(), head.framing);
    check_upgrade(head_bytes, &head, path);
    match read_body(&bytes[head.body_start()..], head.framing, Emit::Framed, &[usize::MAX]) {
        Err(error) => Forwarded::BodyRefused(error),
        Ok(body) if !body.done => Forwarded::Incomplete,
        Ok(body) => {
            out.extend_from_slice(&body.output);
            Forwarded::Sent(out, head.body_start() + body.consumed)
        }
    }
}

/// No input reaches an upstream that it could read differently. Returns what was forwarded.
pub fn check_request(bytes: &[u8]) -> Forwarded {
    let mut head = RequestHead::new();
    let progress = parse_request(bytes, &LIMITS, &mut head);
    if progress == Ok(Progress::Complete) {
        check_complete(bytes, &head);
    }
    let forwarded = forward(bytes);
    let Forwarded::Sent(out, _) = &forwarded else { return forwarded };
    let shown = String::from_utf8_lossy(out);
    let head_bytes = head.bytes(bytes);
    match reader::read_request(out) {
        Ok(Reading::Whole(message, used)) => {
            assert_eq!(used, out.len(), "a second message could follow: {shown:?}");
            assert_eq!(message.start[0].as_bytes(), head.method_span.of(head_bytes), "method of {shown:?}");
            let authority = head.authority.of(head_bytes);
            let host = message.one("host").unwrap_or_default();
            assert_eq!(
                host.as_bytes(),
                if authority.is_empty() { b"fallback" } else { authority },
                "{shown:?}"
            );
            let payload = read_body(&bytes[head.body_start()..], head.framing, Emit::Payload, &[usize::MAX]);
            let payload = payload.map(|body| body.output).unwrap_or_default();
            assert_eq!(message.body, payload, "content of {shown:?}");
            assert_eq!(message.closes(), head.closes_upstream(), "{shown:?}");
        }
        other => panic!("what was sent does not read as one request: {other:?} in {shown:?}"),
    }
    check_again(out, &head);
    forwarded
}

/// A complete head: its spans and length are sound, and every shorter input was incomplete.
fn check_complete(bytes: &[u8], head: &RequestHead) {
    let all = &bytes[..head.body_start()];
    assert!(all.ends_with(b"\r\n\r\n"), "ends with an empty line");
    assert!(may_end(bytes, head.body_start() - 1), "the last byte completes the head");
    for cut in [head.body_start() - 1, head.body_start() / 2, head.skip] {
        let mut shorter = RequestHead::new();
        let got = parse_request(&bytes[..cut], &LIMITS, &mut shorter);
        assert_eq!(got, Ok(Progress::Partial), "the first {cut} bytes of {:?}", String::from_utf8_lossy(all));
    }
    check_against_httparse(&all[head.skip..], head);
    for field in &head.fields {
        assert!(!field.name.is_empty() && usize::from(field.value.end) <= head.len);
        assert!(!field.value.of(head.bytes(bytes)).iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    let mut room = [0; 256];
    let authority = head.authority.of(head.bytes(bytes));
    assert!(
        authority.is_empty() || normalize_host(authority, &mut room).is_some(),
        "an accepted authority is valid"
    );
}

/// Another parser, which tolerates more, reads the accepted head in the same way.
fn check_against_httparse(bytes: &[u8], head: &RequestHead) {
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut slots);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{:?}", bytes.escape_ascii());
    assert_eq!(other.method.map(str::as_bytes), Some(head.method_span.of(bytes)));
    assert_eq!(other.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(other.version == Some(1), head.version == Version::Http11);
    check_fields(bytes, &head.fields, other.headers);
}

fn check_fields(bytes: &[u8], fields: &Fields, others: &[httparse::Header<'_>]) {
    assert_eq!(fields.len(), others.len());
    for (field, other) in fields.iter().zip(others) {
        let shown = other.name;
        assert_eq!((field.name.of(bytes), field.value.of(bytes)), (shown.as_bytes(), other.value), "{shown}");
    }
}

/// What was sent, read by the product itself, says the same; and sending it on changes nothing but the
/// forwarded chain.
fn check_again(out: &[u8], first: &RequestHead) {
    let shown = String::from_utf8_lossy(out);
    let mut again = RequestHead::new();
    assert_eq!(parse_request(out, &LIMITS, &mut again), Ok(Progress::Complete), "{shown:?}");
    assert_eq!((again.method, again.framing, again.skip), (first.method, first.framing, 0), "{shown:?}");
    let mut room = Vec::new();
    let path = normalize_path(again.path.of(out), &mut room);
    assert_eq!(path, Ok(Normalised::Same), "the path sent is in its one form: {shown:?}");
    let mut twice = Vec::new();
    let fwd = Forwarding { peer_ip: b"192.0.2.1", proto: b"http", ..Forwarding::default() };
    encode_request(&mut twice, out, &again, None, &fwd, &HeaderEdits::empty(), again.framing);
    assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&out[..again.len]), "a fixed point");
}

/// What a request offers to upgrade to is passed on as allowed, and reads as that; else nothing of it is.
fn check_upgrade(bytes: &[u8], head: &RequestHead, path: Option<&[u8]>) {
    let Some(offer) = head.upgrade else { return };
    for words in [&["*"][..], &["websocket"]] {
        let upgrades = Upgrades::new(words.iter().copied());
        let passed: Vec<_> = upgrades.pass(offer.of(bytes)).collect();
        let upgrade = (!passed.is_empty()).then_some(&upgrades);
        let fwd = Forwarding { fallback_host: b"fallback", upgrade, ..Forwarding::default() };
        let mut out = Vec::new();
        encode_request(&mut out, bytes, head, path, &fwd, &HeaderEdits::empty(), head.framing);
        let mut again = RequestHead::new();
        let shown = String::from_utf8_lossy(&out);
        assert_eq!(parse_request(&out, &LIMITS, &mut again), Ok(Progress::Complete), "{shown:?}");
        let expected = upgrade.map(|_| passed.join(&b", "[..]));
        assert_eq!(again.upgrade.map(|offer| offer.of(&out).to_vec()), expected, "{shown:?}");
        assert!(
            !upgrades.agree(offer.of(bytes), b"h2c")
                && passed.iter().all(|one| upgrades.agree(offer.of(bytes), one))
        );
    }
}

/// A response that is accepted is passed on with one reading.
pub fn check_response(bytes: &[u8], request: Method) -> Result<Progress, HeadError> {
    let mut head = ResponseHead::new();
    let progress = parse_response(bytes, &LIMITS, request, &mut head)?;
    if progress == Progress::Partial {
        return Ok(progress);
    }
    assert!((100..1000).contains(&head.status));
    let all = &bytes[..head.len];
    assert!(all.ends_with(b"\r\n\r\n"));
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Response::new(&mut slots);
    assert_eq!(other.parse(all), Ok(httparse::Status::Complete(all.len())), "{:?}", all.escape_ascii());
    assert_eq!((other.code, other.version == Some(1)), (Some(head.status), head.version == Version::Http11));
    check_fields(all, &head.fields, other.headers);
    let mut shorter = ResponseHead::new();
    for cut in [head.len - 1, head.len / 2] {
        let got = parse_response(&bytes[..cut], &LIMITS, request, &mut shorter);
        assert_eq!(got, Ok(Progress::Partial), "the first {cut} bytes of {:?}", String::from_utf8_lossy(all));
    }
    let framing = if head.framing == Framing::UntilClose { Framing::Chunked } else { head.framing };
    let frame = ResponseFrame { version: Version::Http11, keep_alive: true, framing, upgrade: false };
    let mut out = Vec::new();
    encode_response(&mut out, bytes, &head, &frame, &HeaderEdits::empty());
    match framing {
        Framing::Length(length) if length < 1_000 => out.resize(out.len() + length as usize, b'x'),
        Framing::Length(_) => return Ok(progress),
        Framing::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    // A reason phrase may hold bytes beyond ASCII, which the narrow reader does not take.
    if head.reason.of(bytes).is_ascii() {
        match reader::read_response(&out, request == Method::Head, false) {
            Ok(Reading::Whole(message, used)) => {
                assert_eq!(used, out.len(), "{:?}", String::from_utf8_lossy(&out));
                assert_eq!(message.status(), head.status);
            }
            other if request == Method::Connect => drop(other),
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&out)),
        }
    }
    Ok(progress)
}

/// However a body is torn, the outcome and what is forwarded are the same, and what is forwarded has one
/// reading. `pieces` are the sizes to tear it into.
pub fn check_body(bytes: &[u8], framing: Framing, pieces: &[usize]) -> Result<bool, BodyError> {
    let whole = read_body(bytes, framing, Emit::Framed, &[usize::MAX]);
    let payload = read_body(bytes, framing, Emit::Payload, &[usize::MAX]);
    let torn = read_body(bytes, framing, Emit::Framed, pieces);
    let torn_payload = read_body(bytes, framing, Emit::Payload, pieces);
    match (&whole, &payload, &torn, &torn_payload) {
        (Ok(whole), Ok(payload), Ok(torn), Ok(torn_payload)) => {
            assert_eq!((whole.done, whole.consumed), (torn.done, torn.consumed));
            assert_eq!((payload.done, payload.consumed), (torn_payload.done, torn_payload.consumed));
            assert_eq!(payload.output, torn_payload.output);
            assert_eq!(payload.payload, payload.output.len() as u64);
            assert_eq!((whole.payload, torn.payload), (payload.payload, payload.payload));
            if framing == Framing::Chunked && whole.done {
                for output in [&whole.output, &torn.output] {
                    check_chunked(output, &payload.output);
                }
            }
        }
        (Err(whole), Err(payload), Err(torn), Err(torn_payload)) => {
            assert_eq!([whole, payload, torn], [torn_payload; 3]);
        }
        _ => panic!("tearing changes the outcome of {:?}", String::from_utf8_lossy(bytes)),
    }
    whole.map(|whole| whole.done)
}

fn check_chunked(output: &[u8], payload: &[u8]) {
    let mut message = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    message.extend_from_slice(output);
    match reader::read_request(&message) {
        Ok(Reading::Whole(read, used)) => {
            assert_eq!(used, message.len());
            assert_eq!(read.body, payload);
            for (name, _) in &read.trailers {
                assert!(!["host", "content-length", "transfer-encoding"].contains(&name.as_str()), "{name}");
            }
        }
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(output)),
    }
}

/// Normalising twice changes nothing; nothing dangerous is left in.
pub fn check_normalize(path: &[u8]) -> bool {
    let mut once = Vec::new();
    match normalize_path(path, &mut once) {
        Err(_) => return false,
        Ok(Normalised::Same) => once = path.to_vec(),
        Ok(Normalised::Changed) => {}
    }
    let shown = String::from_utf8_lossy(&once).into_owned();
    assert!(once.len() <= 3 * path.len() + 1, "{shown}");
    assert!(once == b"*" || once.starts_with(b"/"), "{shown}");
    assert!(once.iter().all(|byte| byte.is_ascii_graphic() && !b"\\#?\"<>^`{|}".contains(byte)), "{shown}");
    let lower = shown.to_lowercase();
    for gone in ["//", "/./", "/../", "%2e", "%2f", "%5c", "%00", "%41", "%7e", "/..;", "/.;"] {
        assert!(!lower.contains(gone), "{gone} in {shown}");
    }
    assert!(!lower.ends_with("/..") && !lower.ends_with("/."), "{shown}");
    let mut twice = Vec::new();
    assert_eq!(normalize_path(&once, &mut twice), Ok(Normalised::Same), "{shown}");
    true
}

/// A normalised host is lower-case, has no port, and stays as it is.
pub fn check_host(host: &[u8]) -> bool {
    let mut once = [0; 256];
    let Some(len) = normalize_host(host, &mut once) else { return false };
    let name = &once[..len];
    assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase));
    let mut twice = [0; 256];
    assert_eq!(normalize_host(name, &mut twice), Some(len), "{:?}", String::from_utf8_lossy(name));
    assert_eq!(&twice[..len], name);
    true
}
