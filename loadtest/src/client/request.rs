//! What is sent: requests made once and sent many times.
//!
//! Whatever can be encoded before the run is: the head for HTTP/1.1, the header block for HTTP/2, the
//! body. Only bodies of random size get their length when they are sent.

use std::io::Write as _;
use std::sync::Arc;

use super::sizes::Sizes;
use super::target::{Scheme, Target};
use crate::cli::Problem;
use crate::http2;
use crate::message::is_token;
use crate::random::Random;

/// What a request is made of, as the user gave it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) method: String,
    /// `name: value` lines.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Option<Content>,
}

/// The content of a request.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Always the same.
    Fixed(Arc<[u8]>),
    /// A pattern of random length.
    Sized(Sizes),
}

/// What is sent, and what has to be known to read its answer.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) target: Target,
    /// The head for HTTP/1.1, with its empty line only if nothing follows it that is known later.
    head: Vec<u8>,
    /// The header block for HTTP/2 (HPACK).
    pub(crate) block: Vec<u8>,
    content: Content,
    /// Whether the answers have heads only.
    pub(crate) is_head: bool,
    /// Whether sending it twice does what sending it once does (RFC 9110, section 9.2.2).
    pub(crate) is_idempotent: bool,
}

impl Prepared {
    /// Makes the request that the draft describes. Host, User-Agent and Content-Length are added unless the
    /// draft has them, for gRPC what that protocol wants.
    ///
    /// # Errors
    /// A method or header that is not HTTP.
    pub(crate) fn new(target: &Target, draft: &Draft) -> Result<Self, Problem> {
        let method = if target.scheme == Scheme::Grpc { "POST" } else { draft.method.as_str() };
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(Problem::Usage(format!("`{method}` is not a method")));
        }
        let mut headers = Vec::new();
        for line in &draft.headers {
            headers.push(split_header(line)?);
        }
        let content = match (&draft.body, target.scheme) {
            (Some(Content::Fixed(body)), Scheme::Grpc) => Content::Fixed(grpc_message(body).into()),
            (None, Scheme::Grpc) => Content::Fixed(grpc_message(&[]).into()),
            (Some(content), _) => content.clone(),
            (None, _) => Content::Fixed(Arc::from(&[][..])),
        };
        let has_body = draft.body.is_some();
        Ok(Prepared {
            target: target.clone(),
            head: head(method, target, &headers, has_body.then_some(&content)),
            block: block(method, target, &headers, has_body.then_some(&content)),
            content,
            is_head: method == "HEAD",
            is_idempotent: ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&method),
        })
    }

    /// Writes the whole request for HTTP/1.1.
    pub(crate) fn write_http1(&self, random: &mut Random, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        match &self.content {
            Content::Fixed(body) => out.extend_from_slice(body),
            Content::Sized(sizes) => {
                let length = sizes.sample(random);
                // INVARIANT: writing to a vector does not fail.
                let _ = write!(out, "content-length: {length}\r\n\r\n");
                fill(length, out);
            }
        }
    }

    /// The content of one request.
    pub(crate) fn body(&self, random: &mut Random) -> Arc<[u8]> {
        match &self.content {
            Content::Fixed(body) => Arc::clone(body),
            Content::Sized(sizes) => {
                let mut body = Vec::new();
                fill(sizes.sample(random), &mut body);
                if self.target.scheme == Scheme::Grpc { grpc_message(&body).into() } else { body.into() }
            }
        }
    }

    /// The header lines of the draft as they go into an HTTP/1.1 head: for the handshake of a WebSocket.
    pub(crate) fn http1_head(&self) -> &[u8] {
        &self.head
    }
}

/// Appends a pattern that repeats.
fn fill(length: usize, out: &mut Vec<u8>) {
    const PATTERN: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    out.reserve(length);
    let mut left = length;
    while left > 0 {
        let part = left.min(PATTERN.len());
        out.extend_from_slice(&PATTERN[..part]);
        left -= part;
    }
}

/// A message with its prefix: not compressed, and its length.
pub(crate) fn grpc_message(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], payload].concat()
}

const USER_AGENT: &str = concat!("pinion-load/", env!("CARGO_PKG_VERSION"));

