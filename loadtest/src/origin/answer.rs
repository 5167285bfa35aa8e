//! What a request asks the origin to do: directives in its path, and the answer's bytes.
//!
//! ```text
//! /delay/50ms/status/503/bytes/10   →   wait 50 ms, 503, 10 bytes
//! /anything/else                    →   the defaults
//! ```

use std::io::Write as _;
use std::sync::LazyLock;

use serde::Serialize;

use super::delay::Delay;
use crate::message::{Framing, Head, Malformed, is_token};
use crate::units;

/// The largest body that a path can ask for, in bytes: a terabyte, so that a typing error ends.
const BYTES_MAX: u64 = 1 << 40;

/// The bytes of all bodies: lines of 16 characters, each the number of the line, so that a lost,
/// doubled or shifted piece shows. It repeats after 256 KiB.
static PATTERN: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut block = Vec::with_capacity(PATTERN_BYTES);
    for line in 0..PATTERN_BYTES / 16 {
        // INVARIANT: writing to a vector does not fail.
        let _ = writeln!(block, "{line:015x}");
    }
    block.into_boxed_slice()
});

/// Length of the repeating block of content.
const PATTERN_BYTES: usize = 256 * 1024;

/// A piece of the content of every body, from `offset` on, at most `most` bytes.
pub(crate) fn pattern(offset: u64, most: u64) -> &'static [u8] {
    let block: &'static [u8] = &PATTERN;
    let from = (offset % PATTERN_BYTES as u64) as usize;
    let length = most.min((PATTERN_BYTES - from) as u64) as usize;
    &block[from..from + length]
}

/// The request line and what it means.
pub(crate) struct Request<'a> {
    pub(crate) head: Head<'a>,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    /// Of the target, without the query.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// HTTP/1.1 rather than HTTP/1.0.
    pub(crate) is_11: bool,
    pub(crate) framing: Option<Framing>,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

/// Why a request is refused: the status and the reason.
pub(crate) type Refusal = (u16, &'static str);

impl<'a> Request<'a> {
    /// Reads a complete head.
    ///
    /// # Errors
    /// Everything that is not a plain HTTP/1.0 or HTTP/1.1 request.
    pub(crate) fn read(head: &'a [u8]) -> Result<Self, Refusal> {
        let bad = |Malformed(reason)| (400, reason);
        let head = Head::split(head).map_err(bad)?;
        let line = std::str::from_utf8(head.start).map_err(|_| (400, "request line is not text"))?;
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err((400, "request line is not three words"));
        };
        if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() {
            return Err((400, "wrong method or target"));
        }
        let is_11 = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ => return Err((505, "only HTTP/1.0 and HTTP/1.1 are spoken here")),
        };
        let hosts = head.values("host").count();
        if hosts > 1 || (is_11 && hosts == 0) {
            return Err((400, "not exactly one Host"));
        }
        let framing = head.framing().map_err(bad)?;
        if framing == Some(Framing::Chunked) && !is_11 {
            return Err((400, "Transfer-Encoding in HTTP/1.0"));
        }
        let expects_continue = match head.values("expect").next() {
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => is_11,
            Some(_) => return Err((417, "an expectation other than 100-continue")),
            None => false,
        };
        let keep_alive = match is_11 {
            true => !head.has_token("connection", "close"),
            false => head.has_token("connection", "keep-alive"),
        };
        let (path, query) = split_target(target);
        Ok(Request { head, method, target, path, query, is_11, framing, keep_alive, expects_continue })
    }
}

/// Path and query of a target in origin or absolute form; other forms are all path.
fn split_target(target: &str) -> (&str, Option<&str>) {
    let local = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    }
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Content {
    /// Name and version.
    Identity,
    /// The request as it was seen.
    Echo,
    /// So many bytes of the pattern.
    Bytes { length: u64, chunked: bool },
}

/// The whole of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) status: u16,
    pub(crate) content: Content,
    pub(crate) delay: Option<Delay>,
    pub(crate) close: bool,
}

