//! One function per parser: any bytes in, a panic if an invariant breaks.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test program includes this file and uses its part; a broken invariant panics"
)]

use pinion_core::http::h1::parse::Progress;
use pinion_core::http::{Framing, Method};
use pinion_core::limits::{PROXY_V2_BYTES_MAX, TLS_HELLO_BYTES_MAX};
use pinion_core::proxy_protocol::{self, Peers, Version, encode_v1, encode_v2};
use pinion_core::tls::hello::{self, HelloReader};

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

/// The beginning of a connection that may be a ClientHello, torn anywhere: read alike, and named in one form.
pub fn client_hello(bytes: &[u8]) -> bool {
    let whole = HelloReader::new().read(bytes);
    let mut reader = HelloReader::new();
    let step = bytes.len() / 16 + 1;
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        let read = reader.read(&bytes[..end]);
        if read != Ok(hello::Progress::Partial) || end == bytes.len() {
            assert_eq!(read, whole, "torn, it is read differently");
            break;
        }
    }
    let Ok(hello::Progress::Complete(hello)) = &whole else {
        assert!(bytes.len() < TLS_HELLO_BYTES_MAX || whole.is_err(), "more is wanted than may be held");
        return false;
    };
    if let Some(name) = &hello.server_name {
        let mut room = [0; 256];
        let length = pinion_core::http::normalize_host(name.as_bytes(), &mut room).expect("a host name");
        assert_eq!(&room[..length], name.as_bytes());
    }
    assert!(hello.alpn.iter().all(|protocol| !protocol.is_empty()));
    true
}

/// The beginning of a connection that may be a PROXY header: what it says survives being sent on.
pub fn proxy_header(bytes: &[u8]) -> bool {
    use proxy_protocol::Progress;
    let Ok(Progress::Complete(header, length)) = proxy_protocol::read(bytes) else {
        return false;
    };
    assert!(length <= bytes.len() && length <= PROXY_V2_BYTES_MAX);
    for end in [0, 1, length / 2, length - 1] {
        assert_eq!(proxy_protocol::read(&bytes[..end]), Ok(Progress::Partial), "known from {end} bytes");
    }
    let mut again = Vec::new();
    match header.version {
        Version::V1 => encode_v1(&mut again, &header.peers),
        // Values are written up to a length of their own.
        Version::V2 if length > 400 => return true,
        Version::V2 => encode_v2(&mut again, &header.peers, &header.values, length % 2 == 0),
    }
    let read = proxy_protocol::read(&again).expect("what was written is a header");
    let Progress::Complete(same, all) = read else { panic!("half a header was written") };
    assert_eq!((all, same.values), (again.len(), header.values));
    match (header.peers, same.peers) {
        (Peers::Inet { source, destination }, Peers::Inet { source: from, destination: to }) => {
            let plain = |address: std::net::SocketAddr| (address.ip().to_canonical(), address.port());
            assert_eq!((plain(source), plain(destination)), (plain(from), plain(to)));
        }
        (Peers::Unix, Peers::Unknown) => {}
        (one, other) => assert_eq!(one, other),
    }
    true
}

/// Two header blocks of one connection, as requests: see [`http2::blocks`] for how they lie in the bytes.
pub fn request_block(bytes: &[u8]) -> bool {
    http2::check_requests(bytes)
}

/// Two header blocks of one connection, as responses and as trailers.
pub fn response_block(bytes: &[u8]) -> bool {
    http2::check_responses(bytes)
}
