//! Explains a routing decision: which listener, route and cluster a request would meet, what happens to it
//! there, and why other routes did not take it. Uses the very table that serves.
//!
//! Not here: the text and JSON forms (`render`), reading command lines.

use std::borrow::Cow;
use std::fmt;

use super::Action;
use super::matcher::{HostMatch, NamedMatch, RouteSpec};
use super::order::Precedence;
use super::scratch::{MatchScratch, query_value};
use crate::config::Snapshot;
use crate::config::snapshot::{Address, Listener};
use crate::http::h1::list;
use crate::http::{OwnedRequest, RequestView};
use crate::id::{ListenerIndex, RouteIndex};

mod render;
#[cfg(test)]
mod tests;

/// How many other routes an explanation lists per kind; the rest is counted.
const OTHERS_MAX: usize = 10;

/// The request to be explained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The method; empty is GET.
    pub method: String,
    /// `http://host[:port]/path?query`; without scheme, or only a path, is understood too. `ws://` is the
    /// request of a WebSocket client, `tls://name:port` and `tcp://host:port` are connections that are passed on.
    pub url: String,
    /// Header fields; `Host` replaces the URL's host.
    pub headers: Vec<(String, String)>,
    /// The listener's name; `None` chooses by the URL's port.
    pub listener: Option<String>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionError {
    /// There is no listener of this name; with the names there are.
    NoListener {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A scheme other than `http`, `https`, `ws`, `wss`, `tls` and `tcp`.
    Scheme(String),
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuestionError::NoListener { name, known } => {
                write!(f, "there is no listener `{name}`; listeners: {}", known.join(", "))
            }
            QuestionError::Scheme(scheme) => {
                write!(f, "the URL's scheme `{scheme}` is none of http, https, ws, wss, tls and tcp")
            }
        }
    }
}

impl std::error::Error for QuestionError {}

/// The answer. `Display` is the text form, [`Explanation::json`] the form for programs.
#[derive(Debug)]
pub struct Explanation<'a> {
    snapshot: &'a Snapshot,
    listener: &'a Listener,
    /// Why this listener.
    listener_reason: &'static str,
    /// The request as routing sees it; `None` if it would be refused with 400 before.
    request: Option<OwnedRequest>,
    url: String,
    route: Option<RouteIndex>,
    /// Routes that match too, with what the chosen one has before them.
    also: Others,
    /// Routes that do not match, those with the fewest reasons first.
    misses: Others,
}

impl Explanation<'_> {
    /// The name of the route that takes the request; `None` is 404, or 400 for a malformed request.
    pub fn route(&self) -> Option<&str> {
        self.route.map(|route| &*self.snapshot.routes.routes()[route.index()].name)
    }

    /// The name of the listener.
    pub fn listener(&self) -> &str {
        &self.listener.name
    }

    /// Whether the request asks for a tunnel, and what becomes of that.
    fn tunnel(&self) -> Option<Tunnel> {
        let request = self.request.as_ref()?;
        if request.method() == b"CONNECT" {
            let (route, _) = self.chosen()?;
            return Some(Tunnel::Connect(route.connect && !matches!(route.action, Action::Direct(_))));
        }
        let offer = header_value(request, b"upgrade")?;
        let option = header_value(request, b"connection").unwrap_or_default();
        let asked = list(&option).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
        let words = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        let passed = self.listener.upgrades.pass(&offer).filter(|_| asked).map(words).collect();
        Some(Tunnel::Upgrade { offer: words(&offer), asked, passed })
    }

    /// For each route that nearly took the request, its name and why it did not.
    pub fn near_misses(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.misses
            .list
            .iter()
            .map(|(route, reasons)| (&*self.snapshot.routes.routes()[route.index()].name, reasons.as_slice()))
    }
}

/// What becomes of a request that asks for a tunnel.
#[derive(Debug, PartialEq, Eq)]
enum Tunnel {
    /// CONNECT, and whether the route allows it.
    Connect(bool),
    /// An Upgrade field.
    Upgrade {
        offer: String,
        /// `Connection: upgrade` makes it count.
        asked: bool,
        /// What of it the upstream is offered.
        passed: Vec<String>,
    },
}

