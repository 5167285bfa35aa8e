//! What the proxy shows to a cluster's endpoints and whom it believes there.
//!
//! Invariants:
//! - a handshake takes one context and keeps it to its end;
//! - sessions are resumed within one context only: what they were verified by still holds;
//! - the sessions kept are bounded by [`SESSION_NAMES_MAX`].
//!
//! Not here: handshakes, reading files again (`config::reload`).

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pinion_core::config::snapshot::{Address, ClusterTls, Ktls};
use pinion_core::tls::{CertDetails, PeerIdentity};
use rustls::client::Resumption;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};

use super::context::{self, Builder, Expiry, SystemRoots, certificate_files, trust_files};
use super::files::{Digests, FileSet};
use super::handshake::Shown;
use super::identity::identity;
use super::material::Finding;
use super::verify::{PeerRefused, PeerVerifier};

/// Server names of one cluster whose sessions are kept, all shards together: up to 8 tickets each of some
/// 2 KiB. More push the oldest out.
const SESSION_NAMES_MAX: usize = 256;

/// The TLS of one cluster over reloads of its files.
pub(crate) struct ClientTls {
    /// What it was made for.
    pub(super) settings: ClusterTls,
    current: ArcSwap<ClientContext>,
}

/// Every file that `settings` need.
fn files(settings: &ClusterTls) -> impl Iterator<Item = &Path> + Clone {
    settings.certificate.iter().flat_map(certificate_files).chain(trust_files(&settings.trust))
}

impl ClientTls {
    /// Reads the files and builds the first context; warnings are left in `findings`.
    pub(super) fn load(
        settings: ClusterTls,
        system: &SystemRoots,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let context = match FileSet::read(files(&settings)) {
            Ok(set) => ClientContext::build(&settings, &set, system, findings)?,
            Err(found) => {
                findings.extend(found);
                return None;
            }
        };
        Some(ClientTls { settings, current: ArcSwap::from_pointee(context) })
    }

    /// The context for a handshake that begins now.
    pub(crate) fn current(&self) -> Arc<ClientContext> {
        self.current.load_full()
    }

    /// Every file that is needed.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        files(&self.settings)
    }

    /// Whether the name that is asked for and verified comes from the request: then a connection serves
    /// requests for that host only.
    pub(crate) fn names_by_request(&self) -> bool {
        self.settings.server_name.is_none()
    }

    /// The name to ask for, and to verify unless permitted peers take its place: the configured one, else
    /// the request's host (with or without a port), else the endpoint's address, which is verified but not
    /// sent. `None` when none of them can be a name.
    pub(crate) fn name(&self, endpoint: &Address, request_host: &str) -> Option<ServerName<'static>> {
        if let Some(name) = &self.settings.server_name {
            return ServerName::try_from(String::from(&**name)).ok();
        }
        let host = without_port(request_host);
        if let Ok(name) = ServerName::try_from(host.to_ascii_lowercase()) {
            return Some(name);
        }
        match endpoint {
            Address::Tcp(address) => Some(ServerName::IpAddress(address.ip().into())),
            // Nothing is verified by this name, and addresses are not sent.
            Address::Unix(_) if !self.settings.trust.permitted.is_empty() => {
                Some(ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()))
            }
            Address::Unix(_) => None,
        }
    }

    /// Reads the files again. A set that differs and can be used comes in; one that can't is kept out and
    /// `None`. Otherwise says whether the context changed.
    pub(super) fn refresh(&self, system: &SystemRoots, findings: &mut Vec<Finding>) -> Option<bool> {
        let set = match FileSet::read(files(&self.settings)) {
            Ok(set) => set,
            Err(found) => {
                findings.extend(found);
                return None;
            }
        };
        if self.current.load().digests == set.digests() {
            return Some(false);
        }
        let new = ClientContext::build(&self.settings, &set, system, findings)?;
        self.current.store(Arc::new(new));
        Some(true)
    }
}

/// The host of an authority, without brackets and port.
fn without_port(authority: &str) -> &str {
    if let Some(inner) = authority.strip_prefix('[') {
        return inner.split(']').next().unwrap_or_default();
    }
    match authority.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => authority,
    }
}

/// What handshakes of one moment are made with.
pub(crate) struct ClientContext {
    /// For rustls.
    pub(crate) config: Arc<ClientConfig>,
    /// When the kernel takes the records.
    pub(crate) ktls: Ktls,
    verifier: Arc<PeerVerifier>,
    expiries: Box<[Expiry]>,
    digests: Digests,
}

impl ClientContext {
    /// The context that `set` makes; `None` with an error among the findings.
    fn build(
        settings: &ClusterTls,
        set: &FileSet,
        system: &SystemRoots,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let mut builder = Builder::new(system);
        let provider = context::provider(&settings.parameters);
        let own = settings.certificate.as_ref().map(|own| builder.certificate(own, set, &provider));
        let verifier = builder.verifier(&settings.trust, set, &provider, true);
        let failed = builder.has_errors();
        findings.append(&mut builder.findings);
        let verifier = Arc::new(verifier.filter(|_| !failed)?);
        let versions = context::versions(&settings.parameters);
        let made = match ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions) {
            Ok(made) => made,
            Err(error) => {
                findings.push(Finding::error(Path::new(""), format!("TLS can't be set up: {error}")));
                return None;
            }
        };
        let made = made.dangerous().with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>);
        let mut config = match own {
            Some(own) => {
                made.with_client_cert_resolver(Arc::new(SingleCertAndKey::from((*own?.key).clone())))
            }
            None => made.with_no_client_auth(),
        };
        config.alpn_protocols = context::alpn(&settings.alpn);
        // The kernel gets the keys from the library.
        config.enable_secret_extraction = settings.ktls != Ktls::Off;
        config.resumption = match settings.resumption {
            true => Resumption::in_memory_sessions(SESSION_NAMES_MAX),
            false => Resumption::disabled(),
        };
        Some(ClientContext {
            config: Arc::new(config),
            ktls: settings.ktls,
            verifier,
            expiries: builder.expiries.into(),
            digests: set.digests(),
        })
    }

    /// Who the endpoint is, by the chain it showed, of which rustls has verified what was shown in this
    /// handshake. The certificate of a resumed session is judged again: it may have expired since. Refused
    /// with the reason.
    pub(crate) fn admit(&self, shown: Shown<'_>) -> Result<Option<PeerIdentity>, Error> {
        let Some((leaf, rest)) = shown.chain.split_first() else { return Ok(None) };
        if shown.resumed {
            // Sessions are kept by name, so that the name need not be verified again.
            let again = self.verifier.server(leaf, rest, None, UnixTime::now());
            again.map_err(|_| PeerRefused::NoLongerGood)?;
        }
        Ok(identity(shown.chain, &[], CertDetails::default()))
    }

    /// When certificates and roots expire, one a file.
    pub(crate) fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }
}
