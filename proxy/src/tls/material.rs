//! What files hold: certificates with keys, roots, SPIFFE bundles, revocation lists; and what is wrong.
//!
//! Invariants: everything that is wrong in a set is found in one go; an error keeps the set out, a warning
//! does not.
//!
//! Not here: reading (`files`), what is made of it (`server`, `client`, `verify`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinion_core::config::Severity;
use pinion_core::config::snapshot::CertificateFiles;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use serde_json::Value;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::files::{FileSet, sections};
use super::identity::CertFacts;
use super::ocsp;

/// Something about a file that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) path: PathBuf,
    /// Whether the set can't be used.
    pub(crate) severity: Severity,
    /// What is wrong, one sentence without a full stop.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Finding {
    /// The set can't be used.
    pub(super) fn error(path: &Path, message: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), severity: Severity::Error, message: message.into(), help: None }
    }

    /// Probably not what was meant.
    pub(super) fn warning(path: &Path, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(path, message) }
    }

    /// With what to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A certificate that the proxy shows.
#[derive(Clone, Debug)]
pub(super) struct OwnCertificate {
    /// For handshakes.
    pub(super) key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub(super) facts: CertFacts,
    /// Where it came from.
    pub(super) path: PathBuf,
}

/// Reads a certificate with its key; `None` when it can't be used, which is then found.
pub(super) fn certificate(
    files: &CertificateFiles,
    set: &FileSet,
    provider: &CryptoProvider,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Option<OwnCertificate> {
    let chain = chain(&files.certificate, set, findings);
    let key = private_key(&files.private_key, set, findings);
    let (chain, key) = (chain?, key?);
    let facts: Vec<CertFacts> = match chain.iter().map(|der| CertFacts::read(der)).collect() {
        Some(facts) => facts,
        None => {
            findings.push(Finding::error(&files.certificate, "a certificate in it is damaged"));
            return None;
        }
    };
    let signing = match provider.key_provider.load_private_key(key) {
        Ok(signing) => signing,
        Err(error) => {
            let what = format!("the key can't be used: {error}");
            findings.push(
                Finding::error(&files.private_key, what)
                    .help("ECDSA with P-256, P-384 or P-521, Ed25519, or RSA from 2048 bits"),
            );
            return None;
        }
    };
    let matches = |leaf: &CertificateDer<'static>| {
        let pair = CertifiedKey::new(vec![leaf.clone()], Arc::clone(&signing));
        !matches!(
            pair.keys_match(),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
        )
    };
    if !matches(&chain[0]) {
        let shown = files.certificate.display();
        let finding = Finding::error(
            &files.private_key,
            format!("the key does not belong to the certificate in `{shown}`"),
        );
        findings.push(match chain.iter().position(matches) {
            Some(place) => finding.help(format!(
                "it belongs to certificate {} of the file: the certificate itself must come first, its issuers after it",
                place + 1
            )),
            None => finding.help("take the key that the certificate was made with"),
        });
        return None;
    }
    judge_chain(&files.certificate, &facts, now, findings);
    judge_permissions(&files.private_key, findings);
    let mut certified = CertifiedKey::new(chain, signing);
    if let Some(path) = &files.ocsp {
        certified.ocsp = staple(path, set, now, findings);
    }
    let leaf = facts.into_iter().next()?;
    Some(OwnCertificate { key: Arc::new(certified), facts: leaf, path: files.certificate.clone() })
}

fn chain(path: &Path, set: &FileSet, findings: &mut Vec<Finding>) -> Option<Vec<CertificateDer<'static>>> {
    match sections(set.bytes(path)) {
        Ok(list) if list.is_empty() => {
            let finding = Finding::error(path, format!("there is no certificate in `{}`", path.display()));
            findings.push(finding.help("a PEM file with `-----BEGIN CERTIFICATE-----` is needed"));
            None
        }
        Ok(list) => Some(list),
        Err(error) => {
            findings.push(Finding::error(path, format!("`{}` is damaged: {error}", path.display())));
            None
        }
    }
}