impl Plan {
    /// Applies the directives of `path` to the defaults. A path that does not begin with a directive
    /// has none: a service behind a route is asked for all kinds of paths.
    ///
    /// # Errors
    /// A directive with a wrong argument, or something else after a directive.
    pub(crate) fn for_path(path: &str, defaults: Plan) -> Result<Plan, Refusal> {
        let mut plan = defaults;
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut first = true;
        while let Some(part) = parts.next() {
            match part {
                "echo" => plan.content = Content::Echo,
                "close" => plan.close = true,
                "bytes" | "chunked" => {
                    let length = parts
                        .next()
                        .and_then(|text| units::size(text).ok())
                        .filter(|&length| length <= BYTES_MAX)
                        .ok_or((400, "use /bytes/N or /chunked/N, for example /bytes/64KiB"))?;
                    plan.content = Content::Bytes { length, chunked: part == "chunked" };
                }
                "delay" => {
                    let delay = parts.next().and_then(|text| text.parse().ok());
                    plan.delay =
                        Some(delay.ok_or((400, "use /delay/50ms, /delay/1ms..9ms or /delay/exp:5ms"))?);
                }
                "status" => {
                    let status = parts.next().and_then(|text| text.parse().ok());
                    plan.status = status
                        .filter(|status| (200..=599).contains(status))
                        .ok_or((400, "use /status/CODE with 200 to 599"))?;
                }
                _ if first => return Ok(plan),
                _ => return Err((400, "unknown directive after another one")),
            }
            first = false;
        }
        Ok(plan)
    }
}

/// The answer of `/echo`.
#[derive(Serialize)]
pub(crate) struct Echo<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) http_version: &'a str,
    /// Name and value of every header line, in order, nothing merged.
    pub(crate) headers: Vec<[String; 2]>,
    /// Bytes of content, whatever its framing was.
    pub(crate) body_length: u64,
    /// The content, as far as it is kept; what is not UTF-8 is replaced.
    pub(crate) body: String,
    pub(crate) body_truncated: bool,
    pub(crate) body_chunked: bool,
    pub(crate) trailers: Vec<String>,
    /// Which connection to this origin it came on, from 1.
    pub(crate) connection: u64,
    /// Which request on that connection it was, from 1.
    pub(crate) request: u64,
}

/// Name and value of every header line, as text.
pub(crate) fn header_pairs(head: &Head<'_>) -> Vec<[String; 2]> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields.iter().map(|(name, value)| [text(name), text(value)]).collect()
}

/// The reason phrase of a status code (RFC 9110, section 15), or an empty one.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DEFAULTS: Plan = Plan { status: 200, content: Content::Identity, delay: None, close: false };

    fn plan(path: &str) -> Result<Plan, Refusal> {
        Plan::for_path(path, DEFAULTS)
    }

    #[test]
    fn directives_follow_one_another() {
        assert_eq!(plan("/"), Ok(DEFAULTS));
        assert_eq!(plan("/reviews/1/bytes"), Ok(DEFAULTS));
        assert_eq!(plan("/echo").unwrap().content, Content::Echo);
        let all = plan("/delay/50ms/status/503/chunked/1KiB/close").unwrap();
        let content = Content::Bytes { length: 1024, chunked: true };
        let delay = Some(Delay::Fixed(Duration::from_millis(50)));
        assert_eq!(all, Plan { status: 503, content, delay, close: true });
        for wrong in
            ["/bytes", "/bytes/x", "/bytes/9999GiB", "/status/99", "/status/600", "/delay/5", "/close/now"]
        {
            assert!(plan(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_of_every_form_have_a_path() {
        assert_eq!(split_target("/a?b=c?d"), ("/a", Some("b=c?d")));
        assert_eq!(split_target("http://host:1/a?b"), ("/a", Some("b")));
        assert_eq!(split_target("http://host"), ("/", None));
        assert_eq!(split_target("/to?u=http://x/"), ("/to", Some("u=http://x/")));
        assert_eq!(split_target("*"), ("*", None));
    }

    #[test]
    fn the_pattern_tells_its_own_place() {
        assert_eq!(pattern(0, 16), b"000000000000000\n");
        assert_eq!(pattern(16 * 255, 16), b"0000000000000ff\n");
        assert_eq!(pattern(PATTERN_BYTES as u64 - 3, 100), b"ff\n");
        assert_eq!(pattern(PATTERN_BYTES as u64, 3), b"000");
    }

    #[test]
    fn requests_are_read_strictly() {
        let read =
            |text: &str| Request::read(text.as_bytes()).map(|r| (r.keep_alive, r.framing)).map_err(|e| e.0);
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok((true, None)));
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"), Ok((false, None)));
        assert_eq!(read("GET / HTTP/1.0\r\n\r\n"), Ok((false, None)));
        assert_eq!(read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), Ok((true, None)));
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(read("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(read("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(505));
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\nExpect: rain\r\n\r\n"), Err(417));
        assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(400));
    }
}
