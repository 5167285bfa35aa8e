//! Compiles `[listeners.tls]` and `[clusters.tls]`, and lists the files they name.
//!
//! Not here: what is in the files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::http2::ClusterProtocol;
use super::super::problem::Problems;
use super::super::read::{At, Entries};
use super::super::schema::{self, CertDetail, Document, OneOrMore};
use super::super::snapshot::{
    CertificateFiles, CipherSuite, ClientCertificate, Cluster, ClusterTls, Group, Listener, ListenerTls,
    Protocol, Roots, SYSTEM_ROOTS, TlsFile, TlsOwner, TlsParameters, TlsVersion, Trust,
};
use super::{positive, within};
use crate::limits::{ALPN_BYTES_MAX, LISTENER_CERTIFICATES_MAX};
use crate::tls::{CertDetails, IdentityMatch, TrustDomain};

/// Fills in the TLS of listeners and clusters, which stand in the order of their sections; says where files
/// are named.
pub(super) fn compile(
    document: &Document,
    listeners: &mut [Listener],
    clusters: &mut [Cluster],
    base_dir: &Path,
    problems: &mut Problems,
) -> Vec<TlsFile> {
    let mut files = Vec::new();
    for (place, (section, listener)) in document.listeners.iter().zip(listeners).enumerate() {
        let Some(tls) = &section.value.tls else { continue };
        let mut named = Named { owner: TlsOwner::Listener(place), base_dir, files: &mut files };
        listener.tls = Some(of_listener(tls, listener.protocol, &mut named, problems));
    }
    for (place, (section, cluster)) in document.clusters.iter().zip(clusters).enumerate() {
        let Some(tls) = &section.value.tls else { continue };
        let mut named = Named { owner: TlsOwner::Cluster(place), base_dir, files: &mut files };
        cluster.tls = Some(of_cluster(tls, section.value.protocol.value, &mut named, problems));
    }
    files
}

/// The details that `[listeners.forwarding]` asks for.
pub(super) fn details(list: &At<Vec<At<CertDetail>>>) -> CertDetails {
    let has = |detail| list.value.iter().any(|item| item.value == detail);
    CertDetails {
        subject: has(CertDetail::Subject),
        uri: has(CertDetail::Uri),
        dns: has(CertDetail::Dns),
        cert: has(CertDetail::Cert),
        chain: has(CertDetail::Chain),
    }
}

/// The files named so far, of one owner.
struct Named<'a> {
    owner: TlsOwner,
    base_dir: &'a Path,
    files: &'a mut Vec<TlsFile>,
}

impl Named<'_> {
    fn file(&mut self, name: &At<String>, problems: &mut Problems) -> PathBuf {
        if name.value.is_empty() {
            problems.error(name.span.clone(), "the file's name is empty");
        }
        let path = self.base_dir.join(&name.value);
        self.files.push(TlsFile { owner: self.owner, path: path.clone(), span: name.span.clone() });
        path
    }

    fn all(&mut self, names: Option<&At<OneOrMore>>, problems: &mut Problems) -> Box<[PathBuf]> {
        names.iter().flat_map(|names| &names.value.0).map(|name| self.file(name, problems)).collect()
    }

    /// A certificate with its key; `None` with neither, reported with only one.
    fn pair(
        &mut self,
        certificate: Option<&At<String>>,
        private_key: Option<&At<String>>,
        ocsp: Option<&At<String>>,
        problems: &mut Problems,
    ) -> Option<CertificateFiles> {
        match (certificate, private_key) {
            (Some(certificate), Some(key)) => Some(CertificateFiles {
                certificate: self.file(certificate, problems),
                private_key: self.file(key, problems),
                ocsp: ocsp.map(|ocsp| self.file(ocsp, problems)),
            }),
            (Some(lonely), None) => {
                problems
                    .error(lonely.span.clone(), "a certificate needs its key")
                    .suggest("add `private_key = …`, a PEM file");
                None
            }
            (None, Some(lonely)) => {
                problems
                    .error(lonely.span.clone(), "a key needs its certificate")
                    .suggest("add `certificate = …`, a PEM file with the whole chain");
                None
            }
            (None, None) => {
                if let Some(ocsp) = ocsp {
                    problems.error(ocsp.span.clone(), "there is no certificate that this belongs to");
                }
                None
            }
        }
    }
}

