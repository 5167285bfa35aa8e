//! What contexts of listeners and clusters have in common: parameters, verifiers, and what is made of files.
//!
//! Not here: what only one of the two has (`server`, `client`).

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use pinion_core::config::Severity;
use pinion_core::config::snapshot::{
    CertificateFiles, CipherSuite, Group, Roots, SYSTEM_ROOTS, TlsParameters, TlsVersion, Trust,
};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suites, kx_group as groups};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{DistinguishedName, SupportedCipherSuite, SupportedProtocolVersion};

use super::files::FileSet;
use super::identity::CertFacts;
use super::material::{self, Finding};
use super::verify::{Anchors, PeerVerifier};

/// What the operating system believes, read once for all contexts of one turn.
#[derive(Default)]
pub(crate) struct SystemRoots(OnceCell<Result<Arc<[TrustAnchor<'static>]>, String>>);

impl SystemRoots {
    /// The roots. Certificates that can't be roots are left out, as everywhere.
    fn anchors(&self) -> Result<Arc<[TrustAnchor<'static>]>, String> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            let anchor = |der: &CertificateDer<'static>| {
                webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned())
            };
            let anchors: Arc<[_]> = found.certs.iter().filter_map(anchor).collect();
            let why = || found.errors.first().map_or(String::new(), |error| format!(": {error}"));
            if anchors.is_empty() { Err(why()) } else { Ok(anchors) }
        };
        self.0.get_or_init(read).clone()
    }
}

/// What builds contexts: the moment, what the system believes, and what was found so far.
pub(super) struct Builder<'a> {
    system: &'a SystemRoots,
    /// When the files are judged.
    pub(super) now: UnixTime,
    /// What was found in files.
    pub(super) findings: Vec<Finding>,
    /// Certificates and roots that expire, for metrics.
    pub(super) expiries: Vec<Expiry>,
}

/// When something of a context expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// The file it stands in.
    pub(crate) path: Box<Path>,
    /// Whose it is.
    pub(crate) subject: Box<str>,
    /// Seconds of Unix time.
    pub(crate) not_after: i64,
}

impl<'a> Builder<'a> {
    pub(super) fn new(system: &'a SystemRoots) -> Self {
        Builder { system, now: UnixTime::now(), findings: Vec::new(), expiries: Vec::new() }
    }

    /// Whether something keeps the set out.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    fn expires(&mut self, path: &Path, facts: &CertFacts) {
        let expiry = Expiry { path: path.into(), subject: facts.subject.clone(), not_after: facts.not_after };
        // Of several in one file the first to expire counts: one series a file.
        match self.expiries.iter_mut().find(|known| known.path == expiry.path) {
            Some(known) if known.not_after > expiry.not_after => *known = expiry,
            Some(_) => {}
            None => self.expiries.push(expiry),
        }
    }

    /// A certificate with its key.
    pub(super) fn certificate(
        &mut self,
        files: &CertificateFiles,
        set: &FileSet,
        provider: &CryptoProvider,
    ) -> Option<material::OwnCertificate> {
        let own = material::certificate(files, set, provider, self.now, &mut self.findings)?;
        self.expires(&files.certificate, &own.facts);
        Some(own)
    }

    /// The verifier that `trust` asks for; `None` when nobody is verified, or with errors.
    pub(super) fn verifier(
        &mut self,
        trust: &Trust,
        set: &FileSet,
        provider: &CryptoProvider,
        mandatory: bool,
    ) -> Option<PeerVerifier> {
        let mut hints = Vec::new();
        let anchors = match &trust.roots {
            Roots::None => return None,
            Roots::System => Anchors::Plain(self.system_roots()?),
            Roots::Files(paths) => {
                let mut all = Vec::new();
                for path in paths {
                    let read = material::anchors(path, set, self.now, &mut self.findings);
                    all.extend(self.take_roots(path, read, &mut hints));
                }
                Anchors::Plain(all.into())
            }
            Roots::Spiffe(bundles) => {
                let mut domains = HashMap::new();
                for (domain, path) in bundles {
                    let read = material::bundle(path, set, self.now, &mut self.findings);
                    let roots = self.take_roots(path, read, &mut hints);
                    domains.insert(domain.clone(), roots.into_boxed_slice());
                }
                Anchors::Spiffe(domains)
            }
        };
        let mut revoked = Vec::new();
        for path in &trust.crl {
            revoked.extend(material::revocations(path, set, &mut self.findings));
        }
        let algorithms = provider.signature_verification_algorithms;
        Some(PeerVerifier {
            anchors,
            revoked,
            permitted: trust.permitted.clone(),
            algorithms,
            hints,
            mandatory,
        })
    }

    fn take_roots(
        &mut self,
        path: &Path,
        roots: Vec<(TrustAnchor<'static>, CertFacts)>,
        hints: &mut Vec<DistinguishedName>,
    ) -> Vec<TrustAnchor<'static>> {
        let mut anchors = Vec::with_capacity(roots.len());
        for (anchor, facts) in roots {
            self.expires(path, &facts);
            hints.push(DistinguishedName::in_sequence(&anchor.subject));
            anchors.push(anchor);
        }
        anchors
    }

    fn system_roots(&mut self) -> Option<Arc<[TrustAnchor<'static>]>> {
        self.system
            .anchors()
            .map_err(|why| {
                let what = format!("this system has no roots to believe{why}");
                let help = "install the package `ca-certificates`, or say whom to believe with `ca`";
                self.findings.push(Finding::error(Path::new(SYSTEM_ROOTS), what).help(help));
            })
            .ok()
    }
}

