//! An HTTP/1 request's head as the origin understands it.

use super::answer::Refusal;
use crate::message::{Framing, Head, Malformed, is_token};

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

impl<'a> Request<'a> {
    /// Reads a complete head.
    ///
    /// # Errors
    /// Everything that is not a plain HTTP/1.0 or HTTP/1.1 request.
    pub(crate) fn read(head: &'a [u8]) -> Result<Self, Refusal> {
        let bad = |Malformed(reason)| (400, reason);
        let head = Head::split(head).map_err(bad)?;
        let line = std::str::from_utf8(head.start).map_err(|_| (400, "request line is not text"))?;
        let spaces = (memchr::memchr(b' ', head.start), memchr::memrchr(b' ', head.start));
        let (method, target, version) = match spaces {
            (Some(first), Some(last)) if first < last => {
                (&line[..first], &line[first + 1..last], &line[last + 1..])
            }
            _ => return Err((400, "request line is not three words")),
        };
        if target.contains(' ') {
            return Err((400, "request line is not three words"));
        }
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
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    let local = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    }
}

/// Looks at what may become a head. A method is a token: whoever begins with something else, as TLS does, may
/// never end its head.
///
/// # Errors
/// It can't become one.
pub(super) fn check_begin(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.first() {
        Some(&byte) if byte != b'\r' && !is_token(byte) => Err((400, "no request line")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_every_form_have_a_path() {
        assert_eq!(split_target("/a?b=c?d"), ("/a", Some("b=c?d")));
        assert_eq!(split_target("http://host:1/a?b"), ("/a", Some("b")));
        assert_eq!(split_target("http://host"), ("/", None));
        assert_eq!(split_target("/to?u=http://x/"), ("/to", Some("u=http://x/")));
        assert_eq!(split_target("*"), ("*", None));
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
