//! Why a TLS handshake failed: the closed list of the metric's label, and a sentence for each.

/// A kind of failed handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TlsReason {
    /// No version that both sides want.
    NoSharedVersion,
    /// No cipher suite that both sides want.
    NoSharedCipher,
    /// No key exchange group that both sides want.
    NoSharedGroup,
    /// No signature scheme that fits our certificate and the peer.
    NoSharedSignature,
    /// None of the offered application protocols (ALPN) is ours.
    NoSharedProtocol,
    /// No certificate of ours is for the name asked for.
    UnknownName,
    /// A client certificate is required and none came.
    NoClientCertificate,
    /// A certificate's time is over.
    Expired,
    /// A certificate's time has not begun.
    NotYetValid,
    /// A certificate was revoked, or its revocation could not be ruled out.
    Revoked,
    /// A certificate's issuer is not trusted.
    UnknownCa,
    /// A certificate is for another name.
    NameMismatch,
    /// A good certificate of somebody who may not come in.
    PeerNotPermitted,
    /// A certificate that is no good in another way.
    BadCertificate,
    /// Messages that break the protocol, or do not decrypt.
    Protocol,
    /// The peer gave up, and said why.
    AlertReceived,
    /// The first bytes are not TLS.
    NotTls,
    /// The first bytes are an HTTP/1 request.
    PlainHttp,
    /// The peer ended or reset the connection.
    Gone,
    /// It took too long.
    TimedOut,
    /// The listener has as many handshakes in progress as it may.
    TooMany,
    /// There was no buffer.
    Memory,
    /// The kernel did not take the records over, and the configuration insists on it.
    Kernel,
    /// Trouble of our own.
    Internal,
}

use TlsReason as R;

/// Each reason with its label and its sentence.
const ROWS: [(TlsReason, &str, &str); 24] = [
    (R::NoSharedVersion, "no_shared_version", "no protocol version in common"),
    (R::NoSharedCipher, "no_shared_cipher", "no cipher suite in common"),
    (R::NoSharedGroup, "no_shared_group", "no key exchange group in common"),
    (R::NoSharedSignature, "no_shared_signature", "no signature scheme in common"),
    (R::NoSharedProtocol, "no_shared_protocol", "no application protocol in common"),
    (R::UnknownName, "unknown_name", "no certificate for the name asked for"),
    (R::NoClientCertificate, "no_client_certificate", "the client has sent no certificate"),
    (R::Expired, "expired", "the certificate has expired"),
    (R::NotYetValid, "not_yet_valid", "the certificate is not valid yet"),
    (R::Revoked, "revoked", "the certificate is revoked"),
    (R::UnknownCa, "unknown_ca", "the certificate's issuer is not trusted"),
    (R::NameMismatch, "name_mismatch", "the certificate is for another name"),
    (R::PeerNotPermitted, "peer_not_permitted", "the peer's identity is not permitted"),
    (R::BadCertificate, "bad_certificate", "the certificate is not acceptable"),
    (R::Protocol, "protocol", "the peer breaks the protocol"),
    (R::AlertReceived, "alert_received", "the peer has sent an alert"),
    (R::NotTls, "not_tls", "the peer does not speak TLS"),
    (R::PlainHttp, "plain_http", "the client has sent an HTTP request to an HTTPS port"),
    (R::Gone, "gone", "the peer has closed the connection"),
    (R::TimedOut, "timed_out", "the handshake took too long"),
    (R::TooMany, "too_many", "too many handshakes are in progress"),
    (R::Memory, "memory", "the shard's memory limit is reached"),
    (R::Kernel, "kernel", "the kernel does not take the records over"),
    (R::Internal, "internal", "the handshake failed here"),
];

impl TlsReason {
    /// How many there are.
    pub const COUNT: usize = ROWS.len();

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = TlsReason> {
        ROWS.into_iter().map(|row| row.0)
    }

    /// Its place among all.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word used in metrics and logs.
    pub const fn label(self) -> &'static str {
        ROWS[self as usize].1
    }

    /// A few words for people.
    pub const fn words(self) -> &'static str {
        ROWS[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_labels_differ() {
        for (place, reason) in TlsReason::all().enumerate() {
            assert_eq!(reason.index(), place);
        }
        let mut labels: Vec<_> = TlsReason::all().map(TlsReason::label).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), TlsReason::COUNT);
    }
}
