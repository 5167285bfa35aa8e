//! What a listener shows and whom it believes: one context at a time, swapped when its files change.
//!
//! Which certificate: the exact server name, then the wildcard above it, then the first of all. Several of
//! one name (ECDSA and RSA, say) are tried in the order written for one that the client can verify.
//!
//! Invariants:
//! - a handshake takes one context and keeps it to its end;
//! - tickets of one listener open on every shard and nowhere else; they end when whom the listener believes
//!   changes, and a resumed session's certificate is judged again;
//! - server names are compared without case.
//!
//! Not here: handshakes, reading files again (`config::reload`).

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pinion_core::config::snapshot::{ClientCertificate, Ktls, Listener, ListenerTls, TlsMode};
use pinion_core::tls::{CertDetails, PeerIdentity};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};

use super::context::{self, Builder, Expiry, SystemRoots, certificate_files, trust_files};
use super::files::{Digests, FileSet};
use super::handshake::{Shown, Terms};
use super::identity::identity;
use super::material::{Finding, OwnCertificate};
use super::verify::{PeerRefused, PeerVerifier};
use crate::shard::link::SharedCount;

/// The TLS of one listener over reloads of its files.
pub(crate) struct ServerTls {
    /// What it was made for.
    pub(super) settings: ServerSettings,
    current: ArcSwap<ServerContext>,
    /// Handshakes at work, all shards.
    handshakes: Arc<SharedCount>,
}

/// What of a listener its TLS depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerSettings {
    pub(super) tls: ListenerTls,
    pub(super) details: CertDetails,
}

impl ServerSettings {
    /// Those of `listener`, if it has TLS.
    pub(super) fn of(listener: &Listener) -> Option<Self> {
        let details = listener.forwarding.client_cert_details;
        Some(ServerSettings { tls: listener.tls.clone()?, details })
    }

    /// Every file that is needed.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> + Clone {
        self.tls.certificates.iter().flat_map(certificate_files).chain(trust_files(&self.tls.trust))
    }
}

impl ServerTls {
    /// Reads the files and builds the first context; warnings are left in `findings`.
    pub(super) fn load(settings: ServerSettings, findings: &mut Vec<Finding>) -> Option<Self> {
        let context = ServerContext::load(&settings, None, findings)?;
        let current = ArcSwap::from_pointee(context);
        Some(ServerTls { settings, current, handshakes: Arc::default() })
    }

    /// The context for a handshake that begins now.
    pub(crate) fn current(&self) -> Arc<ServerContext> {
        self.current.load_full()
    }

    /// Plain text is taken beside TLS.
    pub(crate) fn is_permissive(&self) -> bool {
        self.settings.tls.mode == TlsMode::Permissive
    }

    /// What is demanded of a handshake.
    pub(crate) fn terms(&self) -> Terms<'_> {
        let tls = &self.settings.tls;
        Terms {
            timeout: tls.handshake_timeout,
            handshakes: &self.handshakes,
            handshakes_max: tls.handshakes_max,
            ktls: tls.ktls,
        }
    }

    /// Every file that is needed.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.settings.files()
    }

    /// Handshakes at work, all shards.
    pub(crate) fn handshakes(&self) -> u64 {
        self.handshakes.count()
    }

    /// Reads the files again. A set that differs and can be used comes in; one that can't is kept out and
    /// `None`. Otherwise says whether the context changed.
    pub(super) fn refresh(&self, findings: &mut Vec<Finding>) -> Option<bool> {
        let old = self.current.load_full();
        let set = match FileSet::read(self.settings.files()) {
            Ok(set) => set,
            Err(found) => {
                findings.extend(found);
                return None;
            }
        };
        if old.digests == set.digests() {
            return Some(false);
        }
        let new = ServerContext::build(&self.settings, &set, Some(&old), findings)?;
        self.current.store(Arc::new(new));
        Some(true)
    }
}

/// What handshakes of one moment are made with.
pub(crate) struct ServerContext {
    /// For rustls.
    pub(crate) config: Arc<ServerConfig>,
    details: CertDetails,
    certificates: Arc<Certificates>,
    verifier: Option<Arc<PeerVerifier>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    expiries: Box<[Expiry]>,
    digests: Digests,
}

impl ServerContext {
    fn load(settings: &ServerSettings, old: Option<&Self>, findings: &mut Vec<Finding>) -> Option<Self> {
        match FileSet::read(settings.files()) {
            Ok(set) => Self::build(settings, &set, old, findings),
            Err(found) => {
                findings.extend(found);
                None
            }
        }
    }