/// The files that `trust` names.
pub(super) fn trust_files(trust: &Trust) -> impl Iterator<Item = &Path> + Clone {
    let roots: &[std::path::PathBuf] = match &trust.roots {
        Roots::Files(paths) => paths,
        _ => &[],
    };
    let bundles = match &trust.roots {
        Roots::Spiffe(bundles) => &**bundles,
        _ => &[],
    };
    let bundles = bundles.iter().map(|(_, path)| &**path);
    roots.iter().map(|path| &**path).chain(bundles).chain(trust.crl.iter().map(|path| &**path))
}

/// The files of one certificate.
pub(super) fn certificate_files(files: &CertificateFiles) -> impl Iterator<Item = &Path> + Clone {
    [&files.certificate, &files.private_key].into_iter().chain(&files.ocsp).map(|path| &**path)
}

/// aws-lc-rs with the configured suites and groups.
pub(super) fn provider(parameters: &TlsParameters) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: parameters.suites.iter().map(|&chosen| suite(chosen)).collect(),
        kx_groups: parameters.groups.iter().map(|&chosen| group(chosen)).collect(),
        ..aws_lc_rs::default_provider()
    })
}

/// The configured versions.
pub(super) fn versions(parameters: &TlsParameters) -> Vec<&'static SupportedProtocolVersion> {
    let spoken = parameters.min_version..=parameters.max_version;
    let all = [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
    all.into_iter().filter(|(version, _)| spoken.contains(version)).map(|(_, version)| version).collect()
}

/// The protocols as they go over the wire.
pub(super) fn alpn(names: &[Box<str>]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

const fn suite(chosen: CipherSuite) -> SupportedCipherSuite {
    match chosen {
        CipherSuite::Tls13Aes128GcmSha256 => suites::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Tls13Aes256GcmSha384 => suites::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Tls13Chacha20Poly1305Sha256 => suites::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheEcdsaAes128GcmSha256 => suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaAes256GcmSha384 => suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaChacha20Poly1305Sha256 => {
            suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        CipherSuite::EcdheRsaAes128GcmSha256 => suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaAes256GcmSha384 => suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaChacha20Poly1305Sha256 => suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

const fn group(chosen: Group) -> &'static dyn SupportedKxGroup {
    match chosen {
        Group::X25519MlKem768 => groups::X25519MLKEM768,
        Group::Secp256r1MlKem768 => groups::SECP256R1MLKEM768,
        Group::X25519 => groups::X25519,
        Group::Secp256r1 => groups::SECP256R1,
        Group::Secp384r1 => groups::SECP384R1,
    }
}
