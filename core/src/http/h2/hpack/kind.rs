//! What a field line is to a head, worked out when its name comes, and whether its value may stand there.
//!
//! A line that is sent as an index was looked at when it entered the table: its kind and verdict come from there.
//!
//! Invariants: what is valid here is valid to `h1::parse`, and the other way round, but for what RFC 9113
//! section 8.2 forbids beyond that: capitals, connection-specific fields, white space around values.
//!
//! HOT: no allocation.

use super::super::super::edits::is_token;
use super::super::super::h1::{control_at, decimal};
use super::super::super::known::{Known, classify};
use super::super::super::normalize::authority_host;

/// What a line is to a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An ordinary field.
    Field,
    /// `cookie`, of which there may be several (RFC 9113 section 8.2.3).
    Cookie,
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// `:protocol` (RFC 8441).
    Protocol,
    /// A name that no head may hold.
    Malformed,
}

impl Kind {
    /// What the name says. Connection-specific fields are malformed (RFC 9113 section 8.2.2).
    #[inline]
    pub(super) fn of(name: &[u8]) -> (Self, Known) {
        match name {
            [b':', rest @ ..] => (Self::pseudo(rest), Known::Other),
            b"cookie" => (Kind::Cookie, Known::Other),
            _ if !is_lower_token(name) => (Kind::Malformed, Known::Other),
            _ => match classify(name) {
                Ok(known) if !is_connection_specific(known) => (Kind::Field, known),
                _ => (Kind::Malformed, Known::Other),
            },
        }
    }

    fn pseudo(name: &[u8]) -> Self {
        match name {
            b"method" => Kind::Method,
            b"scheme" => Kind::Scheme,
            b"authority" => Kind::Authority,
            b"path" => Kind::Path,
            b"status" => Kind::Status,
            b"protocol" => Kind::Protocol,
            _ => Kind::Malformed,
        }
    }

    /// Whether it is a known pseudo-header field.
    #[inline]
    pub(crate) const fn is_pseudo(self) -> bool {
        !matches!(self, Kind::Field | Kind::Cookie | Kind::Malformed)
    }

    /// Whether a line of this kind may have that value.
    #[inline]
    pub(super) fn takes(self, known: Known, value: &[u8]) -> bool {
        match self {
            Kind::Field | Kind::Cookie => {
                is_field_value(value)
                    && match known {
                        Known::ContentLength => decimal(value).is_some(),
                        Known::Te => value == b"trailers",
                        _ => true,
                    }
            }
            Kind::Method | Kind::Protocol => !value.is_empty() && value.iter().all(|&byte| is_token(byte)),
            Kind::Scheme => value.eq_ignore_ascii_case(b"http") || value.eq_ignore_ascii_case(b"https"),
            Kind::Authority => authority_host(value).is_some(),
            Kind::Path => is_path(value),
            Kind::Status => matches!(value, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']),
            Kind::Malformed => false,
        }
    }
}

const fn is_connection_specific(known: Known) -> bool {
    matches!(
        known,
        Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade
    )
}

/// Bytes of names: tokens without capitals (RFC 9113 section 8.2.1).
const LOWER: [bool; 256] = {
    let mut lower = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        lower[byte] = is_token(byte as u8) && !(byte as u8).is_ascii_uppercase();
        byte += 1;
    }
    lower
};

#[inline]
fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().fold(true, |all, &byte| all & LOWER[usize::from(byte)])
}

/// No control bytes but tabs, and no white space at either end.
#[inline]
fn is_field_value(value: &[u8]) -> bool {
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    let space = |byte: u8| byte == b' ' || byte == b'\t';
    !space(*first) && !space(*last) && control_at(value, 0) == value.len()
}

/// Origin-form or `*` (RFC 9113 section 8.3.1): visible ASCII and no fragment.
#[inline]
fn is_path(path: &[u8]) -> bool {
    let foreign = |byte: u8| (byte.wrapping_sub(b'!') > b'~' - b'!') | (byte == b'#');
    match path {
        [b'/', rest @ ..] => !rest.iter().fold(false, |found, &byte| found | foreign(byte)),
        _ => path == b"*",
    }
}