    /// The context that `set` makes; `None` with an error among the findings.
    fn build(
        settings: &ServerSettings,
        set: &FileSet,
        old: Option<&Self>,
        findings: &mut Vec<Finding>,
    ) -> Option<Self> {
        let tls = &settings.tls;
        // Listeners believe in files only.
        let system = SystemRoots::default();
        let mut builder = Builder::new(&system);
        let provider = context::provider(&tls.parameters);
        let own: Vec<_> =
            tls.certificates.iter().filter_map(|files| builder.certificate(files, set, &provider)).collect();
        let verifier = (tls.client != ClientCertificate::None)
            .then(|| builder.verifier(&tls.trust, set, &provider, tls.client == ClientCertificate::Require))
            .flatten()
            .map(Arc::new);
        let failed = builder.has_errors() || own.is_empty();
        findings.append(&mut builder.findings);
        if failed {
            return None;
        }
        let digests = set.digests();
        let trusted_alike = old.is_some_and(|old| old.digests.same(&digests, trust_files(&tls.trust)));
        let tickets = match old.filter(|_| trusted_alike).map(|old| old.tickets.clone()) {
            Some(tickets) => tickets,
            // Without randomness no handshake works either; then sessions are just not resumed.
            None => tls.tickets.then(|| Ticketer::new().ok()).flatten(),
        };
        let certificates = Arc::new(Certificates::new(own));
        let versions = context::versions(&tls.parameters);
        let made = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions);
        let unusable = |error: Error| Finding::error(Path::new(""), format!("TLS can't be set up: {error}"));
        let made = match made.map_err(unusable) {
            Ok(made) => made,
            Err(finding) => {
                findings.push(finding);
                return None;
            }
        };
        let made = match &verifier {
            Some(verifier) => made.with_client_cert_verifier(Arc::clone(verifier) as Arc<_>),
            None => made.with_no_client_auth(),
        };
        let mut config = made.with_cert_resolver(Arc::clone(&certificates) as Arc<_>);
        config.alpn_protocols = context::alpn(&tls.alpn);
        // The order written is the operator's wish; scanners find a server without one.
        config.ignore_client_order = true;
        // The kernel gets the keys from the library.
        config.enable_secret_extraction = tls.ktls != Ktls::Off;
        // Sessions live in tickets alone: nothing to bound, the same on every shard.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &tickets {
            config.ticketer = Arc::clone(tickets);
        }
        Some(ServerContext {
            config: Arc::new(config),
            details: settings.details,
            certificates,
            verifier,
            tickets,
            expiries: builder.expiries.into(),
            digests,
        })
    }

    /// Who the client is, by the chain it showed, of which rustls has verified what was shown in this
    /// handshake. `None` without a certificate. The certificate of a resumed session is judged again: it may
    /// have expired since. Refused with the reason.
    pub(crate) fn admit(&self, shown: Shown<'_>) -> Result<Option<PeerIdentity>, Error> {
        let (Some(verifier), Some((leaf, rest))) = (&self.verifier, shown.chain.split_first()) else {
            return Ok(None);
        };
        if shown.resumed {
            verifier.client(leaf, rest, UnixTime::now()).map_err(|_| PeerRefused::NoLongerGood)?;
        }
        let by = self.certificates.own_uris(shown.sni);
        let unreadable = Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
        identity(shown.chain, by, self.details).map(Some).ok_or(unreadable)
    }

    /// When certificates and roots expire, one a file.
    pub(crate) fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// The names that certificates are shown for, the default's first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.certificates.list.iter().flat_map(|own| own.facts.dns.iter().map(|name| &**name))
    }
}

/// A listener's certificates and which name gets which.
struct Certificates {
    list: Vec<OwnCertificate>,
    /// Names in lower case; a wildcard without its star, `.example.com`. Places in the order written.
    by_name: HashMap<Box<str>, Vec<usize>>,
    /// Places for a name that is absent or unknown: the first certificate, and others of the same names.
    default: Vec<usize>,
}

impl Certificates {
    fn new(list: Vec<OwnCertificate>) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (place, own) in list.iter().enumerate() {
            for name in &own.facts.dns {
                let name = name.to_ascii_lowercase();
                let key = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&name);
                let places = by_name.entry(key.into()).or_default();
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let names = |own: &OwnCertificate| (own.facts.dns.clone(), own.facts.uris.clone());
        let first = list.first().map(names);
        let default = list.iter().enumerate().filter(|(_, own)| Some(names(own)) == first);
        let default = default.map(|(place, _)| place).collect();
        Certificates { list, by_name, default }
    }

    /// The certificates for a server name, in the order written.
    fn of(&self, sni: Option<&str>) -> &[usize] {
        let Some(name) = sni else { return &self.default };
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let above = name.find('.').and_then(|dot| name.get(dot..));
        let found = self.by_name.get(name).or_else(|| self.by_name.get(above?));
        found.unwrap_or(&self.default)
    }

    /// URI names of the certificate that a client asking for `sni` is shown.
    fn own_uris(&self, sni: Option<&str>) -> &[Box<str>] {
        self.of(sni).first().and_then(|&place| self.list.get(place)).map_or(&[], |own| &own.facts.uris)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let places = self.of(hello.server_name());
        let fits = |place: &&usize| {
            let schemes = hello.signature_schemes();
            self.list.get(**place).is_some_and(|own| own.key.key.choose_scheme(schemes).is_some())
        };
        // When none fits rustls says so to the client.
        let &place = places.iter().find(fits).or(places.first())?;
        self.list.get(place).map(|own| Arc::clone(&own.key))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|own| &own.path)).finish()
    }
}
