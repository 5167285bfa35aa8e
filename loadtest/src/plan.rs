//! What a run does: the options, the scenario and the files they name, resolved once before anything is sent.
//!
//! ```text
//! options ─┐
//! scenario ┼─▶ Plan: timing │ items (requests by weight) │ groups (connections to one host, one protocol)
//! log      ┘
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Arrivals, HttpVersion, LoadOptions, Problem, Rate, Threads};
use crate::client::proxy_protocol;
use crate::client::request::{Content, Draft, Prepared};
use crate::client::target::{Scheme, Target};
use crate::client::tls;
use crate::clock::nanos;
use crate::scenario::{self, Item, file::Scenario, replay};
use crate::schedule::Timing;
use crate::schedule::profile::{Profile, Stage};
use crate::schedule::recorded;

/// The longest HTTP/2 windows: what an answer may have on its way without waiting for permission.
pub(crate) const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Where connections go.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is spoken on the connections of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    /// What the TLS handshake agrees on.
    Negotiated,
    /// Messages on open gRPC calls.
    Calls,
    WebSocket,
    Echo,
}

/// Connections that serve the same requests.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) peer: Peer,
    pub(crate) speaks: Speaks,
    pub(crate) tls: Option<tls::Settings>,
    /// The header to begin with, and the client that it names if that is not the connection's own address.
    pub(crate) proxy_protocol: Option<(proxy_protocol::Version, Option<SocketAddr>)>,
    /// One of the requests, for connections that are opened with one.
    pub(crate) first: usize,
}

/// A run.
pub(crate) struct Plan {
    pub(crate) items: Arc<[Item]>,
    pub(crate) groups: Arc<[Group]>,
    /// The group of each item.
    pub(crate) group_of: Arc<[usize]>,
    /// When requests fall due; `None` for a closed loop.
    pub(crate) timing: Option<Timing>,
    /// Nanoseconds of the warm-up, and until nothing more falls due.
    pub(crate) warmup: u64,
    pub(crate) end: u64,
    pub(crate) threads: u32,
    /// The CPU of each thread, if they are pinned.
    pub(crate) cpus: Vec<Option<usize>>,
}

impl Plan {
    /// Resolves everything.
    ///
    /// # Errors
    /// What was asked for can't be done: told as a user would change it.
    pub(crate) fn new(options: &LoadOptions, scenario: Option<&Scenario>) -> Result<Self, Problem> {
        check(options)?;
        let draft = draft(options)?;
        let mut recorded = None;
        let items = match (scenario, &options.replay, &options.url) {
            (Some(scenario), ..) => scenario.items()?,
            (None, Some(log), Some(url)) => {
                let (items, due) = replay::read(log, url, &draft, options.speed)?;
                recorded = Some(due);
                items
            }
            (None, None, Some(url)) => {
                vec![Item { name: url.to_string(), weight: 1.0, request: Prepared::new(url, &draft)? }]
            }
            (None, _, None) => return Err(Problem::Usage("a URL is needed".to_owned())),
        };
        if let Arrivals::Recorded(file) = &options.arrivals {
            recorded = Some(recorded::read_gaps(file)?);
        }
        let (groups, group_of) = groups(options, &items)?;
        let warmup = nanos(options.warmup);
        let (timing, length) = match recorded {
            Some(due) => {
                let end = due.last().map_or(0, |due| due.at + 1);
                let due: Arc<[_]> =
                    due.into_iter().map(|due| recorded::Due { at: due.at + warmup, ..due }).collect();
                (Some(Timing::Recorded(due)), end)
            }
            None => timing(options),
        };
        let (threads, cpus) = threads(options)?;
        Ok(Plan {
            items: items.into(),
            groups: groups.into(),
            group_of: group_of.into(),
            timing,
            warmup,
            end: warmup.saturating_add(length),
            threads,
            cpus,
        })
    }

    /// How long requests fall due, without the warm-up.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.end - self.warmup)
    }
}

fn check(options: &LoadOptions) -> Result<(), Problem> {
    let wrong = |text: &str| Err(Problem::Usage(text.to_owned()));
    if options.duration.is_zero() {
        return wrong("a run needs a --duration above zero");
    }
    if options.rate == Rate::Max && matches!(options.arrivals, Arrivals::Poisson) {
        return wrong("--rate max is a closed loop, which has no --arrivals");
    }
    if options.requests == Some(0) {
        return wrong("a run needs --requests above zero");
    }
    if options.timeout.is_zero() {
        return wrong("answers need a --timeout above zero");
    }
    if options.new_connections.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return wrong("--new-connections must be above zero");
    }
    if !options.stage.is_empty() && options.stage.iter().all(|stage| stage.from + stage.to == 0.0) {
        return wrong("no --stage sends anything");
    }
    Ok(())
}

