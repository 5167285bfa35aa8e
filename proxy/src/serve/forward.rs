//! What goes to the upstream: the head written anew, what is said of the client, the host that is asked for.
//!
//! Not here: when it is sent (`exchange`), how fields are written (`core`: `h1::encode`, `h2::head`).

use pinion_core::fault::Fault;
use pinion_core::http::Framing;
use pinion_core::http::h1::encode::{ClientCert, Forwarding, encode_request};
use pinion_core::route::Route;

use super::cross;
use super::request::Call;
use super::trip::Trip;
use crate::net::buffers::Size;
use crate::sys::buffer::Buffer;

/// Added header fields usually fit this beside the received head.
pub(crate) const HEAD_ROOM: usize = 1_024;

/// A copy of the request's host, for as long as its head is used.
pub(super) struct Host {
    bytes: [u8; 256],
    len: usize,
}

impl Host {
    pub(super) fn of(trip: &Trip) -> Self {
        Host { bytes: trip.host, len: trip.host_len }
    }

    /// The host; empty when there is none.
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// The request as it goes out on an HTTP/1 connection: head and as much of the body as is here.
pub(super) fn encode(call: &mut Call<'_>, trip: &Trip, route: &Route) -> Result<Buffer, Fault> {
    let head = &trip.head;
    let needed = head.len + call.kept + HEAD_ROOM;
    let size = Size::of(needed);
    let mut out = call.shard.buffers.take(size).ok_or(Fault::MemoryLimit)?;
    let mut request_id = [0_u8; 32];
    let forwarding = forwarding(call, &mut request_id);
    let bytes = head.bytes(call.inbuf.unread());
    let path = (!trip.path.is_empty()).then_some(&trip.path[..]);
    encode_request(out.as_vec(), bytes, head, path, &forwarding, &route.request_headers, head.framing);
    // Beyond the buffer's room this grows it, which is rare: very long fields added by a route.
    let body = call.kept_body(head);
    if call.stream.is_some() && head.framing == Framing::Chunked {
        cross::append_body(&mut out, body, call.ended, call.trailers.as_ref());
    } else {
        out.as_vec().extend_from_slice(body);
        if call.ended {
            out.as_vec().extend_from_slice(call.body.tail());
        }
    }
    Ok(out)
}

/// What is said of the request's way.
pub(super) fn forwarding<'c>(call: &'c Call<'_>, request_id: &'c mut [u8; 32]) -> Forwarding<'c> {
    let connection = call.connection;
    let listener = &connection.view.listener;
    let options = &listener.forwarding;
    let peer = connection.tls.as_ref().and_then(|tls| tls.peer.as_ref());
    Forwarding {
        peer_ip: connection.text.ip(),
        proto: if connection.tls.is_some() { b"https" } else { b"http" },
        trusted: connection.view.trusted,
        x_forwarded_host: options.x_forwarded_host,
        forwarded: options.forwarded,
        via: options.via,
        request_id: options.request_id.then(|| new_request_id(call, request_id)),
        fallback_host: call.story.endpoint.as_ref().map_or(b"", |endpoint| endpoint.name.as_bytes()),
        upgrade: call.exchange.borrow().asks_for_tunnel().then_some(&listener.upgrades),
        client_cert: ClientCert::new(options.client_cert, peer),
        grpc_timeout: call.story.grpc.as_ref().and_then(|grpc| grpc.left()),
    }
}

/// A random request id: 128 bits in hexadecimal.
fn new_request_id<'t>(call: &Call<'_>, text: &'t mut [u8; 32]) -> &'t [u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rng = call.shard.rng.borrow_mut();
    let bits = u128::from(rng.bits()) << 64 | u128::from(rng.bits());
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = DIGITS[(bits >> (4 * place)) as usize & 15];
    }
    text
}
