//! What the upstream is told about the client: X-Forwarded-*, Forwarded (RFC 7239), Via, X-Request-Id.
//!
//! Invariants: what an untrusted peer said about itself never passes; each list goes out as one line; what a
//! peer says of certificates passes by [`ClientCert`] alone, however much its address is trusted.
//!
//! HOT: no allocation while the buffer has room, no formatting.

use super::super::super::edits::HeaderEdits;
use super::super::super::head::{Known, RequestHead, Version};
use super::super::super::known::Mask;
use super::super::super::upgrade::Upgrades;
use super::line;
use crate::config::snapshot::ForwardClientCert;
use crate::tls::PeerIdentity;
use std::time::Duration;

/// What is told to the upstream about the client, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forwarding<'a> {
    /// The client's address as text; empty for Unix sockets.
    pub peer_ip: &'a [u8],
    /// `http` or `https`.
    pub proto: &'static [u8],
    /// Whether the peer's own forwarded fields are believed; otherwise they are replaced.
    pub trusted: bool,
    /// Write X-Forwarded-Host.
    pub x_forwarded_host: bool,
    /// Write Forwarded (RFC 7239).
    pub forwarded: bool,
    /// Write Via (RFC 9110 section 7.6.3).
    pub via: bool,
    /// Write X-Request-Id with this value, unless a trusted peer sent one.
    pub request_id: Option<&'a [u8]>,
    /// Host for an HTTP/1.0 request without one.
    pub fallback_host: &'a [u8],
    /// Pass on what these allow of the protocols that the request offers (it offers one of them).
    pub upgrade: Option<&'a Upgrades>,
    /// What becomes of X-Forwarded-Client-Cert.
    pub client_cert: ClientCert<'a>,
    /// What is left of the caller's `grpc-timeout`, which takes its place; only over HTTP/2.
    pub grpc_timeout: Option<Duration>,
}

/// What becomes of X-Forwarded-Client-Cert. By default nothing passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCert<'a> {
    /// What the client sent passes.
    pub keep: bool,
    /// The element for the client's own certificate, which comes last; empty for none.
    pub own: &'a [u8],
}

impl<'a> ClientCert<'a> {
    /// What the setting makes of a connection whose client showed a verified certificate, or none.
    pub fn new(setting: ForwardClientCert, peer: Option<&'a PeerIdentity>) -> Self {
        let own = |peer: &'a PeerIdentity| &*peer.forwarded;
        match (setting, peer) {
            (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {
                ClientCert { keep: true, own: &[] }
            }
            (ForwardClientCert::AppendForward, Some(peer)) => ClientCert { keep: true, own: own(peer) },
            (ForwardClientCert::SanitizeSet, Some(peer)) => ClientCert { keep: false, own: own(peer) },
            (_, None) | (ForwardClientCert::Sanitize, _) => ClientCert::default(),
        }
    }

    /// Whether the field is written anew, or left out, instead of being copied.
    #[inline]
    pub(crate) fn replaces(&self) -> bool {
        !self.keep || !self.own.is_empty()
    }
}

/// The forwarded fields that are written anew instead of being copied.
#[inline]
pub(crate) fn replaced(head: &RequestHead, fwd: &Forwarding<'_>) -> Mask {
    let mut skip = Known::XForwardedFor.bit();
    if !fwd.trusted {
        skip |= Known::XForwardedProto.bit()
            | Known::XForwardedHost.bit()
            | Known::XForwardedOther.bit()
            | Known::Forwarded.bit();
    }
    if fwd.client_cert.replaces() {
        skip |= Known::XForwardedClientCert.bit();
    }
    if fwd.request_id.is_some() && !(fwd.trusted && head.fields.find(Known::XRequestId).is_some()) {
        skip |= Known::XRequestId.bit();
    }
    skip
}

/// A field's name as each version writes it.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    /// With capitals, of HTTP/1.
    pub(crate) usual: &'static [u8],
    /// Without, of HTTP/2.
    pub(crate) lower: &'static [u8],
}

/// Where lines go.
pub(crate) trait Lines {
    /// A line.
    fn line(&mut self, name: Name, value: &[u8]);
    /// A line whose value `write` appends to what it is given.
    fn made(&mut self, name: Name, write: impl FnOnce(&mut Vec<u8>));
}

impl Lines for Vec<u8> {
    #[inline]
    fn line(&mut self, name: Name, value: &[u8]) {
        line(self, name.usual, value);
    }

    #[inline]
    fn made(&mut self, name: Name, write: impl FnOnce(&mut Vec<u8>)) {
        self.extend_from_slice(name.usual);
        self.extend_from_slice(b": ");
        write(self);
        self.extend_from_slice(b"\r\n");
    }
}

