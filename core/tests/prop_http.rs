//! Properties of the HTTP/1 reader and writer, over generated messages, torn at every place.

use pinion_core::http::h1::parse::{HeadLimits, Progress, may_end, parse_request, parse_response};
use pinion_core::http::{Framing, Method, RequestHead, ResponseHead};
use proptest::prelude::*;

mod common;

use common::invariants::{
    Forwarded, LIMITS, check_body, check_host, check_normalize, check_request, check_response, forward,
};
use pinion_core::sim::reader::{Reading, read_request};

/// A chunked body and its content.
fn chunked_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = prop_oneof![Just(""), Just(";a"), Just(" ; a=\"b;c\""), Just("\t;x=1;y")];
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), 0_usize..3, any::<bool>(), extension);
    let trailers = prop_oneof![
        Just(""),
        Just("X-Sum: 1\r\n"),
        Just("Content-Length: 5\r\nX-Sum: 2\r\nHost: evil\r\n"),
        Just("Digest:x\r\nAuthorization: no\r\n"),
    ];
    (prop::collection::vec(chunk, 0..6), 1_usize..4, trailers).prop_map(|(chunks, zeros, trailers)| {
        let mut wire = Vec::new();
        let mut content = Vec::new();
        for (data, zeros, upper, extension) in chunks {
            let size = if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            wire.extend_from_slice(format!("{}{size}{extension}\r\n", "0".repeat(zeros)).as_bytes());
            wire.extend_from_slice(&data);
            wire.extend_from_slice(b"\r\n");
            content.extend_from_slice(&data);
        }
        wire.extend_from_slice(format!("{}\r\n{trailers}\r\n", "0".repeat(zeros)).as_bytes());
        (wire, content)
    })
}

fn field() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[A-Za-z][A-Za-z0-9-]{0,12}",
        Just("Cookie".to_owned()),
        Just("X-Forwarded-For".to_owned()),
        Just("Connection".to_owned()),
        Just("TE".to_owned()),
        Just("Keep-Alive".to_owned()),
        Just("X_Forwarded_Host".to_owned()),
    ];
    let space = prop_oneof![Just(""), Just(" "), Just("\t "), Just("  ")];
    (name, space.clone(), "[ -~]{0,20}", space).prop_map(|(name, before, value, after)| {
        let value = if name == "Connection" { "keep-alive, x-a" } else { value.as_str() };
        format!("{name}:{before}{value}{after}\r\n")
    })
}

/// A valid request with its content.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let line = (
        prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("M-SEARCH")],
        prop_oneof![
            Just("/".to_owned()),
            "/[a-z0-9./%~-]{0,30}".prop_filter("valid escapes", |path| !path.contains('%')),
            "/a/[a-z]{1,5}\\?[a-z=&%]{0,10}",
            Just("http://other.example:81/x?y".to_owned()),
            Just("HTTP://a".to_owned()),
        ],
        prop::collection::vec(field(), 0..12),
        0_usize..3,
    );
    let body = prop_oneof![
        Just((String::new(), Vec::new(), Vec::new())),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|content| (
            format!("Content-Length: {}\r\n", content.len()),
            content.clone(),
            content
        )),
        chunked_body().prop_map(|(wire, content)| (
            "Transfer-Encoding: Chunked\r\n".to_owned(),
            wire,
            content
        )),
    ];
    (line, body).prop_map(|((method, target, fields, empty), (framing, wire, content))| {
        let fields: String = fields
            .into_iter()
            .filter(|line| !["host:", "te:"].iter().any(|name| line.to_lowercase().starts_with(name)))
            .collect();
        let head = format!(
            "{}{method} {target} HTTP/1.1\r\nHost: example.com:80\r\n{fields}{framing}\r\n",
            "\r\n".repeat(empty)
        );
        ([head.into_bytes(), wire].concat(), content)
    })
}

