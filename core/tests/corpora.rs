//! Recorded cases of other projects against the strict reader: llhttp's markdown tests and the YAML cases
//! of http-desync-guardian, from the folder that the environment variable `PINION_CORPORA` names.
//!
//! The rule for each case: what those projects refuse, or call ambiguous or severe, must be refused here
//! or go out rewritten with one reading; what they accept must be accepted and mean the same. Cases where
//! Pinion differs on purpose are listed below with the reason; an entry that is not needed fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: a case that can't be read is a failure")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pinion_core::http::h1::body::Emit;
use pinion_core::http::h1::parse::{HeadError, Progress, parse_request, parse_response};
use pinion_core::http::{Framing, Method, RequestHead, ResponseHead};

mod common;

use common::invariants::{Forwarded, LIMITS, check_request, check_response, read_body};
use pinion_core::sim::reader::{Message, Reading, read_request};

/// Where the corpora lie; says so loudly when they do not.
fn corpora(name: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("PINION_CORPORA") else {
        // Past the test harness, which would hide it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: PINION_CORPORA is not set ({name})");
        return None;
    };
    let folder = Path::new(&root).join(name);
    assert!(folder.is_dir(), "PINION_CORPORA has no folder {name}");
    Some(folder)
}

/// Files below `folder` with that ending, as (relative name, text), in order.
fn files(folder: &Path, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|have| have == ending) {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// One message of a connection, as either reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method and target of a request; the status of a response.
    start: String,
    body: Vec<u8>,
}

// ---------------------------------------------------------------------------------------- llhttp

/// One case: where it is, what kind, the bytes, and what llhttp makes of them.
#[derive(Debug)]
struct Case {
    name: String,
    kind: String,
    bytes: Vec<u8>,
    messages: Vec<Seen>,
    error: Option<String>,
}

fn llhttp_cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let (mut titles, mut kind, mut input) = (vec![String::new()], String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("##") {
            let depth = title.chars().take_while(|&c| c == '#').count();
            titles.truncate(depth + 1);
            titles.push(title.trim_start_matches('#').trim().to_owned());
        } else if line.starts_with("<!-- meta=") {
            let value = line.split("\"type\"").nth(1).and_then(|rest| rest.split('"').nth(1));
            kind = value.unwrap_or_default().to_owned();
        } else if line == "```http" || line == "```log" {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if line == "```http" {
                input = block.join("\n");
            } else {
                let name = format!("{file}: {}", titles.last().unwrap());
                cases.push(llhttp_case(name, &kind, &input, &block));
            }
        }
    }
    cases
}

fn llhttp_case(name: String, kind: &str, input: &str, log: &[&str]) -> Case {
    let bytes = unescape(&input.replace("\\\n", "").replace('\n', "\r\n"));
    let mut messages = Vec::new();
    let mut error = None;
    let mut seen = Seen::default();
    let mut target = Vec::new();
    for line in log {
        let span = |name: &str| match line.split(&format!("span[{name}]=")).nth(1)? {
            "cr" => Some(b"\r".to_vec()),
            "lf" => Some(b"\n".to_vec()),
            quoted => Some(unescape(quoted.strip_prefix('"')?.strip_suffix('"')?)),
        };
        if let Some(method) = span("method") {
            seen.start = String::from_utf8_lossy(&method).into_owned();
        } else if let Some(url) = span("url") {
            target.extend(url);
        } else if let Some(body) = span("body") {
            seen.body.extend(body);
        } else if line.contains("headers complete") {
            if let Some(status) = line.split("status=").nth(1) {
                seen.start = status.split(' ').next().unwrap().to_owned();
            } else {
                seen.start =
                    format!("{} {}", seen.start, String::from_utf8_lossy(&std::mem::take(&mut target)));
            }
        } else if line.ends_with("message complete") {
            messages.push(std::mem::take(&mut seen));
        } else if line.contains("error code=") && !line.contains("code=21") && !line.contains("code=22") {
            error = Some(line.split("reason=").nth(1).unwrap_or_default().to_owned());
        }
    }
    Case { name, kind: kind.to_owned(), bytes, messages, error }
}

/// Turns the escapes of quoted text into the bytes they stand for.
fn unquote(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(place) = rest.find(r"\\").into_iter().chain(rest.find(r#"\""#)).min() {
        bytes.extend(unescape(&rest[..place]));
        bytes.push(rest.as_bytes()[place + 1]);
        rest = &rest[place + 2..];
    }
    bytes.extend(unescape(rest));
    bytes
}

/// Turns `\r`, `\n`, `\t`, `\f`, `\0` and `\xHH` into the bytes they stand for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (put, after): (&[u8], &[u8]) = match tail {
            _ if byte != b'\\' => (&[byte], tail),
            [b'r', after @ ..] => (b"\r", after),
            [b'n', after @ ..] => (b"\n", after),
            [b't', after @ ..] => (b"\t", after),
            [b'f', after @ ..] => (b"\x0c", after),
            [b'0', after @ ..] => (b"\0", after),
            [b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let text = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(text, 16).unwrap());
                (b"", after)
            }
            _ => (&[byte], tail),
        };
        bytes.extend_from_slice(put);
        rest = after;
    }
    bytes
}