fn of_listener(
    section: &At<schema::ListenerTls>,
    protocol: Protocol,
    named: &mut Named<'_>,
    problems: &mut Problems,
) -> ListenerTls {
    let tls = &section.value;
    let first = named.pair(tls.certificate.as_ref(), tls.private_key.as_ref(), tls.ocsp.as_ref(), problems);
    let mut certificates: Vec<_> = first.into_iter().collect();
    for entry in &tls.certificates {
        let entry = &entry.value;
        // Missing keys were reported when the entry was read.
        if let (Some(certificate), Some(key)) = (&entry.certificate, &entry.private_key) {
            certificates.extend(named.pair(Some(certificate), Some(key), entry.ocsp.as_ref(), problems));
        }
    }
    let written = tls.certificate.is_some() || tls.private_key.is_some() || !tls.certificates.is_empty();
    if !written && !section.damaged {
        problems
            .error(section.span.clone(), "a listener with TLS needs a certificate")
            .suggest("add `certificate = …` and `private_key = …`, PEM files");
    }
    if certificates.len() > LISTENER_CERTIFICATES_MAX {
        problems.error(
            section.span.clone(),
            format!("a listener takes at most {LISTENER_CERTIFICATES_MAX} certificates"),
        );
    }
    let roots = roots((tls.client_ca.as_ref(), "client_ca"), tls.trust_bundles.as_ref(), named, problems);
    let client = client_certificate(tls, &roots, problems);
    let trust = Trust {
        crl: named.all(tls.crl.as_ref(), problems),
        permitted: permitted(tls.permitted_peers.as_ref(), client != ClientCertificate::None, problems),
        roots: roots.unwrap_or_default(),
    };
    if let Some(crl) = tls.crl.as_ref().filter(|_| client == ClientCertificate::None) {
        problems.warning(crl.span.clone(), "no client certificate is asked for: nothing is revoked");
    }
    within(&tls.handshakes_max, 1, u64::MAX, "handshakes_max", problems);
    let speaks: &[&str] = match protocol.label() {
        "http1" => &["http/1.1"],
        "http2" => &["h2"],
        "tcp" | "tls-passthrough" => &[],
        _ => &["h2", "http/1.1"],
    };
    ListenerTls {
        mode: tls.mode.value,
        certificates: certificates.into(),
        alpn: alpn(tls.alpn.as_ref(), speaks, problems),
        client,
        trust,
        parameters: parameters(
            (&tls.min_version, &tls.max_version),
            tls.cipher_suites.as_ref(),
            &tls.groups,
            problems,
        ),
        tickets: tls.tickets.value,
        ktls: tls.ktls.value,
        handshake_timeout: positive(&tls.handshake_timeout, "handshake_timeout", problems),
        handshakes_max: tls.handshakes_max.value,
    }
}

fn client_certificate(
    tls: &schema::ListenerTls,
    roots: &Option<Roots>,
    problems: &mut Problems,
) -> ClientCertificate {
    let Some(asked) = &tls.client_certificate else {
        return if roots.is_some() { ClientCertificate::Require } else { ClientCertificate::None };
    };
    if asked.value != ClientCertificate::None && roots.is_none() {
        problems
            .error(asked.span.clone(), "nothing says whose client certificates are believed")
            .suggest("add `client_ca = …`, a PEM file with the roots, or `trust_bundles`");
    }
    asked.value
}

fn of_cluster(
    section: &At<schema::ClusterTls>,
    protocol: ClusterProtocol,
    named: &mut Named<'_>,
    problems: &mut Problems,
) -> ClusterTls {
    let tls = &section.value;
    let roots = roots((tls.ca.as_ref(), "ca"), tls.trust_bundles.as_ref(), named, problems);
    let spiffe = matches!(roots, Some(Roots::Spiffe(_)));
    let permitted = permitted(tls.permitted_peers.as_ref(), true, problems);
    if spiffe && permitted.is_empty() && tls.permitted_peers.as_ref().is_none_or(|list| !list.damaged) {
        problems
            .error(
                section.span.clone(),
                "with `trust_bundles` every workload of the trust domains could answer",
            )
            .suggest("say who may: `permitted_peers = [\"spiffe://example.org/ns/a/sa/b\"]`");
    }
    if let Some(name) = &tls.server_name {
        let text = &name.value;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_name = text.len() <= 253 && text.split('.').all(label);
        if !is_name && text.parse::<std::net::IpAddr>().is_err() {
            problems
                .error(name.span.clone(), format!("`{text}` is no host name"))
                .suggest("a name such as \"service.example.com\", without port or scheme");
        }
    }
    if roots.is_none() {
        let path = PathBuf::from(SYSTEM_ROOTS);
        named.files.push(TlsFile { owner: named.owner, path, span: section.span.clone() });
    }
    let speaks: &[&str] = match protocol {
        ClusterProtocol::Http1 => &["http/1.1"],
        ClusterProtocol::Http2 => &["h2"],
        ClusterProtocol::Auto => &["h2", "http/1.1"],
        ClusterProtocol::Tcp => &[],
    };
    ClusterTls {
        server_name: tls.server_name.as_ref().map(|name| name.value.to_ascii_lowercase().into()),
        certificate: named.pair(tls.certificate.as_ref(), tls.private_key.as_ref(), None, problems),
        alpn: alpn(tls.alpn.as_ref(), speaks, problems),
        trust: Trust {
            crl: named.all(tls.crl.as_ref(), problems),
            permitted,
            roots: roots.unwrap_or(Roots::System),
        },
        parameters: parameters(
            (&tls.min_version, &tls.max_version),
            tls.cipher_suites.as_ref(),
            &tls.groups,
            problems,
        ),
        resumption: tls.resumption.value,
        ktls: tls.ktls.value,
    }
}

