//! Asking the admin port of a running proxy, for commands.
//!
//! Invariants: one request, one answer, both bounded in time and size.
//!
//! Not here: what is asked.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pinion_core::config::snapshot::Address;

/// The longest that connecting, sending, or waiting for more of the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Sends `GET path?parameters` to `address`; the status and body of the answer.
pub(super) fn get(address: &Address, path: &str, parameters: &[(&str, &str)]) -> io::Result<(u16, String)> {
    let mut target = path.to_owned();
    for (place, (name, value)) in parameters.iter().enumerate() {
        target.push(if place == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        encode(value, &mut target);
    }
    // HTTP/1.0: the answer ends with the connection, in one piece.
    let host = match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let request = format!("GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    let answer = match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, &request)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, &request)
        }
    }?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    // Cut short is no answer.
    length.is_none_or(|length| length == body.len()).then(|| (status, body.to_owned()))
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let body = |text: &str| Some((200, text.to_owned()));
        for (answer, expected) in [
            ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", body("ok")),
            ("HTTP/1.1 200 OK\r\n\r\nok", body("ok")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some((503, String::new()))),
            ("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok", None),
            ("HTTP/1.0 200 OK\r\n", None),
            ("SSH-2.0-OpenSSH\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(parse(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn values_are_encoded() {
        let mut out = String::new();
        encode("http://a/b?c=d&e é", &mut out);
        assert_eq!(out, "http%3A%2F%2Fa%2Fb%3Fc%3Dd%26e%20%C3%A9");
    }
}
