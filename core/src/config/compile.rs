//! From a document to a snapshot, or to all that is wrong with it.
//!
//! ```text
//!   text ─▶ TOML with places ─▶ sections (schema) ─▶ listeners, clusters ─▶ routes ─▶ ids ─▶ snapshot
//!             └ syntax            └ unknown keys,      └ names, addresses,    └ ties, unreachable,
//!               errors              types, units         bounds                 unknown names
//! ```
//!
//! Invariants: every step reports all it can see and goes on; ids are given out only when nothing is
//! refused; nothing is read but the text.
//!
//! Not here: reading the file, publishing the snapshot.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::Ids;
use super::problem::Problems;
use super::read::{At, read_section};
use super::schema::{self, Document};
use super::snapshot::{
    AccessLogPath, AccessLogSettings, Address, Cluster, Listener, ProxySettings, Snapshot, TlsFile,
};
use super::units::Time;
use crate::limits;
use crate::route::{RouteSpec, RouteTable};

mod clusters;
mod conditions;
mod edits;
mod http2;
mod listeners;
mod names;
mod proxy_header;
mod routes;
mod streams;
mod tls;

/// Compiles `text`, which is called `file` in messages.
///
/// Relative paths start at `base_dir`. `ids` keeps names' ids over reloads. Parts equal to those of
/// `previous` are shared with it. Fails with every problem found, warnings included; those of a
/// configuration that is taken are in [`Snapshot::warnings`].
pub fn compile(
    text: &str,
    file: &str,
    base_dir: &Path,
    ids: &mut Ids,
    generation: u64,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, Problems> {
    let mut problems = Problems::new(file, text);
    let Some(document) = read(text, &mut problems) else {
        problems.sort();
        return Err(problems);
    };
    let draft = Draft::of(&document, base_dir, &mut problems);
    problems.sort();
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(draft.finish(ids, generation, digest(text), previous, problems))
}

/// The document's sections; `None` when it is no TOML, so that nothing can be said of its meaning.
fn read(text: &str, problems: &mut Problems) -> Option<Document> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
        problems.error(error.span().unwrap_or(0..0), error.message().trim());
    }
    let document = read_section(table.get_ref(), 0..0, problems);
    if errors.is_empty() {
        return Some(document);
    }
    problems.drop_consequences(errors.len().min(SYNTAX_ERRORS_MAX));
    None
}

/// A file with more syntax errors is something else than TOML.
const SYNTAX_ERRORS_MAX: usize = 100;

/// A hash of the text that is the same on every machine and in every version: FNV-1a, 64 bits.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Everything compiled but the ids, which are all zero.
struct Draft {
    proxy: ProxySettings,
    listeners: Vec<Listener>,
    clusters: Vec<Cluster>,
    routes: Vec<RouteSpec>,
    tls_files: Vec<TlsFile>,
}

impl Draft {
    fn of(document: &Document, base_dir: &Path, problems: &mut Problems) -> Self {
        let proxy = proxy(&document.proxy, base_dir, problems);
        let mut listeners =
            listeners::compile(&document.listeners, &document.proxy.admin, base_dir, problems);
        let mut clusters = clusters::compile(&document.clusters, &listeners, base_dir, problems);
        let tls_files = tls::compile(document, &mut listeners, &mut clusters, base_dir, problems);
        let routes = routes::compile(document, problems);
        Draft { proxy, listeners, clusters, routes, tls_files }
    }

    fn finish(
        self,
        ids: &mut Ids,
        generation: u64,
        digest: u64,
        previous: Option<&Snapshot>,
        warnings: Problems,
    ) -> Snapshot {
        let Draft { proxy, mut listeners, mut clusters, mut routes, tls_files } = self;
        for listener in &mut listeners {
            listener.id = ids.listener(&listener.name, &listener.address);
        }
        for cluster in &mut clusters {
            cluster.id = ids.cluster(&cluster.name);
            for endpoint in &mut cluster.endpoints {
                endpoint.id = ids.endpoint(&cluster.name, &endpoint.address);
            }
        }
        for spec in &mut routes {
            spec.route.id = ids.route(&spec.route.name);
        }
        ids.end_round(previous);
        let routes = RouteTable::build(routes, listeners.len(), previous.map(|previous| &previous.routes));
        Snapshot {
            generation,
            digest,
            proxy,
            listeners: share(listeners, previous.map(|previous| &*previous.listeners), |listener| {
                listener.id.0
            }),
            routes,
            clusters: share(clusters, previous.map(|previous| &*previous.clusters), |cluster| cluster.id.0),
            tls_files: tls_files.into(),
            warnings,
        }
    }
}

