//! Why a handshake failed, in the terms of the TLS library: a reason for the metric, its words for the log.
//!
//! The peer has been told with the alert that fits before anybody sees one of these.

use std::fmt;
use std::io;

use pinion_core::tls::reason::TlsReason;
use rustls::{CertificateError, Error, PeerIncompatible};

use super::verify::PeerRefused;

/// Why there is no TLS connection.
#[derive(Clone, Debug)]
pub(crate) struct TlsFailure {
    /// The kind.
    pub(crate) reason: TlsReason,
    /// What the TLS library says.
    error: Option<Error>,
}

impl TlsFailure {
    /// The metric's label.
    pub(crate) const fn label(&self) -> &'static str {
        self.reason.label()
    }
}

impl From<TlsReason> for TlsFailure {
    fn from(reason: TlsReason) -> Self {
        TlsFailure { reason, error: None }
    }
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        TlsFailure { reason: reason_of(&error), error: Some(error) }
    }
}

impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::OutOfMemory => TlsReason::Memory.into(),
            _ => TlsReason::Gone.into(),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => match PeerRefused::of(error) {
                Some(refused) => write!(f, "{} ({refused})", self.reason.words()),
                None => write!(f, "{} ({error})", self.reason.words()),
            },
            None => f.write_str(self.reason.words()),
        }
    }
}

fn reason_of(error: &Error) -> TlsReason {
    match error {
        Error::PeerIncompatible(what) => reason_of_offer(what),
        Error::InvalidCertificate(what) => reason_of_certificate(what),
        Error::NoCertificatesPresented => TlsReason::NoClientCertificate,
        Error::NoApplicationProtocol => TlsReason::NoSharedProtocol,
        Error::AlertReceived(_) => TlsReason::AlertReceived,
        // rustls has no kind of its own for a server that finds no certificate.
        Error::General(words) if words.contains("certificate") => TlsReason::UnknownName,
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidMessage(_)
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => TlsReason::Protocol,
        _ => TlsReason::Internal,
    }
}

fn reason_of_offer(what: &PeerIncompatible) -> TlsReason {
    match what {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsReason::NoSharedVersion,
        PeerIncompatible::NoCipherSuitesInCommon => TlsReason::NoSharedCipher,
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::NamedGroupsExtensionRequired => TlsReason::NoSharedGroup,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => TlsReason::NoSharedSignature,
        _ => TlsReason::Protocol,
    }
}

fn reason_of_certificate(what: &CertificateError) -> TlsReason {
    match what {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsReason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsReason::NotYetValid,
        CertificateError::Revoked
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => TlsReason::Revoked,
        CertificateError::UnknownIssuer => TlsReason::UnknownCa,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsReason::NameMismatch
        }
        CertificateError::ApplicationVerificationFailure => TlsReason::PeerNotPermitted,
        _ => PeerRefused::within(what).map_or(TlsReason::BadCertificate, PeerRefused::reason),
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;
    use crate::tls::identity::NoSvid;

    #[test]
    fn what_rustls_says_becomes_a_label() {
        let rows = [
            (Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled), "no_shared_version"),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), "no_shared_cipher"),
            (Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon), "no_shared_group"),
            (Error::InvalidCertificate(CertificateError::Expired), "expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "not_yet_valid"),
            (Error::InvalidCertificate(CertificateError::Revoked), "revoked"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "unknown_ca"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "name_mismatch"),
            (
                Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
                "peer_not_permitted",
            ),
            (Error::InvalidCertificate(CertificateError::BadSignature), "bad_certificate"),
            (PeerRefused::NotPermitted("a".into()).into(), "peer_not_permitted"),
            (PeerRefused::NoSvid(NoSvid::NoUri).into(), "bad_certificate"),
            (PeerRefused::UnknownTrustDomain("a".into()).into(), "unknown_ca"),
            (PeerRefused::NoLongerGood.into(), "expired"),
            (Error::NoCertificatesPresented, "no_client_certificate"),
            (Error::NoApplicationProtocol, "no_shared_protocol"),
            (Error::General("no server certificate chain resolved".into()), "unknown_name"),
            (Error::AlertReceived(AlertDescription::CertificateExpired), "alert_received"),
            (Error::DecryptError, "protocol"),
            (Error::FailedToGetRandomBytes, "internal"),
        ];
        for (error, label) in rows {
            let failure = TlsFailure::from(error);
            assert_eq!(failure.label(), label);
            assert!(failure.to_string().starts_with(failure.reason.words()));
        }
        let memory = TlsFailure::from(io::Error::from(io::ErrorKind::OutOfMemory));
        assert_eq!((memory.label(), TlsFailure::from(TlsReason::TimedOut).label()), ("memory", "timed_out"));
    }
}
