//! Tunnels of which a side is a stream: CONNECT, and WebSocket and its like by extended CONNECT (RFC 8441).
//!
//! ```text
//!   client                     upstream HTTP/1                    upstream HTTP/2
//!   CONNECT (stream)           a new connection, 200              -
//!   :protocol (stream)         GET, Upgrade, own key; 101 → 200   :protocol; 200
//!   GET, Upgrade (HTTP/1)      (`tunnel`)                         :protocol; 200 → 101 with the key's answer
//! ```
//!
//! Invariants: a WebSocket key that a client sent is answered here where its upstream knows none, and the other way
//! round; the bytes behind are never looked at.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pinion_core::fault::Fault;
use pinion_core::http::h1::encode::encode_switching;
use pinion_core::http::{Framing, RequestHead, ResponseHead, h2};
use pinion_core::route::Route;
use pinion_core::telemetry::Phase;

use super::super::request::Call;
use super::super::respond::{Responded, Responding};
use super::back::Back;
use super::part::take;
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::clock;
use crate::shard::Shard;
use crate::sys::buffer::Buffer;

/// What a server appends to a key before it hashes it (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The protocol whose handshake has a key.
const WEBSOCKET: &[u8] = b"websocket";

/// Tells the client of a CONNECT that came on a stream that an endpoint was reached.
pub(in super::super) fn connected(
    call: &mut Call<'_>,
    stream: &Stream,
    route: &Route,
) -> Result<Responded, Fault> {
    let sent = stream.send_head(false, |encoder, out| {
        h2::head::encode_connected(encoder, out, &route.response_headers);
    });
    sent.map_err(StreamFault::downstream)?;
    call.exchange.get_mut().on_connected();
    call.story.status = 200;
    Ok(Responded::Switched)
}

/// Adds to an HTTP/1 request, made of an extended CONNECT, the key that its WebSocket handshake needs.
pub(super) fn add_key(shard: &Shard, head: &RequestHead, bytes: &[u8], out: &mut Buffer) {
    let asks = head.protocol.is_some_and(|protocol| protocol.of(bytes).eq_ignore_ascii_case(WEBSOCKET));
    if !asks || key(head, bytes).is_some() {
        return;
    }
    let mut nonce = [0; 16];
    let mut rng = shard.rng.borrow_mut();
    nonce[..8].copy_from_slice(&rng.bits().to_le_bytes());
    nonce[8..].copy_from_slice(&rng.bits().to_le_bytes());
    let mut text = [0; 24];
    // INVARIANT: 16 bytes are 24 characters.
    let length = STANDARD.encode_slice(nonce, &mut text).unwrap_or(0);
    let out = out.as_vec();
    // In front of the empty line.
    out.truncate(out.len() - 2);
    out.extend_from_slice(b"Sec-WebSocket-Key: ");
    out.extend_from_slice(&text[..length]);
    out.extend_from_slice(b"\r\n\r\n");
}

/// The client's WebSocket key.
fn key<'b>(head: &RequestHead, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let mut fields = head.fields.iter();
    let field = fields.find(|field| field.name.of(bytes).eq_ignore_ascii_case(b"sec-websocket-key"))?;
    Some(field.value.of(bytes))
}

/// What answers a key (RFC 6455 section 4.2.2), as 28 characters.
pub(super) fn accept_of(key: &[u8]) -> [u8; 28] {
    let mut hashed = Vec::with_capacity(key.len() + KEY_SUFFIX.len());
    hashed.extend_from_slice(key);
    hashed.extend_from_slice(KEY_SUFFIX);
    let mut text = [0; 28];
    // INVARIANT: 20 bytes are 28 characters.
    let _ = STANDARD.encode_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed).as_ref(), &mut text);
    text
}

/// What an HTTP/1 client asked for that an upstream's 2xx agrees to.
pub(super) struct Asked {
    /// The protocol, in the client's words.
    protocol: Vec<u8>,
    accept: Option<[u8; 28]>,
}

impl Asked {
    /// Of `head`, which asks for a tunnel.
    // ALLOC: once a tunnel.
    pub(super) fn of(head: &RequestHead, bytes: &[u8], protocol: &[u8]) -> Self {
        let websocket = protocol.eq_ignore_ascii_case(WEBSOCKET);
        let accept = key(head, bytes).filter(|_| websocket).map(accept_of);
        Asked { protocol: protocol.to_vec(), accept }
    }
}

/// Tells the client that its tunnel stands; `behind` is what the upstream has said in it already.
pub(super) async fn switched(
    call: &mut Responding<'_>,
    back: &Back<'_>,
    bytes: &[u8],
    head: &ResponseHead,
    behind: &[u8],
    asked: Option<&Asked>,
) -> Result<Responded, Fault> {
    let now = clock::turn();
    call.cluster.stats.first_byte.record(now.since(call.story.ledger.last()).as_nanos() as u64);
    call.story.ledger.stamp(Phase::Exchange, now);
    let edits = &call.route.response_headers;
    if let Some(stream) = back.stream {
        let sent = stream.send_head(false, |encoder, out| {
            h2::head::encode_response(encoder, out, bytes, head, edits, Framing::UntilClose);
        });
        sent.map_err(StreamFault::downstream)?;
        if !behind.is_empty() {
            stream.send(behind, false, |_| ()).await.map_err(StreamFault::downstream)?;
        }
        call.story.status = 200;
    } else {
        let mut out = take(&call.shard.buffers, bytes.len() + super::super::forward::HEAD_ROOM)?;
        let (protocol, accept) = match asked {
            Some(asked) => (&asked.protocol[..], asked.accept.as_ref().map(|accept| &accept[..])),
            None => return Err(Fault::UpstreamMalformed),
        };
        encode_switching(out.as_vec(), bytes, head, edits, protocol, accept);
        back.send(out).await?;
        call.story.status = 101;
    }
    call.story.bytes_out = behind.len() as u64;
    Ok(Responded::Switched)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    #[test]
    fn a_key_is_answered_as_the_standard_says() {
        assert_eq!(&accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