/// Why a line of that kind, with this text, is refused.
#[cold]
pub(crate) fn reason(kind: Kind, known: Known, name: &[u8]) -> &'static str {
    match kind {
        Kind::Malformed if name.first() == Some(&b':') => "unknown pseudo-header field",
        Kind::Malformed if name.iter().any(u8::is_ascii_uppercase) => "capitals in a field name",
        Kind::Malformed if !is_lower_token(name) => "invalid field name",
        Kind::Malformed => match classify(name) {
            Ok(_) => "connection-specific field",
            Err(_) => "field name resembles a framing field",
        },
        Kind::Method => "invalid :method",
        Kind::Scheme => ":scheme is neither http nor https",
        Kind::Authority => "invalid :authority",
        Kind::Path => "invalid :path",
        Kind::Status => "invalid :status",
        Kind::Protocol => "invalid :protocol",
        Kind::Field | Kind::Cookie => match known {
            Known::ContentLength => "invalid content-length",
            Known::Te => "te is something else than trailers",
            _ => "invalid byte or white space around a field value",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixed;
    use super::*;

    #[test]
    fn the_static_table_is_what_its_names_say() {
        for entry in &fixed::TABLE {
            let name = entry.name();
            let value = entry.value();
            assert_eq!((entry.line.kind, entry.line.known), Kind::of(name), "{}", name.escape_ascii());
            assert_eq!(entry.line.value as usize, value.len());
            let valid = entry.line.kind.takes(entry.line.known, value);
            assert_eq!(entry.line.valid, valid, "{}", name.escape_ascii());
        }
    }

    #[track_caller]
    fn check(name: &str, value: &str, fine: bool) {
        let (kind, known) = Kind::of(name.as_bytes());
        assert_eq!(kind.takes(known, value.as_bytes()), fine, "{name}: {value}");
        if !fine {
            assert!(!reason(kind, known, name.as_bytes()).is_empty());
        }
    }

    #[test]
    fn names_and_values() {
        for (name, value) in [
            ("a", "b c\td"),
            ("a", ""),
            ("a", "\u{e9}"),
            ("cookie", "a=b"),
            ("content-length", "0"),
            ("te", "trailers"),
            ("host", "a:1"),
            ("http2-settings", "x"),
            (":method", "GET"),
            (":method", "get!"),
            (":scheme", "HTTPS"),
            (":authority", "[::1]:80"),
            (":path", "/"),
            (":path", "/a?b\"{}"),
            (":path", "*"),
            (":status", "200"),
            (":status", "999"),
            (":protocol", "websocket"),
        ] {
            check(name, value, true);
        }
        for (name, value) in [
            ("", ""),
            ("A", "b"),
            ("a b", "c"),
            ("a:", "c"),
            ("a\0", "c"),
            ("\u{e9}", "c"),
            ("a", " b"),
            ("a", "b\t"),
            ("a", "b\r\nc: d"),
            ("a", "\0"),
            ("a", "b\u{7f}"),
            ("connection", "x"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("content_length", "1"),
            ("host-", "a"),
            ("content-length", ""),
            ("content-length", "+1"),
            ("content-length", "1, 1"),
            ("te", "gzip"),
            ("te", "trailers, deflate"),
            ("te", ""),
            (":", ""),
            (":a", ""),
            (":Method", "GET"),
            (":method", ""),
            (":method", "G T"),
            (":scheme", "ftp"),
            (":scheme", ""),
            (":authority", ""),
            (":authority", "u@a"),
            (":authority", "a b"),
            (":path", ""),
            (":path", "a"),
            (":path", "**"),
            (":path", "http://a/"),
            (":path", "/a b"),
            (":path", "/a#b"),
            (":path", "/\r\n"),
            (":path", "/\u{e9}"),
            (":status", "20"),
            (":status", "2000"),
            (":status", "099"),
            (":status", "2 0"),
            (":protocol", ""),
            (":protocol", "a/b"),
        ] {
            check(name, value, false);
        }
    }
}
