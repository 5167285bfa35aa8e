//! HTTP/2 heads: reading and writing header blocks, in the steady state of a connection on which the same fields
//! come again and again, and for a first request whose strings are Huffman codes.

use std::hint::black_box;

use pinion_core::http::h1::encode::Forwarding;
use pinion_core::http::h1::parse::{Progress, parse_request, parse_response};
use pinion_core::http::h2::head::{decode_request, decode_response, encode_request, encode_response};
use pinion_core::http::h2::hpack::{Decoder, Encoder};
use pinion_core::http::{Framing, HeaderEdits, Method, RequestHead, ResponseHead};

use super::message::{FIELDS, LIMITS, request, response};
use super::{Group, in_turn};

/// Bytes of table on both sides: what holds without settings.
const TABLE_BYTES: usize = 4096;
/// Blocks before the steady state: a field is kept when it comes the second time, and then is an index.
const WARM_UP: usize = 4;

/// The first request of another implementation's client: `GET /api/products/17/reviews?page=2` with host,
/// user-agent, accept, accept-language and cookie, all as Huffman codes.
const HUFFMAN: &[u8] = &[
    0x82, 0x86, 0x41, 0x8d, 0xa7, 0xd2, 0xc8, 0x2d, 0x9d, 0xcc, 0x42, 0xae, 0x5f, 0x23, 0xa6, 0xba, 0x0b,
    0x44, 0x97, 0x60, 0x75, 0x99, 0x8a, 0xec, 0x3c, 0x96, 0x91, 0x28, 0x60, 0x2e, 0xb1, 0x61, 0x7b, 0x98,
    0xbe, 0x11, 0xfe, 0x56, 0x39, 0x8b, 0x00, 0xbf, 0x7a, 0x99, 0xd0, 0x7f, 0x66, 0xa2, 0x81, 0xb0, 0xda,
    0xe0, 0x53, 0xfa, 0xfc, 0x08, 0x7e, 0xd4, 0xce, 0x6a, 0xad, 0xf2, 0xa7, 0x97, 0x9c, 0x89, 0xc6, 0xbf,
    0xbf, 0x53, 0x83, 0xf9, 0x63, 0xe7, 0x51, 0x82, 0x2d, 0x5f, 0x60, 0x91, 0x41, 0x50, 0x83, 0x1e, 0xa8,
    0x00, 0x11, 0x32, 0xd3, 0x6e, 0x3a, 0xf3, 0xe3, 0x8c, 0x92, 0x16, 0x5f,
];

pub(super) const READ_REQUEST: Group = Group {
    name: "read-request-http2",
    what: "read a request's header block, its fields known to the connection",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let (mut encoder, mut decoder) = (Encoder::new(TABLE_BYTES), Decoder::new());
        let (mut text, mut head) = (Vec::new(), RequestHead::new());
        let mut block = Vec::new();
        for _ in 0..WARM_UP {
            block = written(&mut encoder, fields);
            let read = decode_request(&mut decoder, &block, true, &LIMITS, &mut text, &mut head);
            debug_assert_eq!(read, Ok(()));
        }
        in_turn(vec![block], move |block| {
            let read = decode_request(&mut decoder, block, true, &LIMITS, &mut text, &mut head);
            debug_assert_eq!(read, Ok(()));
            black_box((&text, &head));
        })
    },
};

pub(super) const READ_REQUEST_NEW: Group = Group {
    name: "read-request-http2-new",
    what: "read a connection's first header block, of Huffman strings",
    unit: "field lines",
    sizes: &[5],
    flat: false,
    make: |_| {
        let (mut text, mut head) = (Vec::new(), RequestHead::new());
        in_turn(vec![HUFFMAN], move |block| {
            let read = decode_request(&mut Decoder::new(), block, true, &LIMITS, &mut text, &mut head);
            debug_assert_eq!(read, Ok(()));
            black_box((&text, &head));
        })
    },
};