/// Roots by file or by trust domain; `None` when neither is written.
fn roots(
    (files, key): (Option<&At<OneOrMore>>, &str),
    bundles: Option<&At<Entries<String>>>,
    named: &mut Named<'_>,
    problems: &mut Problems,
) -> Option<Roots> {
    if let (Some(files), Some(bundles)) = (files, bundles) {
        problems
            .error(bundles.span.clone(), format!("`trust_bundles` takes the place of `{key}`"))
            .other(&files.span, "given here too")
            .suggest(format!("a SPIFFE id says which bundle verifies it: leave out `{key}`"));
    }
    if let Some(bundles) = bundles {
        if bundles.value.is_empty() && !bundles.damaged {
            problems
                .error(bundles.span.clone(), "there is no bundle")
                .suggest("write `{ \"example.org\" = \"bundle.pem\" }`");
        }
        let mut seen = HashMap::new();
        let mut list = Vec::with_capacity(bundles.value.len());
        for (name, file) in &bundles.value {
            let path = named.file(file, problems);
            match name.value.parse::<TrustDomain>() {
                Ok(domain) => {
                    if let Some(first) = seen.insert(domain.clone(), name.span.clone()) {
                        problems
                            .error(name.span.clone(), format!("the trust domain `{domain}` is listed twice"))
                            .other(&first, "first listed here");
                    }
                    list.push((domain, path));
                }
                Err(error) => {
                    problems
                        .error(name.span.clone(), format!("`{}` is no trust domain: {error}", name.value));
                }
            }
        }
        return Some(Roots::Spiffe(list.into()));
    }
    let files = files?;
    if files.value.0.is_empty() && !files.damaged {
        problems.error(files.span.clone(), format!("`{key}` names no file"));
    }
    Some(Roots::Files(named.all(Some(files), problems)))
}

fn permitted(
    list: Option<&At<Vec<At<IdentityMatch>>>>,
    verified: bool,
    problems: &mut Problems,
) -> Box<[IdentityMatch]> {
    let Some(list) = list else { return Box::new([]) };
    if list.value.is_empty() && !list.damaged {
        problems
            .error(list.span.clone(), "nobody is permitted")
            .suggest("name at least one peer, or leave the key out to permit all that are verified");
    }
    if !verified {
        problems
            .error(list.span.clone(), "peers are permitted by certificates, and none is asked for")
            .suggest("add `client_ca = …` or `trust_bundles`");
    }
    list.value.iter().map(|rule| rule.value.clone()).collect()
}

fn alpn(list: Option<&At<Vec<At<String>>>>, speaks: &[&str], problems: &mut Problems) -> Box<[Box<str>]> {
    let Some(list) = list else { return speaks.iter().map(|name| (*name).into()).collect() };
    for name in &list.value {
        if name.value.is_empty() || name.value.len() > ALPN_BYTES_MAX {
            problems.error(name.span.clone(), format!("a protocol's name has 1 to {ALPN_BYTES_MAX} bytes"));
        } else if matches!(&*name.value, "h2" | "http/1.1")
            && !speaks.is_empty()
            && !speaks.contains(&&*name.value)
        {
            problems
                .error(
                    name.span.clone(),
                    format!("`{}` would be agreed on, but is not spoken here", name.value),
                )
                .suggest("change `protocol`, or leave it out");
        }
    }
    list.value.iter().map(|name| name.value.as_str().into()).collect()
}

fn parameters(
    (min, max): (&At<TlsVersion>, &At<TlsVersion>),
    suites: Option<&At<Vec<At<CipherSuite>>>>,
    groups: &At<Vec<At<Group>>>,
    problems: &mut Problems,
) -> TlsParameters {
    if min.value > max.value {
        problems.error(min.span.clone(), "`min_version` is above `max_version`");
    }
    let spoken = min.value..=max.value;
    let list: Vec<CipherSuite> = match suites {
        Some(suites) => suites.value.iter().map(|suite| suite.value).collect(),
        None => CipherSuite::ALL.into_iter().filter(|suite| spoken.contains(&suite.version())).collect(),
    };
    if let Some(suites) = suites.filter(|suites| !suites.damaged) {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let name = if version == TlsVersion::Tls12 { "1.2" } else { "1.3" };
            if spoken.contains(&version) && !list.iter().any(|suite| suite.version() == version) {
                problems
                    .error(suites.span.clone(), format!("no suite of TLS {name} is in the list"))
                    .suggest(format!("add one, or leave TLS {name} out with `min_version` or `max_version`"));
            }
        }
        for suite in suites.value.iter().filter(|suite| !spoken.contains(&suite.value.version())) {
            problems.warning(suite.span.clone(), "this suite belongs to a version that is not spoken");
        }
    }
    if groups.value.is_empty() && !groups.damaged {
        problems.error(groups.span.clone(), "without a group there is no key exchange");
    }
    TlsParameters {
        min_version: min.value,
        max_version: max.value,
        suites: list.into(),
        groups: groups.value.iter().map(|group| group.value).collect(),
    }
}
