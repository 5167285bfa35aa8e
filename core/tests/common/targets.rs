//! One function per parser: any bytes in, a panic if an invariant breaks.

#![allow(dead_code, unreachable_pub, reason = "each test program includes this file and uses its part")]

use pinion_core::http::h1::parse::Progress;
use pinion_core::http::{Framing, Method};

use super::http2;
use super::invariants::{Forwarded, check_body, check_host, check_normalize, check_request, check_response};

/// A request with its body. Like all of these, returns whether it was accepted.
pub fn request_head(bytes: &[u8]) -> bool {
    http2::check_http1_request(bytes);
    matches!(check_request(bytes), Forwarded::Sent(..))
}

/// A response head, as the answer to several methods.
pub fn response_head(bytes: &[u8]) -> bool {
    let answers = [Method::Get, Method::Head, Method::Connect].map(|method| check_response(bytes, method));
    http2::check_http1_response(bytes);
    answers.contains(&Ok(Progress::Complete))
}

/// Two bytes that say how the rest, a chunked body, is torn.
pub fn body(bytes: &[u8]) -> bool {
    let [first, second, body @ ..] = bytes else { return false };
    let pieces = [usize::from(*first), usize::from(*second)];
    let _ = check_body(body, Framing::Length(u64::from(*first)), &pieces);
    check_body(body, Framing::Chunked, &pieces) == Ok(true)
}

/// A path and a host.
pub fn normalize(bytes: &[u8]) -> bool {
    let path = check_normalize(bytes);
    check_host(bytes) || path
}

/// Two header blocks of one connection, as requests: see [`http2::blocks`] for how they lie in the bytes.
pub fn request_block(bytes: &[u8]) -> bool {
    http2::check_requests(bytes)
}

/// Two header blocks of one connection, as responses and as trailers.
pub fn response_block(bytes: &[u8]) -> bool {
    http2::check_responses(bytes)
}
