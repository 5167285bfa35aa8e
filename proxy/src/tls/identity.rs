//! What a certificate says of its owner.
//!
//! Invariants: identities are made of certificates that were verified; names are taken as they stand, and a
//! certificate whose names can't all be read has no SPIFFE id.
//!
//! Not here: verifying (`verify`), rules for peers (`pinion_core::tls`).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pinion_core::tls::{CertDetails, ForwardedCert, PeerIdentity, SpiffeId};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What one certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertFacts {
    /// Subject and issuer in the form of RFC 4514.
    pub(super) subject: Box<str>,
    pub(super) issuer: Box<str>,
    /// The same as they are encoded.
    pub(super) subject_der: Box<[u8]>,
    pub(super) issuer_der: Box<[u8]>,
    /// The serial number in lower-case hexadecimal.
    pub(super) serial: Box<str>,
    /// URI and DNS names.
    pub(super) uris: Box<[Box<str>]>,
    pub(super) dns: Box<[Box<str>]>,
    /// An authority's certificate.
    pub(super) is_ca: bool,
    /// The key may sign certificates or revocation lists.
    pub(super) may_issue: bool,
    /// An alternative name could not be read.
    pub(super) odd_names: bool,
    /// The validity, in seconds of Unix time.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl CertFacts {
    /// Reads a certificate; `None` when it is damaged.
    pub(super) fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, cert) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (mut uris, mut dns, mut odd_names) = (Vec::new(), Vec::new(), false);
        match cert.subject_alternative_name() {
            Ok(Some(names)) => {
                for name in &names.value.general_names {
                    match name {
                        GeneralName::URI(uri) => uris.push(Box::from(*uri)),
                        GeneralName::DNSName(name) => dns.push(Box::from(*name)),
                        GeneralName::Invalid(..) => odd_names = true,
                        _ => {}
                    }
                }
            }
            Ok(None) => {}
            Err(_) => odd_names = true,
        }
        let usage = cert.key_usage().ok()?;
        Some(CertFacts {
            subject: name(cert.subject()),
            issuer: name(cert.issuer()),
            subject_der: cert.subject().as_raw().into(),
            issuer_der: cert.issuer().as_raw().into(),
            serial: hex(cert.raw_serial()),
            uris: uris.into(),
            dns: dns.into(),
            is_ca: cert.is_ca(),
            may_issue: usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()),
            odd_names,
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
        })
    }

    /// The SPIFFE id, if the certificate is an X.509-SVID of a workload (X509-SVID sections 2 to 5).
    pub(super) fn spiffe(&self) -> Result<SpiffeId, NoSvid> {
        let [uri] = &*self.uris else {
            return Err(if self.uris.is_empty() { NoSvid::NoUri } else { NoSvid::SeveralUris });
        };
        let id: SpiffeId = uri.parse().map_err(|_| NoSvid::NotSpiffe)?;
        if self.odd_names {
            return Err(NoSvid::OddNames);
        }
        if self.is_ca || self.may_issue {
            return Err(NoSvid::Authority);
        }
        if id.path().is_empty() {
            return Err(NoSvid::NoPath);
        }
        Ok(id)
    }
}

/// Why a certificate is no X.509-SVID of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSvid {
    /// It has no URI name.
    NoUri,
    /// It has more than one.
    SeveralUris,
    /// Its URI name is no SPIFFE id.
    NotSpiffe,
    /// A name in it can't be read.
    OddNames,
    /// It is an authority's certificate, or its key may sign others.
    Authority,
    /// Its id has no path: it stands for the trust domain itself.
    NoPath,
}

impl NoSvid {
    /// The reason in words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            NoSvid::NoUri => "the certificate has no URI name",
            NoSvid::SeveralUris => "the certificate has more than one URI name",
            NoSvid::NotSpiffe => "the certificate's URI name is no SPIFFE id",
            NoSvid::OddNames => "the certificate has a name that can't be read",
            NoSvid::Authority => "the certificate is an authority's, not a workload's",
            NoSvid::NoPath => "the certificate's SPIFFE id names a trust domain, not a workload",
        }
    }
}

/// The identity that a verified chain stands for, with its element for upstreams; `by` are the URI names of
/// the certificate that the proxy showed. `None` without a certificate or for one that can't be read.
pub(super) fn identity(
    chain: &[CertificateDer<'_>],
    by: &[Box<str>],
    details: CertDetails,
) -> Option<PeerIdentity> {
    let leaf = chain.first()?;
    let facts = CertFacts::read(leaf)?;
    let sha256 = hex(digest(&SHA256, leaf).as_ref());
    let forwarded = ForwardedCert {
        by,
        hash: &sha256,
        subject: &facts.subject,
        uris: &facts.uris,
        dns: &facts.dns,
        cert: &if details.cert { pem(&chain[..1]) } else { String::new() },
        chain: &if details.chain { pem(chain) } else { String::new() },
    };
    let forwarded = forwarded.element(details).into_bytes().into_boxed_slice();
    Some(PeerIdentity {
        spiffe: facts.spiffe().ok(),
        uris: facts.uris,
        dns: facts.dns,
        subject: facts.subject,
        issuer: facts.issuer,
        serial: facts.serial,
        sha256,
        not_after: facts.not_after,
        forwarded,
    })
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

fn pem(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in chain {
        let body = STANDARD.encode(der);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// A name in the form of RFC 4514: the last part first, parts divided by commas.
fn name(name: &X509Name<'_>) -> Box<str> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (place, part) in parts.into_iter().rev().enumerate() {
        if place > 0 {
            text.push(',');
        }
        for (place, attribute) in part.iter().enumerate() {
            if place > 0 {
                text.push('+');
            }
            one_attribute(&mut text, attribute);
        }
    }
    text.into()
}

fn one_attribute(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let short = short_name(attribute.attr_type());
    match &short {
        Some(short) => text.push_str(short),
        None => text.push_str(&attribute.attr_type().to_id_string()),
    }
    text.push('=');
    match attribute.as_str() {
        Ok(value) if short.is_some() => escaped(text, value),
        // RFC 4514 section 2.4: what has no name of its own stands in hexadecimal.
        _ => {
            text.push('#');
            text.push_str(&hex(attribute.attr_value().data));
        }
    }
}

/// The names of RFC 4514 section 3, and the two that subjects often have beside them.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    Some(match kind.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        "2.5.4.5" => "serialNumber",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// RFC 4514 section 2.4. Control characters are written in hexadecimal, as OpenSSL does.
fn escaped(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, char) in value.char_indices() {
        let special = matches!(char, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (char == '#' && at == 0)
            || (char == ' ' && (at == 0 || at == last));
        if char.is_control() {
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                let _ = write!(text, "\\{byte:02X}");
            }
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(char);
    }
}
