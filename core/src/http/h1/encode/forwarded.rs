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

/// X-Forwarded-*, Forwarded, Via and X-Request-Id. An edit that sets or removes one has the last word.
pub(crate) fn append(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    fwd: &Forwarding<'_>,
    edits: &HeaderEdits,
) {
    let edited = !edits.is_empty();
    let wanted = |name: &[u8]| !edited || !edits.drops(name);
    let missing = |known| !fwd.trusted || head.fields.find(known).is_none();
    if wanted(b"x-forwarded-for") {
        forwarded_for(out, bytes, head, fwd);
    }
    if missing(Known::XForwardedProto) && wanted(b"x-forwarded-proto") {
        line(out, b"X-Forwarded-Proto", fwd.proto);
    }
    if !fwd.client_cert.own.is_empty() && wanted(b"x-forwarded-client-cert") {
        client_cert(out, bytes, head, &fwd.client_cert);
    }
    let authority = head.authority.of(bytes);
    if fwd.x_forwarded_host
        && !authority.is_empty()
        && missing(Known::XForwardedHost)
        && wanted(b"x-forwarded-host")
    {
        line(out, b"X-Forwarded-Host", authority);
    }
    if fwd.forwarded && wanted(b"forwarded") {
        forwarded_element(out, authority, fwd);
    }
    if fwd.via && wanted(b"via") {
        let version: &[u8] = match head.version {
            Version::Http10 => b"1.0 pinion",
            Version::Http11 => b"1.1 pinion",
            Version::Http2 => b"2.0 pinion",
        };
        line(out, b"Via", version);
    }
    if let Some(id) = fwd.request_id
        && missing(Known::XRequestId)
        && wanted(b"x-request-id")
    {
        line(out, b"X-Request-Id", id);
    }
}

/// One X-Forwarded-For line: what a trusted peer said, then the peer itself.
#[inline]
fn forwarded_for(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, fwd: &Forwarding<'_>) {
    let mut begun = false;
    let mut append = |out: &mut Vec<u8>, value: &[u8]| {
        if !value.is_empty() {
            out.extend_from_slice(if begun { b", " } else { b"X-Forwarded-For: " });
            out.extend_from_slice(value);
            begun = true;
        }
    };
    if fwd.trusted {
        for field in head.fields.iter().filter(|field| field.known == Known::XForwardedFor) {
            append(out, field.value.of(bytes));
        }
    }
    append(out, fwd.peer_ip);
    if begun {
        out.extend_from_slice(b"\r\n");
    }
}

/// One X-Forwarded-Client-Cert line: what the client sent if that passes, then its own certificate.
fn client_cert(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, cert: &ClientCert<'_>) {
    out.extend_from_slice(b"X-Forwarded-Client-Cert: ");
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
    out.extend_from_slice(b"\r\n");
}

/// One Forwarded line (RFC 7239 section 4). A further line continues a trusted peer's list.
fn forwarded_element(out: &mut Vec<u8>, authority: &[u8], fwd: &Forwarding<'_>) {
    out.extend_from_slice(b"Forwarded: for=");
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
    out.extend_from_slice(b"\r\n");
}