fn private_key(path: &Path, set: &FileSet, findings: &mut Vec<Finding>) -> Option<PrivateKeyDer<'static>> {
    let bytes = set.bytes(path);
    let shown = path.display();
    match sections::<PrivateKeyDer<'static>>(bytes) {
        Ok(mut list) if list.len() == 1 => list.pop(),
        Ok(list) if list.is_empty() => {
            let locked = memchr_text(bytes, b"ENCRYPTED");
            findings.push(match locked {
                true => Finding::error(path, format!("the key in `{shown}` is encrypted"))
                    .help("nobody is there to type a passphrase: decrypt it, `openssl pkey -in … -out …`"),
                false => Finding::error(path, format!("there is no private key in `{shown}`"))
                    .help("a PEM file with `-----BEGIN PRIVATE KEY-----` is needed"),
            });
            None
        }
        Ok(_) => {
            findings.push(Finding::error(path, format!("there are several keys in `{shown}`")));
            None
        }
        Err(error) => {
            findings.push(Finding::error(path, format!("`{shown}` is damaged: {error}")));
            None
        }
    }
}

fn memchr_text(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Order, gaps and dates of a chain whose leaf comes first.
fn judge_chain(path: &Path, chain: &[CertFacts], now: UnixTime, findings: &mut Vec<Finding>) {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    for (place, cert) in chain.iter().enumerate() {
        let which = if place == 0 {
            "the certificate".to_owned()
        } else {
            format!("certificate {} of the chain", place + 1)
        };
        if now > cert.not_after {
            findings.push(
                Finding::warning(path, format!("{which} (`{}`) has expired", cert.subject))
                    .help("peers will refuse it: renew it"),
            );
        } else if now < cert.not_before {
            findings.push(
                Finding::warning(path, format!("{which} (`{}`) is not valid yet", cert.subject))
                    .help("peers will refuse it until then"),
            );
        }
    }
    for (place, pair) in chain.windows(2).enumerate() {
        if pair[0].issuer_der != pair[1].subject_der {
            findings.push(
                Finding::warning(
                    path,
                    format!(
                        "certificate {} of the chain (`{}`) did not issue the one before it",
                        place + 2,
                        pair[1].subject
                    ),
                )
                .help("each certificate is followed by its issuer; the root may be left out"),
            );
            return;
        }
    }
    if let [only] = chain
        && only.issuer_der == only.subject_der
        && only.is_ca
    {
        findings.push(
            Finding::warning(path, "the certificate is an authority's own, not one for a server or workload")
                .help("most peers refuse it: issue a certificate with it"),
        );
    }
}

/// A key that everybody on the machine may read or change.
fn judge_permissions(path: &Path, findings: &mut Vec<Finding>) {
    let Ok(found) = std::fs::metadata(path) else { return };
    let mode = found.permissions().mode();
    if mode & 0o022 != 0 || mode & 0o004 != 0 {
        findings.push(
            Finding::warning(path, format!("others may read or change the key (mode {:03o})", mode & 0o777))
                .help("`chmod 640`, or 600, with the user that runs the proxy"),
        );
    }
}

fn staple(path: &Path, set: &FileSet, now: UnixTime, findings: &mut Vec<Finding>) -> Option<Vec<u8>> {
    let bytes = set.bytes(path);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match ocsp::next_update(bytes) {
        Ok(until) if until.is_none_or(|until| until >= now) => Some(bytes.to_vec()),
        Ok(_) => {
            findings.push(
                Finding::warning(path, "the OCSP response has expired and is not stapled")
                    .help("fetch a new one, before its `nextUpdate`"),
            );
            None
        }
        Err(why) => {
            findings.push(
                Finding::error(path, format!("`{}` is no OCSP response to staple: {why}", path.display()))
                    .help("a DER file, as `openssl ocsp -respout …` writes it"),
            );
            None
        }
    }
}

/// The roots in PEM files.
pub(super) fn anchors(
    path: &Path,
    set: &FileSet,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Vec<(TrustAnchor<'static>, CertFacts)> {
    let list = chain(path, set, findings).unwrap_or_default();
    anchors_of(path, &list, now, findings)
}

fn anchors_of(
    path: &Path,
    list: &[CertificateDer<'static>],
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Vec<(TrustAnchor<'static>, CertFacts)> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut anchors = Vec::with_capacity(list.len());
    for der in list {
        match (webpki::anchor_from_trusted_cert(der), CertFacts::read(der)) {
            (Ok(anchor), Some(facts)) => {
                if now > facts.not_after {
                    let what = format!("the root `{}` has expired", facts.subject);
                    findings.push(
                        Finding::warning(path, what)
                            .help("nothing that it issued is believed for long: replace it"),
                    );
                }
                anchors.push((anchor.to_owned(), facts));
            }
            _ => findings.push(Finding::error(path, "a certificate in it is damaged or can't be a root")),
        }
    }
    anchors
}

/// The roots of a trust domain: PEM, or a SPIFFE bundle as JSON (a JWK set whose `x509-svid` keys count).
pub(super) fn bundle(
    path: &Path,
    set: &FileSet,
    now: UnixTime,
    findings: &mut Vec<Finding>,
) -> Vec<(TrustAnchor<'static>, CertFacts)> {
    let bytes = set.bytes(path);
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return anchors(path, set, now, findings);
    }
    match json_bundle(bytes) {
        Ok(list) => anchors_of(path, &list, now, findings),
        Err(why) => {
            findings.push(Finding::error(path, format!("`{}` is no SPIFFE bundle: {why}", path.display())));
            Vec::new()
        }
    }
}

/// SPIFFE Trust Domain and Bundle, section 4: keys of use `x509-svid` carry one certificate in `x5c`.
fn json_bundle(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let keys = document.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
    let mut list = Vec::new();
    for key in keys.iter().filter(|key| key.get("use").and_then(Value::as_str) == Some("x509-svid")) {
        let certs = key.get("x5c").and_then(Value::as_array).map(Vec::as_slice);
        let [cert] = certs.unwrap_or_default() else {
            return Err("a key of use `x509-svid` must have exactly one certificate in `x5c`".to_owned());
        };
        let text = cert.as_str().ok_or("`x5c` holds something else than text")?;
        let der = STANDARD.decode(text).map_err(|error| format!("`x5c`: {error}"))?;
        list.push(CertificateDer::from(der));
    }
    if list.is_empty() { Err("it has no key of use `x509-svid`".to_owned()) } else { Ok(list) }
}

/// Revocation lists of a file, PEM or DER.
pub(super) fn revocations(
    path: &Path,
    set: &FileSet,
    findings: &mut Vec<Finding>,
) -> Vec<CertRevocationList<'static>> {
    let bytes = set.bytes(path);
    let ders: Vec<CertificateRevocationListDer<'static>> = match memchr_text(bytes, b"-----BEGIN") {
        false => vec![CertificateRevocationListDer::from(bytes.to_vec())],
        true => match sections(bytes) {
            Ok(list) => list,
            Err(error) => {
                findings.push(Finding::error(path, format!("`{}` is damaged: {error}", path.display())));
                return Vec::new();
            }
        },
    };
    if ders.is_empty() {
        findings.push(Finding::error(path, format!("there is no revocation list in `{}`", path.display())));
    }
    let mut lists = Vec::with_capacity(ders.len());
    for der in ders {
        match OwnedCertRevocationList::from_der(&der) {
            Ok(list) => lists.push(CertRevocationList::Owned(list)),
            Err(error) => findings.push(Finding::error(
                path,
                format!("`{}` is no revocation list that can be used: {error}", path.display()),
            )),
        }
    }
    lists
}
