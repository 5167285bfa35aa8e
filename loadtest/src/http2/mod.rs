//! HTTP/2 (RFC 9113) as both halves of this program speak it: the generator's client, the origin's
//! server. Own code on purpose: a witness that shared the proxy's protocol code would share its bugs.
//!
//! ```text
//! bytes ─▶ reader (frames, whole header blocks) ─▶ client / server (streams) ─▶ events
//!                                                        │
//!                  frames in `out` ◀─ outgoing (what windows allow) ◀─ requests, answers, bodies
//! ```
//!
//! No clock, no socket: bytes that came are fed in, bytes to send are appended to `out`, and what
//! happened is appended to a list of events.
//!
//! Strict: what a recipient may tolerate is refused here, so that a proxy which passes on something
//! bad is seen to have done so.

pub(crate) mod client;
mod fields;
pub(crate) mod frame;
mod hpack;
mod outgoing;
mod peer;
mod reader;
pub(crate) mod server;
mod streams;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use fields::Fields;

/// The header block of a request: pseudo-headers first, `:method` before all others. It refers to no
/// connection's state, so it is made once and sent any number of times.
pub(crate) fn encode_request(fields: &[(&str, &str)]) -> Vec<u8> {
    encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn encode<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut block = Vec::with_capacity(128);
    for (name, value) in fields {
        hpack::encode_field(name, value, &mut block);
    }
    block
}

/// The header block of an answer, made once for any number of answers.
pub(crate) fn encode_answer(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::with_capacity(128);
    hpack::encode_status(status, &mut block);
    for (name, value) in fields {
        hpack::encode_field(name.as_bytes(), value.as_bytes(), &mut block);
    }
    block
}