const FOR: Name = Name { usual: b"X-Forwarded-For", lower: b"x-forwarded-for" };
const PROTO: Name = Name { usual: b"X-Forwarded-Proto", lower: b"x-forwarded-proto" };
const HOST: Name = Name { usual: b"X-Forwarded-Host", lower: b"x-forwarded-host" };
const CLIENT_CERT: Name = Name { usual: b"X-Forwarded-Client-Cert", lower: b"x-forwarded-client-cert" };
const FORWARDED: Name = Name { usual: b"Forwarded", lower: b"forwarded" };
const VIA: Name = Name { usual: b"Via", lower: b"via" };
const REQUEST_ID: Name = Name { usual: b"X-Request-Id", lower: b"x-request-id" };

/// X-Forwarded-*, Forwarded, Via and X-Request-Id. An edit that sets or removes one has the last word.
#[inline]
pub(crate) fn append(
    out: &mut impl Lines,
    bytes: &[u8],
    head: &RequestHead,
    fwd: &Forwarding<'_>,
    edits: &HeaderEdits,
) {
    let edited = !edits.is_empty();
    let wanted = |name: Name| !edited || !edits.drops(name.lower);
    let missing = |known| !fwd.trusted || head.fields.find(known).is_none();
    if wanted(FOR) {
        forwarded_for(out, bytes, head, fwd);
    }
    if missing(Known::XForwardedProto) && wanted(PROTO) {
        out.line(PROTO, fwd.proto);
    }
    if !fwd.client_cert.own.is_empty() && wanted(CLIENT_CERT) {
        out.made(CLIENT_CERT, |out| client_cert(out, bytes, head, &fwd.client_cert));
    }
    let authority = head.authority.of(bytes);
    if fwd.x_forwarded_host && !authority.is_empty() && missing(Known::XForwardedHost) && wanted(HOST) {
        out.line(HOST, authority);
    }
    if fwd.forwarded && wanted(FORWARDED) {
        out.made(FORWARDED, |out| forwarded_element(out, authority, fwd));
    }
    if fwd.via && wanted(VIA) {
        let version: &[u8] = match head.version {
            Version::Http10 => b"1.0 pinion",
            Version::Http11 => b"1.1 pinion",
            Version::Http2 => b"2.0 pinion",
        };
        out.line(VIA, version);
    }
    if let Some(id) = fwd.request_id
        && missing(Known::XRequestId)
        && wanted(REQUEST_ID)
    {
        out.line(REQUEST_ID, id);
    }
}

/// One X-Forwarded-For line: what a trusted peer said, then the peer itself.
#[inline]
fn forwarded_for(out: &mut impl Lines, bytes: &[u8], head: &RequestHead, fwd: &Forwarding<'_>) {
    let said = || {
        let fields = head.fields.iter().filter(|field| field.known == Known::XForwardedFor);
        fields.map(|field| field.value.of(bytes)).filter(|value| !value.is_empty())
    };
    if !fwd.trusted || said().next().is_none() {
        if !fwd.peer_ip.is_empty() {
            out.line(FOR, fwd.peer_ip);
        }
        return;
    }
    out.made(FOR, |out| {
        let own = (!fwd.peer_ip.is_empty()).then_some(fwd.peer_ip);
        for (place, value) in said().chain(own).enumerate() {
            out.extend_from_slice(if place > 0 { b", " } else { b"" });
            out.extend_from_slice(value);
        }
    });
}

/// The value of X-Forwarded-Client-Cert: what the client sent if that passes, then its own certificate.
fn client_cert(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, cert: &ClientCert<'_>) {
    if cert.keep {
        for field in head.fields.iter().filter(|field| field.known == Known::XForwardedClientCert) {
            let value = field.value.of(bytes);
            if !value.is_empty() {
                out.extend_from_slice(value);
                out.push(b',');
            }
        }
    }
    out.extend_from_slice(cert.own);
}

/// The value of Forwarded (RFC 7239 section 4). A further line continues a trusted peer's list.
fn forwarded_element(out: &mut Vec<u8>, authority: &[u8], fwd: &Forwarding<'_>) {
    out.extend_from_slice(b"for=");
    if fwd.peer_ip.is_empty() {
        out.extend_from_slice(b"unknown");
    } else if fwd.peer_ip.contains(&b':') {
        // RFC 7239 section 6: IPv6 addresses are bracketed and quoted.
        out.extend_from_slice(b"\"[");
        out.extend_from_slice(fwd.peer_ip);
        out.extend_from_slice(b"]\"");
    } else {
        out.extend_from_slice(fwd.peer_ip);
    }
    if !authority.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(authority);
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(fwd.proto);
}