/// What Pinion makes of the bytes of one connection: its messages, and why it stopped. A missing Host is
/// put in (after it was refused), so that the other properties can be judged.
fn walk_requests(bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    let mut bytes = bytes.to_vec();
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        match check_request(&bytes) {
            Forwarded::Sent(out, used) => {
                let Ok(Reading::Whole(message, _)) = read_request(&out) else { panic!("checked before") };
                let mut head = RequestHead::new();
                assert_eq!(parse_request(&bytes, &LIMITS, &mut head), Ok(Progress::Complete));
                let target = String::from_utf8_lossy(head.target.of(head.bytes(&bytes))).into_owned();
                messages.push(Seen { start: format!("{} {target}", message.start[0]), body: message.body });
                bytes.drain(..used);
                if head.upgrade.is_some() {
                    return (messages, None);
                }
                if !head.keep_alive {
                    // What follows is not read (RFC 9112 section 9.6).
                    return (messages, (!bytes.is_empty()).then(|| "closed".to_owned()));
                }
            }
            Forwarded::Refused(HeadError::HostMissing) => bytes = with_host(&bytes),
            Forwarded::Incomplete => return (messages, None),
            Forwarded::Unsupported => return (messages, Some("not forwarded".into())),
            refused => return (messages, Some(format!("{refused:?}"))),
        }
    }
    (messages, None)
}

fn walk_responses(bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    let mut bytes = bytes;
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        match check_response(bytes, Method::Get) {
            Err(error) => return (messages, Some(format!("{error:?}"))),
            Ok(Progress::Partial) => return (messages, None),
            Ok(Progress::Complete) => {}
        }
        let mut head = ResponseHead::new();
        assert_eq!(parse_response(bytes, &LIMITS, Method::Get, &mut head), Ok(Progress::Complete));
        match read_body(&bytes[head.len..], head.framing, Emit::Payload, &[usize::MAX]) {
            Err(error) => return (messages, Some(format!("{error:?}"))),
            Ok(body) if !body.done => return (messages, None),
            Ok(body) => {
                messages.push(Seen { start: head.status.to_string(), body: body.output });
                bytes = &bytes[head.len + body.consumed..];
            }
        }
        if !head.keep_alive || head.status == 101 {
            return (messages, (!bytes.is_empty()).then(|| "closed".to_owned()));
        }
    }
    (messages, None)
}

/// Puts a Host behind the request line.
fn with_host(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap();
    let end = start + bytes[start..].windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    [&bytes[..end], b"Host: example.com\r\n", &bytes[end..]].concat()
}

/// What llhttp accepts and Pinion refuses, or the other way round, and why.
const LLHTTP_DIFFERENCES: &[(&str, &str)] = &[
    ("request/content-length.md: Content-Length reset when no body is received", SKIPPED_BODY),
    ("request/content-length.md: Funky `Content-Length` with body", "HTTP/1.0 GET with content is refused"),
    ("request/invalid.md: HTTP protocol and ANNOUNCE method", ANY_METHOD),
    ("request/invalid.md: Invalid method", ANY_METHOD),
    ("request/method.md: ANNOUNCE request with RTSP", NOT_HTTP),
    ("request/method.md: CONNECT request", TUNNEL),
    ("request/method.md: CONNECT request with CAPS", TUNNEL),
    ("request/method.md: CONNECT with body", TUNNEL),
    ("request/method.md: M-SEARCH request", "`*` is for OPTIONS only (RFC 9112 section 3.2.4)"),
    ("request/method.md: OPTIONS request with RTSP", NOT_HTTP),
    ("request/method.md: SOURCE request with ICE", NOT_HTTP),
    ("request/sample.md: Firefox GET", "`Host: 0.0.0.0=5000` is no authority"),
    ("request/sample.md: No HTTP version", "HTTP/0.9 is not spoken"),
    ("request/sample.md: curl GET", "`Host: 0.0.0.0=5000` is no authority"),
    ("request/transfer-encoding.md: POST with `chunked` as last transfer-encoding", CODINGS),
    (
        "request/transfer-encoding.md: POST with `chunked` as last transfer-encoding (multiple headers)",
        CODINGS,
    ),
    ("request/uri.md: Fragment in URI", "a fragment is no part of a target (RFC 9112 section 3.2.1)"),
    ("request/uri.md: Underscore in hostname", TUNNEL),
    ("request/uri.md: `host:port` and basic auth", "user information is refused (RFC 9110 section 4.2.4)"),
    ("response/connection.md: HTTP 101 response with Upgrade and Content-Length header", FRAMED_101),
    ("response/connection.md: HTTP 101 response with Upgrade and Transfer-Encoding header", FRAMED_101),
    ("response/connection.md: HTTP 100 first, then 400", EMPTY_LINE),
    ("response/connection.md: HTTP 304 with Content-Length", EMPTY_LINE),
    ("response/content-length.md: Content-Length reset when no body is received", SKIPPED_BODY),
    ("response/pipelining.md: Should parse multiple events", EMPTY_LINE),
    ("response/sample.md: HTTP version 0.9", "HTTP/0.9 is not spoken"),
    ("response/sample.md: ICE response", NOT_HTTP),
    ("response/sample.md: RTSP response", NOT_HTTP),
    ("response/sample.md: Response starting with CRLF", EMPTY_LINE),
    ("response/transfer-encoding.md: `chunked` before other transfer-encoding", CODINGS),
    (
        "response/transfer-encoding.md: `chunkedchunked` transfer-encoding does not enable chunked enconding",
        CODINGS,
    ),
    ("response/transfer-encoding.md: multiple transfer-encoding where chunked is not the last one", CODINGS),
];

