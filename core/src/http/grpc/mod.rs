//! gRPC and gRPC-Web, as far as a proxy has to know them.
//!
//! ```text
//!   content-type ─▶ [`Kind`]          grpc-timeout ─▶ `timeout` ─▶ what is left of it for the upstream
//!   /package.Service/Method ─▶ `methods`              grpc-status ─▶ `status` (head or trailers)
//!   browser: application/grpc-web[-text] ─▶ `web` ─▶ application/grpc ─▶ `web` ─▶ browser
//!   our own answers: `answer`, HTTP 200 with grpc-status in the head
//! ```
//!
//! Invariants: nothing here reads or changes messages; whatever is unknown or malformed passes as ordinary HTTP.
//!
//! Not here: sockets, deadlines' timers, what asks for another try (`crate::route::RetryOn`).

pub mod answer;
pub mod methods;
pub mod status;
pub mod timeout;
pub mod web;

use super::head::{Fields, Known, Span};
pub use methods::Methods;
pub use status::{Code, Codes};
pub use web::Web;

/// What a content-type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `application/grpc`, with any format.
    Grpc,
    /// `application/grpc-web` or `application/grpc-web-text`, with any format.
    Web(Web),
}

impl Kind {
    /// What a content-type's value says; `None` for everything else.
    pub fn of(value: &[u8]) -> Option<Self> {
        let rest = after(value, b"application/grpc")?;
        let (kind, rest) = match (after(rest, b"-web-text"), after(rest, b"-web")) {
            (Some(rest), _) => (Kind::Web(Web::Text), rest),
            (None, Some(rest)) => (Kind::Web(Web::Binary), rest),
            (None, None) => (Kind::Grpc, rest),
        };
        // The message format, or parameters: `application/grpcx` is something else.
        matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some(kind)
    }

    /// What a head's content-type says.
    pub fn of_fields(bytes: &[u8], fields: &Fields) -> Option<Self> {
        Self::of(fields.find(Known::ContentType)?.value.of(bytes))
    }
}

/// What follows `start`, in any case.
fn after<'a>(value: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = value.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

/// The message format that a content-type names, with its `+`; empty for none.
pub fn format(value: &[u8]) -> &[u8] {
    let end = value.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(value.len());
    let value = &value[..end];
    memchr::memchr(b'+', value).map_or(&[], |plus| &value[plus..])
}

/// The value of the first field of that name (lower-case).
pub(crate) fn value_of(bytes: &[u8], fields: &Fields, name: &[u8]) -> Option<Span> {
    let is_it = |have: Span| have.len() == name.len() && have.of(bytes).eq_ignore_ascii_case(name);
    fields.iter().find(|field| is_it(field.name)).map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (value, kind) in [
            ("application/grpc", Some(Kind::Grpc)),
            ("application/grpc+proto", Some(Kind::Grpc)),
            ("application/grpc+json", Some(Kind::Grpc)),
            ("Application/gRPC; charset=utf-8", Some(Kind::Grpc)),
            ("application/grpc-web", Some(Kind::Web(Web::Binary))),
            ("application/grpc-web+proto", Some(Kind::Web(Web::Binary))),
            ("application/grpc-web-text", Some(Kind::Web(Web::Text))),
            ("application/grpc-web-text+proto", Some(Kind::Web(Web::Text))),
            ("application/grpc-websocket", None),
            ("application/grpc-web-texts", None),
            ("application/grpcx", None),
            ("application/json", None),
            ("application/grp", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(value.as_bytes()), kind, "{value}");
        }
        assert_eq!(format(b"application/grpc-web+proto; x=y"), b"+proto");
        assert_eq!(format(b"application/grpc"), b"");
        assert_eq!(format(b"application/grpc-web; x=a+b"), b"");
    }
}