proptest! {
    #[test]
    fn valid_requests_reach_the_upstream_as_one_message((bytes, content) in request()) {
        let Forwarded::Sent(out, used) = check_request(&bytes) else {
            panic!("refused: {:?} {:?}", forward(&bytes), String::from_utf8_lossy(&bytes));
        };
        prop_assert_eq!(used, bytes.len());
        let Ok(Reading::Whole(message, _)) = read_request(&out) else { panic!("unreadable") };
        prop_assert_eq!(message.body, content);
    }

    #[test]
    fn a_head_is_complete_at_its_last_byte_and_not_before((bytes, _) in request()) {
        let mut head = RequestHead::new();
        prop_assert_eq!(parse_request(&bytes, &LIMITS, &mut head), Ok(Progress::Complete));
        let end = head.body_start();
        for cut in 0..end {
            let mut shorter = RequestHead::new();
            prop_assert_eq!(parse_request(&bytes[..cut], &LIMITS, &mut shorter), Ok(Progress::Partial), "{}", cut);
        }
        // Whatever follows makes no difference.
        let mut alone = RequestHead::new();
        prop_assert_eq!(parse_request(&bytes[..end], &LIMITS, &mut alone), Ok(Progress::Complete));
        prop_assert_eq!(format!("{alone:?}"), format!("{head:?}"));
        // The hint for torn heads is true at the end, wherever the last piece began.
        for from in 0..end {
            prop_assert!(may_end(&bytes[..end], from), "{}", from);
        }
    }

    #[test]
    fn bodies_may_be_torn_anywhere((wire, content) in chunked_body(), pieces in prop::collection::vec(1_usize..9, 1..8)) {
        prop_assert_eq!(check_body(&wire, Framing::Chunked, &pieces), Ok(true));
        for cut in 1..wire.len() {
            prop_assert_eq!(check_body(&wire, Framing::Chunked, &[cut, usize::MAX]), Ok(true));
            prop_assert_eq!(check_body(&wire[..cut], Framing::Chunked, &pieces), Ok(false), "complete after {}", cut);
        }
        for size in 1..=wire.len() {
            prop_assert_eq!(check_body(&wire, Framing::Chunked, &[size]), Ok(true));
        }
        let length = Framing::Length(content.len() as u64);
        prop_assert_eq!(check_body(&content, length, &pieces), Ok(true));
    }

    #[test]
    fn damaged_requests_are_refused_or_have_one_reading(
        (mut bytes, _) in request(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..4),
    ) {
        for (place, kind, byte) in damage {
            if bytes.is_empty() { break; }
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, b"\r\n \t:,;\0\x0b_"[usize::from(byte) % 10]),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        check_request(&bytes);
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200), pieces in prop::collection::vec(1_usize..9, 1..4)) {
        check_request(&bytes);
        let _ = check_response(&bytes, Method::Get);
        let _ = check_body(&bytes, Framing::Chunked, &pieces);
        check_normalize(&bytes);
        check_host(&bytes);
    }

    #[test]
    fn paths_have_one_form(path in "[/.%2eEfF5cC;a*?]{0,16}") {
        check_normalize(path.as_bytes());
        check_normalize(format!("/{path}").as_bytes());
    }

    #[test]
    fn responses_have_one_reading(
        status in 100_u16..600,
        reason in "[ -~]{0,12}",
        fields in prop::collection::vec(field(), 0..8),
        framing in prop_oneof![Just(""), Just("Content-Length: 7\r\n"), Just("Transfer-Encoding: chunked\r\n"), Just("Content-Length: 0\r\n")],
        head_request in any::<bool>(),
    ) {
        let bytes = format!("HTTP/1.1 {status} {reason}\r\n{}{framing}\r\n", fields.concat()).into_bytes();
        let method = if head_request { Method::Head } else { Method::Get };
        let bodiless = status < 200 || status == 204;
        let refused = bodiless && (framing.contains('7') || framing.contains("chunked"));
        prop_assert_eq!(check_response(&bytes, method).is_err(), refused, "{:?}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn limits_hold_before_a_head_is_complete(extra in 0_usize..200, uri in 1_usize..400) {
        let limits = HeadLimits { head_bytes: 200, uri_bytes: 100 };
        let mut bytes = format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: ", "u".repeat(uri)).into_bytes();
        bytes.resize(bytes.len() + extra, b'x');
        let mut head = RequestHead::new();
        let got = parse_request(&bytes, &limits, &mut head);
        prop_assert_eq!(got.is_err(), uri + 1 > 100 || bytes.len() >= 200, "{:?}", got);
        let mut head = ResponseHead::new();
        let response = [b"HTTP/1.1 200 OK\r\nX: ", &bytes[4..5].repeat(extra)[..]].concat();
        prop_assert_eq!(parse_response(&response, &limits, Method::Get, &mut head).is_err(), response.len() >= 200);
    }
}