const ANY_METHOD: &str = "methods are tokens, any token (RFC 9110 section 9.1); it is forwarded as sent";
const NOT_HTTP: &str = "another protocol";
const TUNNEL: &str = "CONNECT is parsed, but no tunnel is opened: the request never reaches an upstream";
const CODINGS: &str = "a Transfer-Encoding other than exactly one `chunked` is refused";
const FRAMED_101: &str = "a 101 with framing fields could be read as having a body";
const EMPTY_LINE: &str = "an upstream that sends anything between responses is out of step";
const SKIPPED_BODY: &str = "llhttp was told that no bodies follow";

#[test]
fn llhttp() {
    let Some(folder) = corpora("llhttp") else { return };
    let (mut strict, mut lenient) = (0, 0);
    let mut differences = BTreeSet::new();
    for (file, text) in files(&folder, "md") {
        for case in llhttp_cases(&file, &text) {
            let (mut messages, mut stop) = walk(&case, b"");
            if case.error.is_some() && stop.is_none() {
                // llhttp reports at the offending byte, where the head may not be complete.
                (messages, stop) = walk(&case, b"\r\n\r\n");
            }
            if case.kind == "request" || case.kind == "response" {
                strict += 1;
                let listed = LLHTTP_DIFFERENCES.iter().any(|(name, _)| *name == case.name);
                if messages != case.messages || stop.is_some() != case.error.is_some() {
                    if !listed {
                        let (name, theirs, error) = (&case.name, &case.messages, &case.error);
                        eprintln!("{name}: theirs {theirs:?} {error:?}, ours {messages:?} {stop:?}");
                    }
                    differences.insert(case.name);
                }
            } else {
                // A lenient reading is no model, but whatever is forwarded must mean what it means there.
                lenient += 1;
                assert!(case.messages.starts_with(&messages), "{}: {messages:?} {stop:?}", case.name);
            }
        }
    }
    println!("llhttp: {strict} strict cases ({} differ on purpose), {lenient} lenient", differences.len());
    assert!(strict > 100 && lenient > 20, "the corpus was read: {strict} {lenient}");
    let listed: BTreeSet<String> = LLHTTP_DIFFERENCES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(differences, listed, "the list of differences");
}

fn walk(case: &Case, more: &[u8]) -> (Vec<Seen>, Option<String>) {
    let bytes = [&case.bytes, more].concat();
    if case.kind.starts_with("request") { walk_requests(&bytes) } else { walk_responses(&bytes) }
}

// -------------------------------------------------------------------------- http-desync-guardian

#[derive(Debug, Default)]
struct Request {
    name: String,
    line: [String; 3],
    headers: Vec<(String, String)>,
    tier: String,
}

/// Reads the subset of YAML that the cases use: a list of maps with scalars, one list of maps, one map.
fn guardian_cases(text: &str) -> Vec<Request> {
    let mut cases: Vec<Request> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let entry = line.trim_start();
        let Some((key, value)) = entry.trim_start_matches("- ").split_once(':') else { continue };
        if entry.starts_with('#') {
            continue;
        }
        let value = scalar(value.trim());
        if indent == 0 && entry.starts_with("- ") {
            cases.push(Request { name: value.clone(), ..Request::default() });
        }
        let Some(case) = cases.last_mut() else { continue };
        match (indent, key) {
            (2, "method") => case.line[0] = value,
            (2, "uri") => case.line[1] = value,
            (2, "version") => case.line[2] = value,
            (4, "name") => case.headers.push((value, String::new())),
            (6, "value") => case.headers.last_mut().unwrap().1 = value,
            (4, "tier") => case.tier = value,
            _ => {}
        }
    }
    cases
}

