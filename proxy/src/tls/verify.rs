//! Whose certificates are believed, who is permitted, and why not.
//!
//! ```text
//!   leaf ─▶ roots: the configured ones, or those of the trust domain that its SPIFFE id names
//!             └▶ chain, dates, purpose, revocation (webpki) ─▶ name, or permitted peers ─▶ believed
//! ```
//!
//! Invariants:
//! - a certificate is verified in both roles by the same steps;
//! - a refusal says why: the peer gets an alert, `rustls::Error` carries the reason ([`PeerRefused`] for what
//!   rustls has no word for);
//! - of a certificate that is not verified yet webpki alone reads, and nothing but its URI name is used;
//! - with permitted peers an endpoint's name is not verified: the identity takes its place.
//!
//! Not here: reading roots (`material`), identities (`identity`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pinion_core::tls::reason::TlsReason;
use pinion_core::tls::{IdentityMatch, SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::identity::{CertFacts, NoSvid};

/// Why a peer with a certificate of a known issuer, or without such an issuer, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerRefused {
    /// The certificate is good, its owner is not permitted here.
    NotPermitted(Box<str>),
    /// The certificate is no X.509-SVID.
    NoSvid(NoSvid),
    /// No bundle is configured for the trust domain of its SPIFFE id.
    UnknownTrustDomain(Box<str>),
    /// A session was offered for resumption whose certificate is no longer good.
    NoLongerGood,
}

impl PeerRefused {
    /// The kind of the failure.
    pub(crate) const fn reason(&self) -> TlsReason {
        match self {
            PeerRefused::NotPermitted(_) => TlsReason::PeerNotPermitted,
            PeerRefused::NoSvid(_) => TlsReason::BadCertificate,
            PeerRefused::UnknownTrustDomain(_) => TlsReason::UnknownCa,
            PeerRefused::NoLongerGood => TlsReason::Expired,
        }
    }

    /// The refusal inside an error of rustls, if it is one.
    pub(crate) fn of(error: &Error) -> Option<&PeerRefused> {
        match error {
            Error::InvalidCertificate(what) => Self::within(what),
            _ => None,
        }
    }

    /// The refusal inside what rustls says of a certificate, if it is one.
    pub(crate) fn within(what: &CertificateError) -> Option<&PeerRefused> {
        match what {
            CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for PeerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerRefused::NotPermitted(who) => write!(f, "the peer {who} is not permitted"),
            PeerRefused::NoSvid(why) => f.write_str(why.text()),
            PeerRefused::UnknownTrustDomain(name) => write!(f, "no bundle for the trust domain {name}"),
            PeerRefused::NoLongerGood => f.write_str("the resumed session's certificate is no longer good"),
        }
    }
}

impl std::error::Error for PeerRefused {}

impl From<PeerRefused> for Error {
    fn from(refused: PeerRefused) -> Self {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// Roots by which chains are verified.
#[derive(Debug)]
pub(super) enum Anchors {
    /// The same for everybody.
    Plain(Arc<[TrustAnchor<'static>]>),
    /// SPIFFE: each trust domain's own.
    Spiffe(HashMap<TrustDomain, Box<[TrustAnchor<'static>]>>),
}

/// What the verifier of one context knows.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    /// Whom it believes.
    pub(super) anchors: Anchors,
    /// What issuers have taken back. Not empty means that every certificate of a chain must be covered.
    pub(super) revoked: Vec<CertRevocationList<'static>>,
    /// Who may come; empty is everyone who is verified.
    pub(super) permitted: Box<[IdentityMatch]>,
    /// Signatures that are understood.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// Names of roots that clients are told.
    pub(super) hints: Vec<DistinguishedName>,
    /// Clients must show a certificate.
    pub(super) mandatory: bool,
}

impl PeerVerifier {
    /// Verifies a client's chain.
    pub(super) fn client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.chain(leaf, intermediates, now, KeyUsage::client_auth())?;
        self.owner(leaf)
    }

    /// Verifies a server's chain, and its name unless rules say who may answer.
    pub(super) fn server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        self.chain(leaf, intermediates, now, KeyUsage::server_auth())?;
        self.owner(leaf)?;
        match name.filter(|_| self.permitted.is_empty()) {
            Some(name) => {
                let cert = EndEntityCert::try_from(leaf).map_err(refusal)?;
                cert.verify_is_valid_for_subject_name(name).map_err(refusal)
            }
            None => Ok(()),
        }
    }

    fn chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let cert = EndEntityCert::try_from(leaf).map_err(refusal)?;
        let anchors = match &self.anchors {
            Anchors::Plain(anchors) => anchors,
            Anchors::Spiffe(bundles) => {
                // Nothing is proved yet: this only says which bundle must prove it.
                let mut uris = cert.valid_uri_names();
                let (uri, more) = (uris.next(), uris.next());
                let uri = uri.ok_or(PeerRefused::NoSvid(NoSvid::NoUri))?;
                if more.is_some() {
                    return Err(PeerRefused::NoSvid(NoSvid::SeveralUris).into());
                }
                let id: SpiffeId = uri.parse().map_err(|_| PeerRefused::NoSvid(NoSvid::NotSpiffe))?;
                let unknown = || PeerRefused::UnknownTrustDomain(id.trust_domain().into());
                let domain = id.trust_domain().parse::<TrustDomain>().map_err(|_| unknown())?;
                &**bundles.get(&domain).ok_or_else(unknown)?
            }
        };
        let lists: Vec<&CertRevocationList<'static>> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        cert.verify_for_usage(self.algorithms.all, anchors, intermediates, now, usage, revocation, None)
            .map(|_| ())
            .map_err(refusal)
    }

    /// Judges the owner of a certificate whose chain was verified.
    fn owner(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let spiffe = matches!(self.anchors, Anchors::Spiffe(_));
        if self.permitted.is_empty() && !spiffe {
            return Ok(());
        }
        let bad = Error::InvalidCertificate(CertificateError::BadEncoding);
        let facts = CertFacts::read(leaf).ok_or(bad)?;
        if spiffe {
            facts.spiffe().map_err(PeerRefused::NoSvid)?;
        }
        self.permit(&facts)
    }

    fn permit(&self, facts: &CertFacts) -> Result<(), Error> {
        if self.permitted.is_empty() {
            return Ok(());
        }
        let id = facts.spiffe();
        let dns = || facts.dns.iter().map(|name| &**name);
        if self.permitted.iter().any(|rule| rule.permits(id.as_ref().ok(), dns())) {
            return Ok(());
        }
        let who = facts.uris.first().or(facts.dns.first()).unwrap_or(&facts.subject);
        // A peer chooses the names in its certificate: they reach the log, so not without bound.
        let who: String = who.chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect();
        Err(PeerRefused::NotPermitted(who.into()).into())
    }
}

/// Characters of a refused peer's name that are kept.
const NAME_CHARS_MAX: usize = 256;

/// As rustls says it, so that the peer gets the fitting alert.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    Error::InvalidCertificate(match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertNotValidForName(context) => CertificateError::NotValidForNameContext {
            expected: context.expected,
            presented: context.presented,
        },
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.client(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.server(end_entity, intermediates, Some(server_name), now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