/// Other routes with reasons.
#[derive(Debug, Default)]
struct Others {
    list: Vec<(RouteIndex, Vec<String>)>,
    more: usize,
}

impl Others {
    fn cut(mut list: Vec<(RouteIndex, Vec<String>)>) -> Self {
        let more = list.len().saturating_sub(OTHERS_MAX);
        list.truncate(OTHERS_MAX);
        Others { list, more }
    }
}

/// Answers `question` by `snapshot`.
pub fn explain<'a>(snapshot: &'a Snapshot, question: &Question) -> Result<Explanation<'a>, QuestionError> {
    let url = Url::of(&question.url)?;
    let (index, listener, listener_reason) = choose_listener(snapshot, question, &url)?;
    let method = if question.method.is_empty() { "GET" } else { &question.method };
    let stream = listener.protocol.is_stream();
    let host_field = question.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = host_field.map_or(url.authority, |(_, value)| value.trim());
    let named = if stream && !listener.sees_names() { "" } else { authority };
    let request =
        OwnedRequest::new(method.as_bytes(), named.as_bytes(), url.target.as_bytes()).map(|request| {
            if stream {
                return OwnedRequest { host: request.host, ..OwnedRequest::default() };
            }
            let request = question.headers.iter().fold(request, |request, (name, value)| {
                request.with_header(name.as_bytes(), value.trim().as_bytes())
            });
            if !url.websocket {
                return request;
            }
            request.with_header(b"connection", b"upgrade").with_header(b"upgrade", b"websocket")
        });
    let mut explanation = Explanation {
        snapshot,
        listener,
        listener_reason,
        request: None,
        url: if stream { question.url.clone() } else { format!("{method} {}", question.url) },
        route: None,
        also: Others::default(),
        misses: Others::default(),
    };
    if let Some(request) = request {
        explanation.decide(index, &request);
        explanation.request = Some(request);
    }
    Ok(explanation)
}

impl Explanation<'_> {
    /// Whether the route takes connections that are passed on.
    fn is_stream(&self, spec: &RouteSpec) -> bool {
        let first = spec.listeners.first();
        first.is_some_and(|first| self.snapshot.listeners[first.index()].protocol.is_stream())
    }

    fn decide(&mut self, listener: ListenerIndex, request: &OwnedRequest) {
        let table = &self.snapshot.routes;
        let found = table.find(listener, request, &mut MatchScratch::new()).map(|route| route.index);
        let best = found.and_then(|route| strongest(&table.specs()[route.index()], request));
        let mut also = Vec::new();
        let mut misses = Vec::new();
        for (place, spec) in table.specs().iter().enumerate() {
            let index = RouteIndex(place as u32);
            // Routes of requests say nothing of connections that are passed on, and the other way round.
            if Some(index) == found || self.is_stream(spec) != self.listener.protocol.is_stream() {
                continue;
            }
            let reasons = reasons(spec, self.snapshot, listener, request);
            if reasons.is_empty() {
                let weaker = strongest(spec, request);
                let reason = best.zip(weaker).and_then(|(best, weaker)| best.wins_by(&weaker));
                also.push((weaker, index, reason.unwrap_or("it comes first in the table").to_owned()));
            } else {
                misses.push((index, reasons));
            }
        }
        also.sort_by_key(|(precedence, index, _)| (std::cmp::Reverse(*precedence), *index));
        misses.sort_by_key(|(index, reasons)| (reasons.len(), *index));
        self.route = found;
        self.also = Others::cut(also.into_iter().map(|(_, index, reason)| (index, vec![reason])).collect());
        self.misses = Others::cut(misses);
    }
}

/// The precedence of `spec` under its most specific host that matches.
fn strongest(spec: &RouteSpec, request: &OwnedRequest) -> Option<Precedence> {
    let matching = spec.hosts.iter().filter(|host| host.matches(request.host()));
    matching.map(|host| Precedence::of(spec, host)).max()
}

