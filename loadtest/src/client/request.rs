//! The bytes of the request, made once and sent many times.

use std::path::Path;

use crate::cli::{LoadOptions, Problem};
use crate::client::target::Target;
use crate::message::is_token;

/// What is sent, and what has to be known to read its answer.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// Head and body as they go on the wire.
    pub(crate) bytes: Vec<u8>,
    /// Whether the answers have heads only.
    pub(crate) is_head: bool,
    /// Whether sending it twice does what sending it once does (RFC 9110, section 9.2.2).
    pub(crate) is_idempotent: bool,
}

/// Makes the request that the options describe. Host, User-Agent and Content-Length are added unless
/// a `--header` gives them.
///
/// # Errors
/// A method or header that is not HTTP, or a body file that can't be read.
pub(crate) fn prepare(options: &LoadOptions, target: &Target) -> Result<Prepared, Problem> {
    let method = options.method.as_str();
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(Problem::Usage(format!("`{method}` is not a method")));
    }
    let mut headers = Vec::new();
    for line in &options.headers {
        headers.push(split_header(line)?);
    }
    let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let body = match &options.body {
        None => None,
        Some(text) => Some(match text.strip_prefix('@') {
            Some(file) => std::fs::read(Path::new(file))
                .map_err(|error| Problem::Usage(format!("can't read the body from {file}: {error}")))?,
            None => text.clone().into_bytes(),
        }),
    };
    let mut head = format!("{method} {} HTTP/1.1\r\n", target.path);
    if !given("host") {
        push(&mut head, "host", &target.authority);
    }
    if !given("user-agent") {
        push(&mut head, "user-agent", concat!("pinion-load/", env!("CARGO_PKG_VERSION")));
    }
    if let Some(body) = &body
        && !given("content-length")
        && !given("transfer-encoding")
    {
        push(&mut head, "content-length", &body.len().to_string());
    }
    for (name, value) in &headers {
        push(&mut head, name, value);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&body.unwrap_or_default());
    let is_idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].contains(&method);
    Ok(Prepared { bytes, is_head: method == "HEAD", is_idempotent })
}

fn push(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.push_str(value);
    head.push_str("\r\n");
}

fn split_header(line: &str) -> Result<(&str, &str), Problem> {
    let wrong = || Problem::Usage(format!("`{line}` is not a header, write 'name: value'"));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    if name.is_empty() || !name.bytes().all(is_token) || value.bytes().any(|b| b < b' ' && b != b'\t') {
        return Err(wrong());
    }
    Ok((name, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser as _;

    fn made(options: &[&str]) -> Result<String, Problem> {
        let line = ["pinion-load", "http://a:1/b"].into_iter().chain(options.iter().copied());
        let load = Arguments::try_parse_from(line).unwrap().load;
        let target = load.url.clone().unwrap();
        prepare(&load, &target).map(|prepared| String::from_utf8(prepared.bytes).unwrap())
    }

    #[test]
    fn what_is_not_given_is_added() {
        let plain = made(&[]).unwrap();
        assert!(plain.starts_with("GET /b HTTP/1.1\r\nhost: a:1\r\nuser-agent: pinion-load/"), "{plain}");
        let own = made(&["-H", "Host: x", "-H", "user-agent:y", "-X", "POST", "--body", "abc"]).unwrap();
        assert_eq!(own, "POST /b HTTP/1.1\r\ncontent-length: 3\r\nHost: x\r\nuser-agent: y\r\n\r\nabc");
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for wrong in [&["-X", "G T"][..], &["-H", "no colon"], &["-H", "a b: c"], &["-H", "a: b\r\nc: d"]] {
            assert!(matches!(made(wrong), Err(Problem::Usage(_))), "{wrong:?}");
        }
    }
}