fn head(method: &str, target: &Target, headers: &[(&str, &str)], content: Option<&Content>) -> Vec<u8> {
    let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut head = format!("{method} {} HTTP/1.1\r\n", target.path);
    let mut push = |name: &str, value: &str| {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    };
    if !given("host") {
        push("host", &target.authority);
    }
    if !given("user-agent") {
        push("user-agent", USER_AGENT);
    }
    // What is sent over a WebSocket is no content of its handshake.
    if let Some(Content::Fixed(body)) = content
        && target.scheme != Scheme::WebSocket
        && !given("content-length")
        && !given("transfer-encoding")
    {
        push("content-length", &body.len().to_string());
    }
    for (name, value) in headers {
        push(name, value);
    }
    if !matches!(content, Some(Content::Sized(_))) && target.scheme != Scheme::WebSocket {
        head.push_str("\r\n");
    }
    head.into_bytes()
}

fn block(method: &str, target: &Target, headers: &[(&str, &str)], content: Option<&Content>) -> Vec<u8> {
    let lower: Vec<(String, &str)> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value)).collect();
    let find = |wanted: &str| lower.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let length = match content {
        Some(Content::Fixed(body)) => Some(body.len().to_string()),
        _ => None,
    };
    let mut fields = vec![
        (":method", method),
        (":scheme", if target.is_secure { "https" } else { "http" }),
        (":authority", find("host").unwrap_or(&target.authority)),
        (":path", target.path.as_str()),
    ];
    if find("user-agent").is_none() {
        fields.push(("user-agent", USER_AGENT));
    }
    if target.scheme == Scheme::Grpc {
        if find("content-type").is_none() {
            fields.push(("content-type", "application/grpc"));
        }
        fields.push(("te", "trailers"));
    } else if let Some(length) = &length
        && find("content-length").is_none()
    {
        fields.push(("content-length", length));
    }
    // RFC 9113, section 8.2.2: these belong to HTTP/1.1 connections.
    let connection_specific = ["host", "connection", "keep-alive", "transfer-encoding", "upgrade", "te"];
    fields.extend(
        lower
            .iter()
            .filter(|(name, _)| !connection_specific.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), *value)),
    );
    http2::encode_request(&fields)
}

fn split_header(line: &str) -> Result<(&str, &str), Problem> {
    let wrong = || Problem::Usage(format!("`{line}` is not a header, write 'name: value'"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let value_fits = value.bytes().all(|b| (b >= b' ' || b == b'\t') && b != 0x7f);
    if name.is_empty() || !name.bytes().all(is_token) || !value_fits {
        return Err(wrong());
    }
    Ok((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(url: &str, method: &str, headers: &[&str], body: Option<Content>) -> Result<String, Problem> {
        let headers = headers.iter().map(|line| (*line).to_owned()).collect();
        let prepared =
            Prepared::new(&url.parse().unwrap(), &Draft { method: method.to_owned(), headers, body })?;
        let mut out = Vec::new();
        prepared.write_http1(&mut Random::seeded(1), &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_is_not_given_is_added() {
        let plain = made("http://a:1/b", "GET", &[], None).unwrap();
        assert!(plain.starts_with("GET /b HTTP/1.1\r\nhost: a:1\r\nuser-agent: pinion-load/"), "{plain}");
        assert!(plain.ends_with("\r\n\r\n"));
        let body = Some(Content::Fixed(Arc::from(&b"abc"[..])));
        let own = made("http://a:1/b", "POST", &["Host: x", "user-agent:y"], body).unwrap();
        assert_eq!(own, "POST /b HTTP/1.1\r\ncontent-length: 3\r\nHost: x\r\nuser-agent: y\r\n\r\nabc");
    }

    #[test]
    fn a_body_of_random_size_has_the_length_that_its_head_says() {
        let sizes: Sizes = "10B..70B".parse().unwrap();
        let text = made("http://a/", "POST", &[], Some(Content::Sized(sizes))).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert!((10..=70).contains(&body.len()));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for (method, header) in
            [("G T", "a: b"), ("GET", "no colon"), ("GET", "a b: c"), ("GET", "a: b\r\nc: d")]
        {
            assert!(matches!(made("http://a/", method, &[header], None), Err(Problem::Usage(_))), "{header}");
        }
    }

    #[test]
    fn a_grpc_message_has_its_prefix() {
        assert_eq!(grpc_message(b"ab"), [0, 0, 0, 0, 2, b'a', b'b']);
        let target = "grpc://a/b.C/D".parse().unwrap();
        let prepared = Prepared::new(&target, &Draft::default()).unwrap();
        assert_eq!(*prepared.body(&mut Random::seeded(1)), [0; 5]);
    }
}
