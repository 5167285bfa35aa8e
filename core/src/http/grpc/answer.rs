//! Our own answers to gRPC clients: HTTP 200 with the status in the head and no content ("trailers-only").
//!
//! Invariants: `grpc-message` is percent-encoded, so that it is a field value whatever the message is.

use super::{Code, Kind, Web};

/// A field's name and value.
pub type Line<'a> = (&'a [u8], &'a [u8]);

/// The content-type of answers to requests of that kind. `format` is the request's message format with its `+`
/// (see [`super::format`]); only the usual ones are answered in kind.
pub const fn content_type(kind: Kind, format: &[u8]) -> &'static [u8] {
    match (kind, format) {
        (Kind::Grpc, b"+proto") => b"application/grpc+proto",
        (Kind::Grpc, b"+json") => b"application/grpc+json",
        (Kind::Grpc, _) => b"application/grpc",
        (Kind::Web(Web::Binary), b"+json") => b"application/grpc-web+json",
        (Kind::Web(Web::Binary), _) => b"application/grpc-web+proto",
        (Kind::Web(Web::Text), b"+json") => b"application/grpc-web-text+json",
        (Kind::Web(Web::Text), _) => b"application/grpc-web-text+proto",
    }
}

/// The fields of an answer, for whichever version it is written in; `message` is encoded already.
pub fn fields<'a>(content_type: &'a [u8], code: Code, message: &'a [u8]) -> [Line<'a>; 3] {
    [(b"content-type", content_type), (b"grpc-status", code.text()), (b"grpc-message", message)]
}

/// Appends `message` as `grpc-message` has it: visible ASCII and spaces but `%` as they are, all else as `%XX`.
pub fn encode_message(message: &str, out: &mut impl Extend<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.extend([byte]),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h2::head::{HeadLimits, decode_response, encode_own};
    use crate::http::h2::hpack::{Decoder, Encoder};
    use crate::http::{Framing, Method, ResponseHead};

    #[test]
    fn messages() {
        for (message, expected) in [
            ("no healthy upstream", "no healthy upstream"),
            ("100%", "100%25"),
            ("a\r\nb\t~\u{7f}", "a%0D%0Ab%09~%7F"),
            ("\u{e9}", "%C3%A9"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            encode_message(message, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn content_types_answer_in_kind() {
        for (request, expected) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+proto", "application/grpc+proto"),
            ("application/grpc+json;x=y", "application/grpc+json"),
            ("application/grpc+thrift", "application/grpc"),
            ("application/grpc-web", "application/grpc-web+proto"),
            ("application/grpc-web+json", "application/grpc-web+json"),
            ("application/grpc-web-text", "application/grpc-web-text+proto"),
            ("application/grpc-web-text+json", "application/grpc-web-text+json"),
        ] {
            let kind = Kind::of(request.as_bytes()).unwrap();
            let got = content_type(kind, super::super::format(request.as_bytes()));
            assert_eq!(String::from_utf8_lossy(got), expected, "{request}");
            assert_eq!(Kind::of(got), Some(kind));
        }
    }

    #[test]
    fn an_answer_is_trailers_only() {
        let mut block = Vec::new();
        let fields = fields(content_type(Kind::Grpc, b""), Code::UNAVAILABLE, b"no%0A");
        encode_own(&mut Encoder::new(4096), &mut block, 200, &fields, 0);
        let limits = HeadLimits { head_bytes: 4096, uri_bytes: 100 };
        let (mut text, mut head) = (Vec::new(), ResponseHead::new());
        decode_response(&mut Decoder::new(), &block, true, Method::Post, &limits, &mut text, &mut head)
            .unwrap();
        let expected = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n\
                        grpc-message: no%0A\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        assert_eq!(Code::of_fields(&text, &head.fields), Some(Code::UNAVAILABLE));
        assert_eq!(head.framing, Framing::Length(0));
    }
}