fn draft(options: &LoadOptions) -> Result<Draft, Problem> {
    let body = match (&options.body, options.body_size) {
        (Some(text), _) => Some(scenario::body(text)?),
        (None, Some(sizes)) => Some(Content::Sized(sizes)),
        (None, None) => None,
    };
    Ok(Draft { method: options.method.clone(), headers: options.headers.clone(), body })
}

/// The timing of a run that is not recorded, and how long it is in nanoseconds.
fn timing(options: &LoadOptions) -> (Option<Timing>, u64) {
    let length = nanos(options.duration);
    let stage = |from, to, length| Stage { from, to, length };
    let stages: Vec<Stage> = match &options.rate {
        _ if !options.stage.is_empty() => {
            options.stage.iter().map(|given| stage(given.from, given.to, nanos(given.length))).collect()
        }
        Rate::Max => return (None, length),
        Rate::PerSecond(rate) => vec![stage(*rate, *rate, length)],
        Rate::Ramp(from, to) => vec![stage(*from, *to, length)],
        Rate::Steps(steps) => {
            let share = length / steps.len() as u64;
            steps.iter().map(|&rate| stage(rate, rate, share)).collect()
        }
    };
    let profile = Profile::new(&stages);
    let length = profile.length();
    let whole = profile.after_warmup(nanos(options.warmup));
    let timing = match options.arrivals {
        Arrivals::Poisson => Timing::Poisson(whole),
        Arrivals::Constant | Arrivals::Recorded(_) => Timing::Constant(whole),
    };
    (Some(timing), length)
}

/// Puts items that can share connections into groups.
fn groups(options: &LoadOptions, items: &[Item]) -> Result<(Vec<Group>, Vec<usize>), Problem> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: Vec<usize> = Vec::with_capacity(items.len());
    for (number, item) in items.iter().enumerate() {
        let target = &item.request.target;
        let known =
            groups.iter().position(|group| items[group.first].request.target.shares_connections(target));
        let group = match known {
            Some(group) => group,
            None => {
                groups.push(group(options, target, number)?);
                groups.len() - 1
            }
        };
        group_of.push(group);
    }
    Ok((groups, group_of))
}

fn group(options: &LoadOptions, target: &Target, first: usize) -> Result<Group, Problem> {
    let speaks = match (target.scheme, options.http, target.is_secure) {
        (Scheme::Tcp, ..) => Speaks::Echo,
        (Scheme::WebSocket, ..) => Speaks::WebSocket,
        (Scheme::Grpc, ..) if options.grpc_streaming => Speaks::Calls,
        (Scheme::Grpc, ..) | (Scheme::Http, HttpVersion::Http2, _) => Speaks::Http2,
        (Scheme::Http, HttpVersion::Auto, true) => Speaks::Negotiated,
        (Scheme::Http, ..) => Speaks::Http1,
    };
    let alpn: &[&str] = match speaks {
        Speaks::Http1 | Speaks::WebSocket => &["http/1.1"],
        Speaks::Http2 | Speaks::Calls => &["h2"],
        Speaks::Negotiated => &["h2", "http/1.1"],
        Speaks::Echo => &[],
    };
    let peer = match &options.unix {
        Some(path) => Peer::Unix(path.clone()),
        None => Peer::Tcp(
            target.resolve().map_err(|e| Problem::io(format_args!("can't find {}", target.authority), &e))?,
        ),
    };
    let tls = match target.is_secure {
        true => Some(tls::Settings::new(&options.tls, &target.host, alpn)?),
        false => None,
    };
    let proxy_protocol = options.proxy_protocol.map(|version| (version, options.proxy_source));
    Ok(Group { peer, speaks, tls, proxy_protocol, first })
}

/// How many threads, and the CPU of each.
///
/// # Errors
/// A CPU that this process may not use.
pub(crate) fn threads(options: &LoadOptions) -> Result<(u32, Vec<Option<usize>>), Problem> {
    let allowed = allowed_cpus();
    if let Some(cpu) = options.pin.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(Problem::Usage(format!("--pin: this process may not use CPU {cpu}")));
    }
    let pins: Vec<usize> = match options.threads {
        Threads::Auto if options.pin.is_empty() => allowed.iter().copied().collect(),
        _ => options.pin.clone(),
    };
    let wanted = match options.threads {
        Threads::Count(count) => count,
        Threads::Auto => pins.len().clamp(1, 256) as u32,
    };
    // A thread without a connection would have nothing to do.
    let threads = wanted.min(options.connections);
    let cpus = (0..threads as usize).map(|thread| pins.get(thread % pins.len().max(1)).copied()).collect();
    Ok((threads, cpus))
}

/// The CPUs that this process may use.
pub(crate) fn allowed_cpus() -> BTreeSet<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| rustix::thread::CpuSet::new());
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// The address that a connection is to be made from, if the user named some.
pub(crate) fn source_of(sources: &[IpAddr], number: usize) -> Option<SocketAddr> {
    (!sources.is_empty()).then(|| SocketAddr::new(sources[number % sources.len()], 0))
}