fn scalar(text: &str) -> String {
    if let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        // Latin-1 stands for itself; one char a byte.
        unquote(inner).into_iter().map(char::from).collect()
    } else if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        inner.replace("''", "'")
    } else {
        text.split(" #").next().unwrap_or_default().trim_end().to_owned()
    }
}

/// Compliant cases that are refused, and why.
const GUARDIAN_DIFFERENCES: &[(&str, &str)] = &[
    ("more-compliant-tests.yaml: Correct TE OK", CODINGS),
    ("more-compliant-tests.yaml: Multiple transfer encoding headers in a single request OK", CODINGS),
    ("more-compliant-tests.yaml: TE with custom parameters OK", CODINGS),
    ("more-compliant-tests.yaml: Transfer-Encoding: identity and chunked OK", CODINGS),
    ("rfc-compliant.yaml: Compliant URL", "it has a fragment"),
    ("rfc-compliant.yaml: Different Transfer-Encoding headers", CODINGS),
    ("rfc-compliant.yaml: Different Transfer-Encoding headers combined", CODINGS),
    ("rfc-compliant.yaml: Empty URI", "an empty target is none of the four forms (RFC 9112 section 3.2)"),
    ("rfc-compliant.yaml: International in URI", "bytes beyond ASCII must be escaped (RFC 3986 section 2)"),
    ("rfc-compliant.yaml: Transfer-Encoding with a param: chunked;custom_param", CODINGS),
];

#[test]
fn guardian() {
    let Some(folder) = corpora("http-desync-guardian") else { return };
    let (mut harmful, mut compliant, mut contained) = (0, 0, 0);
    let mut differences = BTreeSet::new();
    for (file, text) in files(&folder, "yaml") {
        for case in guardian_cases(&text) {
            let name = format!("{file}: {}", case.name);
            let (bytes, got) = judge(&case);
            match case.tier.as_str() {
                "Severe" | "Ambiguous" => {
                    harmful += 1;
                    let Forwarded::Sent(out, _) = &got else { continue };
                    // Content without a meaning: the upstream is told that nothing follows this request.
                    let message = sent(out);
                    let undefined = ["GET", "HEAD", "DELETE"].contains(&message.start[0].as_str());
                    let shown = String::from_utf8_lossy(&bytes);
                    assert!(undefined && message.closes(), "{name} [{}] went out: {shown:?}", case.tier);
                    contained += 1;
                }
                "Compliant" => {
                    compliant += 1;
                    if !matches!(got, Forwarded::Sent(..)) {
                        differences.insert(name);
                    }
                }
                // Tolerated there; refused or forwarded with one reading here (`check_request` saw to it).
                "Acceptable" => {}
                other => panic!("{name}: unknown tier {other:?}"),
            }
        }
    }
    println!("guardian: {harmful} harmful cases, {contained} of them contained, {compliant} compliant");
    assert!(harmful > 80 && compliant > 20, "the corpus was read: {harmful} {compliant}");
    let listed: BTreeSet<String> = GUARDIAN_DIFFERENCES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(differences, listed, "the list of differences");
}

fn sent(out: &[u8]) -> Message {
    match read_request(out) {
        Ok(Reading::Whole(message, _)) => *message,
        other => panic!("checked before: {other:?}"),
    }
}

/// The case as bytes, given a Host and a body where it lacks one, and what becomes of it.
fn judge(case: &Request) -> (Vec<u8>, Forwarded) {
    let [method, uri, version] = &case.line;
    let line =
        if version.is_empty() { format!("{method} {uri}") } else { format!("{method} {uri} {version}") };
    let fields: String = case.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // One char is one byte, except in the case that is about UTF-8.
    let text = format!("{line}\r\n{fields}\r\n");
    let latin = text.chars().all(|c| u32::from(c) < 256);
    let mut bytes = if latin { text.chars().map(|c| c as u8).collect() } else { text.into_bytes() };
    let mut got = check_request(&bytes);
    if got == Forwarded::Refused(HeadError::HostMissing) {
        bytes = with_host(&bytes);
        got = check_request(&bytes);
    }
    if got == Forwarded::Incomplete {
        let mut head = RequestHead::new();
        assert_eq!(parse_request(&bytes, &LIMITS, &mut head), Ok(Progress::Complete), "{}", case.name);
        match head.framing {
            Framing::Length(length) => {
                bytes.extend("x".repeat(usize::try_from(length).unwrap()).into_bytes())
            }
            _ => bytes.extend_from_slice(b"1\r\nx\r\n0\r\n\r\n"),
        }
        got = check_request(&bytes);
        assert_ne!(got, Forwarded::Incomplete, "{}", case.name);
    }
    (bytes, got)
}
