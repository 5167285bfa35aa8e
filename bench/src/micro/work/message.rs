//! Messages: reading heads, bringing path and host into their one form, writing heads.

use std::hint::black_box;

use pinion_core::http::h1::encode::{ClientCert, Forwarding, encode_request};
use pinion_core::http::h1::parse::{HeadLimits, Progress, parse_request, parse_response};
use pinion_core::http::{
    Framing, HeaderEdits, Method, RequestHead, ResponseHead, normalize_host, normalize_path,
};

use super::{Group, Work, in_turn};

/// Field lines of a head: a small API's, a browser's, a browser's behind two proxies.
pub(super) const FIELDS: &[usize] = &[4, 12, 48];

/// What listeners allow by default.
pub(super) const LIMITS: HeadLimits = HeadLimits { head_bytes: 32 * 1024, uri_bytes: 8 * 1024 };

pub(super) const PARSE_REQUEST: Group = Group {
    name: "parse-request",
    what: "read a request's head",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let mut head = RequestHead::new();
        in_turn(vec![request(fields)], move |bytes| {
            let read = parse_request(bytes, &LIMITS, &mut head);
            debug_assert_eq!(read, Ok(Progress::Complete));
            black_box(&head);
        })
    },
};

pub(super) const PARSE_RESPONSE: Group = Group {
    name: "parse-response",
    what: "read a response's head",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: |fields| {
        let mut head = ResponseHead::new();
        in_turn(vec![response(fields)], move |bytes| {
            let read = parse_response(bytes, &LIMITS, Method::Get, &mut head);
            debug_assert_eq!(read, Ok(Progress::Complete));
            black_box(&head);
        })
    },
};

pub(super) const WRITE_REQUEST: Group = Group {
    name: "write-request",
    what: "write the request's head for the upstream, with X-Forwarded-For",
    unit: "field lines",
    sizes: FIELDS,
    flat: false,
    make: write_request,
};

pub(super) const PATH_USUAL: Group = Group {
    name: "normalise-path",
    what: "check a path that is in its one form",
    unit: "segments",
    sizes: &[2, 8, 32],
    flat: false,
    make: |segments| paths("/products", segments),
};

pub(super) const PATH_UNUSUAL: Group = Group {
    name: "normalise-path-unusual",
    what: "bring a path with dots and escapes into its one form",
    unit: "segments",
    sizes: &[2, 8, 32],
    flat: false,
    make: |segments| paths("/x/.././pr%6fducts", segments / 2),
};

pub(super) const HOST: Group = Group {
    name: "normalise-host",
    what: "bring a host with a port into its one form",
    unit: "labels",
    sizes: &[2, 4, 8],
    flat: false,
    make: |labels| {
        let host = format!("{}example:8080", "Service.".repeat(labels - 1));
        let mut room = [0; 256];
        in_turn(vec![host.into_bytes()], move |host| {
            black_box(normalize_host(host, &mut room));
            black_box(&room);
        })
    },
};

/// A request with so many field lines: those that every client sends, then others.
pub(super) fn request(fields: usize) -> Vec<u8> {
    let mut text = String::from("GET /api/products/17/reviews?page=2 HTTP/1.1\r\n");
    let usual = [
        "Host: my-service.example",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Accept: */*",
        "Accept-Language: en",
        "Accept-Encoding: gzip, br",
        "Cookie: session=0123456789abcdef",
    ];
    lines(&mut text, &usual, fields);
    text.into_bytes()
}

pub(super) fn response(fields: usize) -> Vec<u8> {
    let mut text = String::from("HTTP/1.1 200 OK\r\n");
    let usual = [
        "Content-Type: application/json",
        "Content-Length: 100",
        "Date: Fri, 20 Nov 2026 10:00:00 GMT",
        "Server: origin",
        "Cache-Control: no-store",
        "Vary: Accept-Encoding",
    ];
    lines(&mut text, &usual, fields);
    text.into_bytes()
}

fn lines(text: &mut String, usual: &[&str], fields: usize) {
    for number in 0..fields {
        match usual.get(number) {
            Some(line) => text.push_str(line),
            None => text.push_str(&format!("X-Field-{number}: a value of some length")),
        }
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
}

fn write_request(fields: usize) -> Work {
    let bytes = request(fields);
    let mut head = RequestHead::new();
    let read = parse_request(&bytes, &LIMITS, &mut head);
    debug_assert_eq!(read, Ok(Progress::Complete));
    let edits = HeaderEdits::default();
    let mut out = Vec::with_capacity(bytes.len() * 2);
    in_turn(vec![bytes], move |bytes| {
        let forwarding = Forwarding {
            peer_ip: b"192.0.2.17",
            proto: b"http",
            trusted: false,
            x_forwarded_host: false,
            forwarded: false,
            via: false,
            request_id: None,
            fallback_host: b"localhost",
            upgrade: None,
            client_cert: ClientCert::default(),
            grpc_timeout: None,
        };
        out.clear();
        encode_request(&mut out, bytes, &head, None, &forwarding, &edits, Framing::None);
        black_box(&out);
    })
}

fn paths(part: &str, times: usize) -> Work {
    let mut out = Vec::with_capacity(4096);
    in_turn(vec![part.repeat(times).into_bytes()], move |path| {
        let normalised = normalize_path(path, &mut out);
        debug_assert!(normalised.is_ok());
        black_box((&normalised, &out));
    })
}
