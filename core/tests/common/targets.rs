//! One function per parser: any bytes in, a panic if an invariant breaks.

#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part")]

use pinion_core::http::{Framing, Method};

use super::invariants::{check_body, check_host, check_normalize, check_request, check_response};

/// A request with its body.
pub fn request_head(bytes: &[u8]) {
    check_request(bytes);
}

/// A response head, as the answer to several methods.
pub fn response_head(bytes: &[u8]) {
    for method in [Method::Get, Method::Head, Method::Connect] {
        let _ = check_response(bytes, method);
    }
}

/// Two bytes that say how the rest, a chunked body, is torn.
pub fn body(bytes: &[u8]) {
    let [first, second, body @ ..] = bytes else { return };
    let pieces = [usize::from(*first), usize::from(*second)];
    let _ = check_body(body, Framing::Chunked, &pieces);
    let _ = check_body(body, Framing::Length(u64::from(*first)), &pieces);
}

/// A path and a host.
pub fn normalize(bytes: &[u8]) {
    check_normalize(bytes);
    check_host(bytes);
}
