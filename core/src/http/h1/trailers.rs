//! The trailer section of a chunked body: checked like a head's fields, and rid of what may not be there.
//!
//! Invariants: what is kept consists of complete `name: value CR LF` lines in canonical form; a framing,
//! routing, authentication or hop-by-hop name never passes (RFC 9110 section 6.5.1).
//!
//! Not here: finding the section's end (`body`). Cold: trailers are rare.

use super::super::edits::{is_token, is_value};
use super::super::known::{Known, classify};

/// The section is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Checks the section in `bytes` (its final empty line included) and compacts it in place. Returns how
/// many bytes are kept, the empty line included.
pub(super) fn filter(bytes: &mut [u8]) -> Result<usize, Malformed> {
    let mut kept = 0;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let line_feed = memchr::memchr(b'\n', rest).ok_or(Malformed)?;
        let line = rest[..line_feed].strip_suffix(b"\r").ok_or(Malformed)?;
        if line.is_empty() {
            bytes.copy_within(at..at + 2, kept);
            return if at + 2 == bytes.len() { Ok(kept + 2) } else { Err(Malformed) };
        }
        let pass = is_allowed(line)?;
        let next = at + line_feed + 1;
        if pass {
            bytes.copy_within(at..next, kept);
            kept += next - at;
        }
        at = next;
    }
}

/// Whether the line is a valid field that may be forwarded.
fn is_allowed(line: &[u8]) -> Result<bool, Malformed> {
    let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
    let (name, value) = line.split_at(colon);
    if name.is_empty()
        || !name.iter().all(|&byte| is_token(byte))
        || !value.iter().all(|&byte| is_value(byte))
    {
        return Err(Malformed);
    }
    let known = classify(name).map_err(|_| Malformed)?;
    Ok(known == Known::Other && !is_forbidden(name))
}

/// Names that change how a message is framed, routed, authenticated or processed.
pub(crate) fn is_forbidden(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"age",
        b"authorization",
        b"cache-control",
        b"cookie",
        b"date",
        b"expires",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"referer",
        b"retry-after",
        b"set-cookie",
        b"vary",
        b"warning",
        b"www-authenticate",
    ];
    const PREFIXES: &[&[u8]] = &[b"content-", b"if-", b"sec-", b"x-forwarded-"];
    NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
        || PREFIXES
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(section: &str, expected: Result<&str, Malformed>) {
        let mut bytes = section.as_bytes().to_vec();
        let got = filter(&mut bytes).map(|kept| std::str::from_utf8(&bytes[..kept]).unwrap().to_owned());
        assert_eq!(got.as_deref(), expected.as_ref().map(|kept| *kept), "{section:?}");
    }

    #[test]
    fn sections() {
        check("\r\n", Ok("\r\n"));
        check("a: b\r\n\r\n", Ok("a: b\r\n\r\n"));
        check("a:b\r\nDigest: x\r\n\r\n", Ok("a:b\r\nDigest: x\r\n\r\n"));
        check(
            "Content-Length: 1\r\na: b\r\nHost: x\r\nc: d\r\nAuthorization: z\r\n\r\n",
            Ok("a: b\r\nc: d\r\n\r\n"),
        );
        check(
            "Transfer-Encoding: chunked\r\nX-Forwarded-For: 1\r\nif-match: 1\r\nContent-Type: a\r\n\r\n",
            Ok("\r\n"),
        );
        check("X_Forwarded_For: 1\r\n\r\n", Ok("\r\n"));
        for bad in [
            "",
            "a: b\r\n",
            "a: b\n\r\n",
            "a: b\r\n\n",
            "a\r\n\r\n",
            " a: b\r\n\r\n",
            "a : b\r\n\r\n",
            ": b\r\n\r\n",
            "a: \0\r\n\r\n",
            "a: b\rc\r\n\r\n",
            "a: b\r\n\r\nx",
            "Content_Length: 1\r\n\r\n",
            "a: b\r\n c\r\n\r\n",
        ] {
            check(bad, Err(Malformed));
        }
    }
}
