//! The TLS of one configuration: a context holder for each listener and cluster that has any.
//!
//! Invariants: a part whose settings did not change is carried over with its sessions, tickets and last good
//! files; a configuration whose new parts can't be loaded is refused as a whole.
//!
//! Not here: noticing that files changed (`config::reload`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pinion_core::config::snapshot::{Snapshot, TlsOwner};
use pinion_core::config::{Problems, Severity};

use super::client::ClientTls;
pub(crate) use super::context::Expiry;
use super::context::SystemRoots;
use super::material::Finding;
use super::server::{ServerSettings, ServerTls};

/// How often one part's files came into force again, and how often not.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// Came in.
    pub(crate) successes: AtomicU64,
    /// Kept out.
    pub(crate) failures: AtomicU64,
    /// The files are in force as they now are.
    pub(crate) is_current: AtomicBool,
}

impl Default for Refreshed {
    fn default() -> Self {
        Refreshed {
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            is_current: AtomicBool::new(true),
        }
    }
}

impl Refreshed {
    /// Notes how it went: changed or not, or kept out.
    fn note(&self, outcome: Option<bool>) {
        match outcome {
            Some(true) => self.successes.fetch_add(1, Ordering::Relaxed),
            Some(false) => 0,
            None => self.failures.fetch_add(1, Ordering::Relaxed),
        };
        self.is_current.store(outcome.is_some(), Ordering::Relaxed);
    }
}

/// One part: of a listener or of a cluster.
pub(crate) struct Part<T> {
    /// The listener's or cluster's name.
    pub(crate) name: Box<str>,
    /// The contexts.
    pub(crate) tls: Arc<T>,
    /// How following the files went.
    pub(crate) refreshed: Arc<Refreshed>,
}

impl<T> Part<T> {
    fn new(name: &str, tls: T) -> Self {
        Part { name: name.into(), tls: Arc::new(tls), refreshed: Arc::default() }
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Part { name: self.name.clone(), tls: Arc::clone(&self.tls), refreshed: Arc::clone(&self.refreshed) }
    }
}

/// All parts, in the order of the snapshot they were made for.
#[derive(Default)]
pub(crate) struct TlsStore {
    /// By `ListenerIndex`; `None` is plain text.
    pub(crate) listeners: Box<[Option<Part<ServerTls>>]>,
    /// By `ClusterIndex`; `None` is plain text.
    pub(crate) clusters: Box<[Option<Part<ClientTls>>]>,
}

impl TlsStore {
    /// The parts that `snapshot` asks for; those of `old` whose settings did not change are kept. Fails with
    /// all problems found; warnings are in the second value.
    pub(crate) fn load(snapshot: &Snapshot, old: Option<&TlsStore>) -> Result<(Self, Problems), Problems> {
        let mut problems = snapshot.warnings.clone();
        let listeners = snapshot.listeners.iter().enumerate().map(|(place, listener)| {
            let settings = ServerSettings::of(listener)?;
            let known = old.and_then(|old| find(&old.listeners, &listener.name));
            if let Some(part) = known.filter(|part| part.tls.settings == settings) {
                return Some(part.clone());
            }
            let mut findings = Vec::new();
            let tls = ServerTls::load(settings, &mut findings);
            report(snapshot, TlsOwner::Listener(place), findings, &mut problems);
            Some(Part::new(&listener.name, tls?))
        });
        let listeners = listeners.collect();
        let system = SystemRoots::default();
        let clusters = snapshot.clusters.iter().enumerate().map(|(place, cluster)| {
            let settings = cluster.tls.clone()?;
            let known = old.and_then(|old| find(&old.clusters, &cluster.name));
            if let Some(part) = known.filter(|part| part.tls.settings == settings) {
                return Some(part.clone());
            }
            let mut findings = Vec::new();
            let tls = ClientTls::load(settings, &system, &mut findings);
            report(snapshot, TlsOwner::Cluster(place), findings, &mut problems);
            Some(Part::new(&cluster.name, tls?))
        });
        let clusters = clusters.collect();
        if problems.has_errors() { Err(problems) } else { Ok((TlsStore { listeners, clusters }, problems)) }
    }