pub(super) const WRITE_REQUEST: Group = Group {
    name: "write-request-http2",
    what: "write the request's header block for the upstream, its fields known to the connection",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let (text, head) = read(fields);
        let mut encoder = Encoder::new(TABLE_BYTES);
        let mut out = Vec::new();
        for _ in 0..WARM_UP {
            out.clear();
            write(&mut encoder, &mut out, &text, &head);
        }
        in_turn(vec![text], move |text| {
            out.clear();
            write(&mut encoder, &mut out, text, &head);
            black_box(&out);
        })
    },
};

pub(super) const READ_RESPONSE: Group = Group {
    name: "read-response-http2",
    what: "read a response's header block, its fields known to the connection",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let (text, head) = answered(fields);
        let (mut encoder, mut decoder) = (Encoder::new(TABLE_BYTES), Decoder::new());
        let (mut read_text, mut read) = (Vec::new(), ResponseHead::new());
        let mut block = Vec::new();
        for _ in 0..WARM_UP {
            block.clear();
            let edits = HeaderEdits::default();
            encode_response(&mut encoder, &mut block, &text, &head, &edits, head.framing);
            answer(&mut decoder, &block, &mut read_text, &mut read);
        }
        in_turn(vec![block], move |block| {
            answer(&mut decoder, block, &mut read_text, &mut read);
            black_box((&read_text, &read));
        })
    },
};

pub(super) const WRITE_RESPONSE: Group = Group {
    name: "write-response-http2",
    what: "write the response's header block for the client, its fields known to the connection",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let (text, head) = answered(fields);
        let (edits, mut encoder) = (HeaderEdits::default(), Encoder::new(TABLE_BYTES));
        let mut out = Vec::new();
        for _ in 0..WARM_UP {
            out.clear();
            encode_response(&mut encoder, &mut out, &text, &head, &edits, head.framing);
        }
        in_turn(vec![text], move |text| {
            out.clear();
            encode_response(&mut encoder, &mut out, text, &head, &edits, head.framing);
            black_box(&out);
        })
    },
};

/// A request of so many fields as an HTTP/2 client's, read.
fn read(fields: usize) -> (Vec<u8>, RequestHead) {
    let (mut text, mut head) = (Vec::new(), RequestHead::new());
    let block = written(&mut Encoder::new(TABLE_BYTES), fields);
    let read = decode_request(&mut Decoder::new(), &block, true, &LIMITS, &mut text, &mut head);
    debug_assert_eq!(read, Ok(()));
    (text, head)
}

/// The block of a request of so many fields.
fn written(encoder: &mut Encoder, fields: usize) -> Vec<u8> {
    let bytes = request(fields);
    let mut head = RequestHead::new();
    let read = parse_request(&bytes, &LIMITS, &mut head);
    debug_assert_eq!(read, Ok(Progress::Complete));
    let mut block = Vec::new();
    write(encoder, &mut block, &bytes, &head);
    block
}

fn write(encoder: &mut Encoder, out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead) {
    let forwarding = Forwarding { peer_ip: b"192.0.2.17", proto: b"http", ..Forwarding::default() };
    let edits = HeaderEdits::default();
    encode_request(encoder, out, bytes, head, None, &forwarding, &edits, b"http", Framing::None);
}

/// A response of so many fields, read.
fn answered(fields: usize) -> (Vec<u8>, ResponseHead) {
    let bytes = response(fields);
    let mut head = ResponseHead::new();
    let read = parse_response(&bytes, &LIMITS, Method::Get, &mut head);
    debug_assert_eq!(read, Ok(Progress::Complete));
    let mut block = Vec::new();
    let edits = HeaderEdits::default();
    encode_response(&mut Encoder::new(TABLE_BYTES), &mut block, &bytes, &head, &edits, head.framing);
    let (mut text, mut head) = (Vec::new(), ResponseHead::new());
    answer(&mut Decoder::new(), &block, &mut text, &mut head);
    (text, head)
}

fn answer(decoder: &mut Decoder, block: &[u8], text: &mut Vec<u8>, head: &mut ResponseHead) {
    let read = decode_response(decoder, block, false, Method::Get, &LIMITS, text, head);
    debug_assert_eq!(read, Ok(()));
}