/// Why `spec` does not match; empty if it does.
fn reasons(
    spec: &RouteSpec,
    snapshot: &Snapshot,
    listener: ListenerIndex,
    request: &OwnedRequest,
) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut reasons = Vec::new();
    if !spec.listeners.contains(&listener) {
        let names: Vec<_> =
            spec.listeners.iter().map(|index| &*snapshot.listeners[index.index()].name).collect();
        reasons.push(format!("listener: it is only on {}", names.join(", ")));
    }
    if !spec.hosts.iter().any(|host| host.matches(request.host())) {
        let hosts: Vec<_> = spec.hosts.iter().take(4).map(HostMatch::to_string).collect();
        let more = if spec.hosts.len() > 4 { ", …" } else { "" };
        reasons.push(format!("host: `{}` is not {}{more}", text(request.host()), hosts.join(" or ")));
    }
    if !spec.path.matches(request.path()) {
        reasons.push(format!("path: `{}` is not {}", text(request.path()), spec.path));
    }
    if !spec.methods.is_empty() && !spec.methods.iter().any(|method| **method == *request.method()) {
        let methods: Vec<_> = spec.methods.iter().map(|method| text(method)).collect();
        reasons.push(format!("method: {} is not {}", text(request.method()), methods.join(" or ")));
    }
    for header in &spec.headers {
        let value = header_value(request, &header.name);
        reasons.extend(named_reason("header", header, value.as_deref()));
    }
    for parameter in &spec.query {
        let mut value = Vec::new();
        let found = request.query().is_some_and(|query| query_value(query, &parameter.name, &mut value));
        reasons.extend(named_reason("query", parameter, found.then_some(value.as_slice())));
    }
    reasons
}

fn named_reason(what: &str, named: &NamedMatch, value: Option<&[u8]>) -> Option<String> {
    if named.value.matches(value) {
        return None;
    }
    let name = String::from_utf8_lossy(&named.name);
    let found = match value {
        Some(value) => format!("`{}`", String::from_utf8_lossy(value)),
        None => "absent".to_owned(),
    };
    Some(format!("{what}: `{name}` is {found}, not {}", named.value))
}

/// The joined value of a field, as the table sees it.
fn header_value(request: &OwnedRequest, name: &[u8]) -> Option<Vec<u8>> {
    let mut joined: Option<Vec<u8>> = None;
    request.for_each_header(name, &mut |value| match &mut joined {
        Some(joined) => {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        None => joined = Some(value.to_vec()),
    });
    joined
}

/// The parts of a URL that decide.
struct Url<'a> {
    authority: &'a str,
    /// Path and query.
    target: Cow<'a, str>,
    port: Option<u16>,
    /// `ws` or `wss`: what such a client sends asks for an upgrade.
    websocket: bool,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Result<Self, QuestionError> {
        let (rest, default) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest, Some(80)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (rest, Some(443)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => (rest, Some(80)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("wss") => (rest, Some(443)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tls") => (rest, Some(443)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tcp") => (rest, None),
            // A `://` may also stand in a query.
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(QuestionError::Scheme(scheme.to_owned()));
            }
            _ => (text, None),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).or(default);
        let target =
            if target.starts_with('/') { Cow::Borrowed(target) } else { Cow::Owned(format!("/{target}")) };
        let websocket =
            text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("ws")) && rest.len() < text.len();
        Ok(Url { authority, target, port, websocket })
    }
}

fn choose_listener<'a>(
    snapshot: &'a Snapshot,
    question: &Question,
    url: &Url<'_>,
) -> Result<(ListenerIndex, &'a Listener, &'static str), QuestionError> {
    let no_listener = |name: &str| QuestionError::NoListener {
        name: name.to_owned(),
        known: snapshot.listeners.iter().map(|listener| listener.name.to_string()).collect(),
    };
    if let Some(name) = &question.listener {
        let (index, listener) = snapshot.listener(name).ok_or_else(|| no_listener(name))?;
        return Ok((index, listener, "asked for"));
    }
    let by_port = snapshot.listeners.iter().position(|listener| match &listener.address {
        Address::Tcp(address) => Some(address.port()) == url.port,
        Address::Unix(_) => false,
    });
    let (place, reason) = match by_port {
        Some(place) => (place, "by the URL's port"),
        None if snapshot.listeners.len() == 1 => (0, "the only one"),
        None => (0, "the first one, since none has the URL's port"),
    };
    let listener = snapshot.listeners.get(place).ok_or_else(|| no_listener(""))?;
    Ok((ListenerIndex(place as u32), listener, reason))
}