    /// Every file that some part needs, each once.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let listeners = self.listeners.iter().flatten().flat_map(|part| part.tls.files());
        let clusters = self.clusters.iter().flatten().flat_map(|part| part.tls.files());
        let mut files: Vec<PathBuf> = listeners.chain(clusters).map(Path::to_owned).collect();
        files.sort();
        files.dedup();
        files
    }

    /// Reads all files again; says what came in and what was kept out.
    pub(crate) fn refresh(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for part in self.listeners.iter().flatten() {
            let mut findings = Vec::new();
            let changed = part.tls.refresh(&mut findings);
            part.refreshed.note(changed);
            outcomes.push(Outcome { kind: "listener", name: part.name.clone(), changed, findings });
        }
        let system = SystemRoots::default();
        for part in self.clusters.iter().flatten() {
            let mut findings = Vec::new();
            let changed = part.tls.refresh(&system, &mut findings);
            part.refreshed.note(changed);
            outcomes.push(Outcome { kind: "cluster", name: part.name.clone(), changed, findings });
        }
        outcomes
    }

    /// What there is to report of each part.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let listeners = self.listeners.iter().flatten().map(Part::<ServerTls>::report);
        listeners.chain(self.clusters.iter().flatten().map(Part::<ClientTls>::report)).collect()
    }
}

fn find<'a, T>(parts: &'a [Option<Part<T>>], name: &str) -> Option<&'a Part<T>> {
    parts.iter().flatten().find(|part| *part.name == *name)
}

/// What reading one part's files again came to.
pub(crate) struct Outcome {
    /// `listener` or `cluster`.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: Box<str>,
    /// Whether new files came into force; `None` when they were kept out.
    pub(crate) changed: Option<bool>,
    /// What is wrong with them.
    pub(crate) findings: Vec<Finding>,
}

/// What metrics say of one part.
#[derive(Debug)]
pub(crate) struct Report {
    /// `listener` or `cluster`.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: Box<str>,
    /// When certificates and roots expire, one a file.
    pub(crate) expiries: Box<[Expiry]>,
    /// File changes that came into force.
    pub(crate) successes: u64,
    /// File changes that were kept out.
    pub(crate) failures: u64,
    /// The files are in force as they now are.
    pub(crate) is_current: bool,
    /// Handshakes at work.
    pub(crate) handshakes: u64,
}

impl Part<ServerTls> {
    /// What there is to report.
    pub(crate) fn report(&self) -> Report {
        Report { handshakes: self.tls.handshakes(), ..self.told("listener", self.tls.current().expiries()) }
    }
}

impl Part<ClientTls> {
    /// What there is to report.
    pub(crate) fn report(&self) -> Report {
        self.told("cluster", self.tls.current().expiries())
    }
}

impl<T> Part<T> {
    fn told(&self, kind: &'static str, expiries: &[Expiry]) -> Report {
        let refreshed = &self.refreshed;
        Report {
            kind,
            name: self.name.clone(),
            expiries: expiries.into(),
            successes: refreshed.successes.load(Ordering::Relaxed),
            failures: refreshed.failures.load(Ordering::Relaxed),
            is_current: refreshed.is_current.load(Ordering::Relaxed),
            handshakes: 0,
        }
    }
}

/// Says what was found at the place where the document names the file.
fn report(snapshot: &Snapshot, owner: TlsOwner, findings: Vec<Finding>, problems: &mut Problems) {
    for finding in findings {
        let mut named = snapshot.tls_files.iter().filter(|file| file.owner == owner);
        let first = named.clone().next();
        let place = named.find(|file| file.path == finding.path).or(first);
        let span = place.map_or(0..0, |file| file.span.clone());
        problems.report(finding.severity, span, finding.message, finding.help);
    }
}

/// The findings as lines of a log.
pub(crate) fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let help = finding.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{severity}: {}: {}{help}", finding.path.display(), finding.message));
    }
    text
}