/// Takes the old `Arc` of each part that did not change.
fn share<T: PartialEq>(parts: Vec<T>, previous: Option<&[Arc<T>]>, id: impl Fn(&T) -> u32) -> Box<[Arc<T>]> {
    let old: HashMap<u32, &Arc<T>> =
        previous.unwrap_or_default().iter().map(|part| (id(part), part)).collect();
    parts
        .into_iter()
        .map(|part| match old.get(&id(&part)) {
            Some(same) if ***same == part => Arc::clone(same),
            _ => Arc::new(part),
        })
        .collect()
}

fn proxy(section: &schema::Proxy, base_dir: &Path, problems: &mut Problems) -> ProxySettings {
    let shards = section.shards.as_ref();
    if let Some(shards) = shards {
        within(shards, 1, limits::SHARDS_MAX, "shards", problems);
    }
    let admin = &section.admin;
    if !admin.value.is_local() && !section.admin_public.value {
        problems
            .error(admin.span.clone(), "the admin port would be reachable from other machines")
            .label("it has no authentication")
            .suggest("listen on 127.0.0.1 or a Unix socket, or set `admin_public = true`");
    }
    within(&section.connections, 1, u64::MAX, "connections", problems);
    let memory = &section.shard_memory;
    if memory.value.0 < limits::SHARD_MEMORY_MIN as u64 {
        let least = super::units::Size(limits::SHARD_MEMORY_MIN as u64);
        problems.error(memory.span.clone(), format!("`shard_memory` must be at least {least}"));
    }
    ProxySettings {
        shards: shards.map(|shards| shards.value),
        admin: admin.value.clone().absolute(base_dir),
        driver: section.driver.value,
        drain: section.drain.value.0,
        connections: section.connections.value,
        shard_memory: usize::try_from(memory.value.0).unwrap_or(usize::MAX),
        access_log: section.access_log.as_ref().map(|log| access_log(&log.value, base_dir, problems)),
    }
}

fn access_log(section: &schema::AccessLog, base_dir: &Path, problems: &mut Problems) -> AccessLogSettings {
    let path = match section.path.value.as_str() {
        "stdout" => AccessLogPath::Stdout,
        "" => {
            problems
                .error(section.path.span.clone(), "the path is empty")
                .suggest("write `stdout` or a file's path");
            AccessLogPath::Stdout
        }
        file => AccessLogPath::File(base_dir.join(file)),
    };
    AccessLogSettings { format: section.format.value, path }
}

/// Reports a number outside `min..=max`.
fn within<T: PartialOrd + std::fmt::Display + Copy>(
    number: &At<T>,
    min: T,
    max: T,
    key: &str,
    problems: &mut Problems,
) {
    if number.value < min {
        problems.error(number.span.clone(), format!("`{key}` must be at least {min}"));
    } else if number.value > max {
        problems.error(number.span.clone(), format!("`{key}` must be at most {max}"));
    }
}

/// The duration, which must not be zero: a deadline that has always passed.
fn positive(time: &At<Time>, key: &str, problems: &mut Problems) -> Duration {
    if time.value.0.is_zero() {
        problems.error(time.span.clone(), format!("`{key}` must be more than zero")).suggest(
            "a timeout of zero would end everything at once; take a long one such as \"24h\" instead",
        );
    }
    time.value.0
}

/// Reports a name that can't label metrics and logs, and one that was used before.
fn unique_name(
    name: &At<String>,
    what: &str,
    seen: &mut HashMap<String, Range<usize>>,
    problems: &mut Problems,
) {
    let text = &name.value;
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let most = limits::NAME_BYTES_MAX;
        problems.error(
            name.span.clone(),
            format!("a name must have 1 to {most} bytes and no control characters"),
        );
        return;
    }
    match seen.get(text) {
        Some(first) => {
            problems
                .error(name.span.clone(), format!("the {what} name `{text}` is used twice"))
                .other(first, "first used here")
                .suggest("give each its own name");
        }
        None => {
            seen.insert(text.clone(), name.span.clone());
        }
    }
}

/// How an address is compared with others.
fn address_key(address: &Address, base_dir: &Path) -> Option<Address> {
    match address {
        Address::Tcp(address) if address.port() == 0 => None,
        other => Some(other.clone().absolute(base_dir)),
    }
}
