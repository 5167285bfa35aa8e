//! gRPC-Web: every way to cut what is read and written, and heads both ways.

use super::super::answer::content_type;
use super::*;
use crate::http::h1::encode::{Forwarding, ResponseFrame, encode_response};
use crate::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use crate::http::h2::head::{decode_request, decode_response, encode_request};
use crate::http::h2::hpack::{Decoder, Encoder};
use crate::http::{HeaderEdits, Method, Version};
use crate::rng::Rng;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 1024 };

fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, Malformed> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    for piece in pieces {
        decoder.decode(piece, &mut out)?;
    }
    if decoder.is_complete() { Ok(out) } else { Err(Malformed) }
}

#[test]
fn texts() {
    for (text, bytes) in [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYg==", "foob"),
        ("Zm9vYmE=", "fooba"),
        ("Zm9vYmFy", "foobar"),
        ("Zg==Zm8=Zm9vZg==", "ffofoof"),
    ] {
        for cut in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            assert_eq!(decoded(&[first, second]), Ok(bytes.as_bytes().to_vec()), "{text} at {cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(decoded(&single), Ok(bytes.as_bytes().to_vec()));
    }
    for text in [
        "Z", "Zg", "Zm8", "Z===", "=", "====", "Zg=a", "Zg=", "Zm9v=", "Zg==\n", "Zm 9", "Zm-_", "Zh==",
        "Zm9=", "\u{e9}",
    ] {
        assert_eq!(decoded(&[text.as_bytes()]), Err(Malformed), "{text}");
    }
}

/// A response's content of messages with so many bytes.
fn content(sizes: &[usize]) -> Vec<u8> {
    let mut content = Vec::new();
    for (place, &size) in sizes.iter().enumerate() {
        content.push(0);
        content.extend((size as u32).to_be_bytes());
        content.extend((0..size).map(|at| (at * 7 + place) as u8));
    }
    content
}

#[test]
fn responses_however_they_are_cut() {
    let trailers = b"grpc-status: 0\r\n";
    let mut expected = content(&[0, 1, 2, 3, 300, 0, 7]);
    let whole = expected.clone();
    expected.extend([0x80, 0, 0, 0, trailers.len() as u8]);
    expected.extend(trailers);
    let mut rng = Rng::seeded(3);
    for web in [Web::Binary, Web::Text] {
        for _ in 0..300 {
            let mut body = ResponseBody::new(web);
            let mut out = Vec::new();
            let mut rest = whole.as_slice();
            while !rest.is_empty() {
                let count = (1 + rng.below(40) as usize).min(rest.len());
                let before = out.len();
                body.data(&rest[..count], &mut out);
                assert!(out.len() - before <= ResponseBody::bound(count));
                rest = &rest[count..];
            }
            body.trailers(trailers, &mut out);
            let got = if web == Web::Text { decoded(&[&out]) } else { Ok(out) };
            assert_eq!(got, Ok(expected.clone()));
        }
        assert_eq!(ResponseBody::new(web).passes(), web == Web::Binary);
    }
}

#[test]
fn a_message_is_never_held_back() {
    for size in 0..10 {
        let mut body = ResponseBody::new(Web::Text);
        let mut out = Vec::new();
        let message = content(&[size]);
        for _ in 0..3 {
            out.clear();
            for byte in &message {
                body.data(std::slice::from_ref(byte), &mut out);
            }
            assert_eq!(decoded(&[&out]), Ok(message.clone()), "{size}");
        }
    }
}

#[test]
fn a_message_that_broke_off_ends_before_the_trailers() {
    let mut body = ResponseBody::new(Web::Text);
    let mut out = Vec::new();
    body.data(&content(&[9])[..7], &mut out);
    let lines = b"grpc-status: 14\r\n";
    body.trailers(lines, &mut out);
    let mut expected = content(&[9])[..7].to_vec();
    expected.extend([0x80, 0, 0, 0, lines.len() as u8]);
    expected.extend(lines);
    assert_eq!(decoded(&[&out]), Ok(expected));
}

#[track_caller]
fn check_request(content_type: &str, web: Option<Web>, expected: &str) {
    let mut text = format!("POST /a.S/M HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nX: y\r\n\r\n")
        .into_bytes();
    let mut head = RequestHead::new();
    assert_eq!(parse_request(&text, &LIMITS, &mut head), Ok(Progress::Complete));
    assert_eq!(Web::request(&mut text, &mut head), web, "{content_type}");
    let mut block = Vec::new();
    let (edits, mut encoder) = (HeaderEdits::empty(), Encoder::new(4096));
    let fwd = Forwarding::default();
    encode_request(&mut encoder, &mut block, &text, &head, None, &fwd, &edits, b"http", Framing::Chunked);
    let (mut sent, mut head) = (Vec::new(), RequestHead::new());
    decode_request(&mut Decoder::new(), &block, false, &LIMITS, &mut sent, &mut head).unwrap();
    let sent = String::from_utf8(sent).unwrap();
    assert!(sent.contains(&format!("\r\ncontent-type: {expected}\r\nx: y\r\n")), "{sent}");
    assert_eq!(sent.contains("te: trailers\r\n"), expected.starts_with("application/grpc"), "{sent}");
}

#[test]
fn requests_become_those_of_grpc() {
    check_request("application/grpc-web", Some(Web::Binary), "application/grpc");
    check_request("application/grpc-web+proto", Some(Web::Binary), "application/grpc+proto");
    check_request("application/grpc-web-text+json;x=y", Some(Web::Text), "application/grpc+json");
    check_request("application/grpc+proto", None, "application/grpc+proto");
    check_request("text/plain", None, "text/plain");
    assert_eq!(Web::Text.request_framing(Framing::Length(4)), Framing::Chunked);
    assert_eq!(Web::Binary.request_framing(Framing::Length(4)), Framing::Length(4));
    assert_eq!(Web::Text.request_framing(Framing::None), Framing::None);
}

#[test]
fn responses_become_those_of_grpc_web() {
    let respond = |lines: &[(&str, &str)], end: bool| {
        let (mut encoder, mut block) = (Encoder::new(4096), Vec::new());
        encoder.begin(&mut block);
        encoder.fixed(&mut block, 8);
        for (name, value) in lines {
            let usual = crate::http::h2::hpack::Indexing::Usual;
            encoder.field(&mut block, name.as_bytes(), value.as_bytes(), usual);
        }
        let (mut text, mut head) = (Vec::new(), ResponseHead::new());
        decode_response(&mut Decoder::new(), &block, end, Method::Post, &LIMITS, &mut text, &mut head)
            .unwrap();
        let start = text.len() as u16;
        text.extend_from_slice(content_type(Kind::Web(Web::Text), b"+proto"));
        let place = Span { start, end: text.len() as u16 };
        let translated = Web::Text.response(&text, &mut head, place);
        let frame = ResponseFrame {
            version: Version::Http11,
            keep_alive: true,
            framing: head.framing,
            upgrade: false,
        };
        let mut out = Vec::new();
        encode_response(&mut out, &text, &head, &frame, &HeaderEdits::empty());
        let mut read = ResponseHead::new();
        assert_eq!(parse_response(&out, &LIMITS, Method::Post, &mut read), Ok(Progress::Complete));
        (translated, String::from_utf8(out).unwrap())
    };
    let web = "content-type: application/grpc-web-text+proto\r\n";
    let (translated, text) = respond(&[("content-type", "application/grpc"), ("x", "y")], false);
    assert!(translated);
    assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{web}x: y\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let (translated, text) = respond(&[("grpc-status", "5"), ("content-type", "application/grpc")], true);
    assert!(!translated);
    assert_eq!(text, format!("HTTP/1.1 200 OK\r\ngrpc-status: 5\r\n{web}Content-Length: 0\r\n\r\n"));
    let (translated, text) = respond(&[("content-type", "text/html")], false);
    assert!(!translated && text.contains("content-type: text/html\r\n"));
}
