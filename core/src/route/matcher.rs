//! The conditions of a route, as data: what must hold of a request so that the route may take it.
//!
//! Invariants: host patterns are lower case without port; header names are lower case; paths and prefixes
//! are in the normal form of `http::normalize`, since that is the form they are compared with.
//!
//! Not here: which of several matching routes wins (`order`), finding it (`table`).

use std::fmt;

use memchr::memmem;
use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::{Hir, Look};

use super::Route;
use crate::id::ListenerIndex;
use crate::limits::{REGEX_CACHE_BYTES, REGEX_PROGRAM_BYTES_MAX};

/// A route with its conditions: the builder's input.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// What happens to matching requests.
    pub route: Route,
    /// Where the route exists, without repetition.
    pub listeners: Box<[ListenerIndex]>,
    /// One of these must match; never empty (`HostMatch::Any` is "every host").
    pub hosts: Box<[HostMatch]>,
    /// Must match.
    pub path: PathMatch,
    /// One of these, or any method when empty.
    pub methods: Box<[Box<[u8]>]>,
    /// All must match.
    pub headers: Box<[NamedMatch]>,
    /// All must match.
    pub query: Box<[NamedMatch]>,
    /// First-match position among the routes of one host, for imported tables; lower wins before anything
    /// but the host is compared. Native routes all have 0, so that precedence decides.
    pub order: u32,
}

/// A host pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostMatch {
    /// `a.example`: this host only.
    Exact(Box<[u8]>),
    /// `*.example`, kept as `.example`: any host with one or more labels before it.
    Suffix(Box<[u8]>),
    /// `*`: every host, also none.
    Any,
}

impl HostMatch {
    /// Whether `host` (normalised) fits.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            HostMatch::Exact(exact) => **exact == *host,
            HostMatch::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            HostMatch::Any => true,
        }
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostMatch::Exact(exact) => f.write_str(&String::from_utf8_lossy(exact)),
            HostMatch::Suffix(suffix) => write!(f, "*{}", String::from_utf8_lossy(suffix)),
            HostMatch::Any => f.write_str("*"),
        }
    }
}

/// A path condition. No condition is the prefix `/`, as in the Gateway API.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// The whole path.
    Exact(Box<[u8]>),
    /// A pattern for the whole path.
    Regex(Pattern),
    /// Leading segments: `/a` matches `/a` and `/a/b`, not `/ab`. Kept without trailing slash, so that
    /// `/` is empty and matches every path, also `*` (OPTIONS) and none (CONNECT).
    Prefix(Box<[u8]>),
}

impl PathMatch {
    /// The prefix condition for `path`, whose trailing slash means nothing.
    pub fn prefix(path: &[u8]) -> Self {
        PathMatch::Prefix(path.strip_suffix(b"/").unwrap_or(path).into())
    }

    /// Whether `path` (normalised) fits. Allocates for patterns: not for the hot path.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Regex(pattern) => pattern.matches(path),
            PathMatch::Prefix(prefix) => {
                prefix.is_empty()
                    || path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Exact(exact) => f.write_str(&String::from_utf8_lossy(exact)),
            PathMatch::Regex(pattern) => write!(f, "~{}", pattern.text()),
            PathMatch::Prefix(prefix) => write!(f, "{}/*", String::from_utf8_lossy(prefix)),
        }
    }
}

/// A condition on a header field or query parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedMatch {
    /// The name; of a header field in lower case.
    pub name: Box<[u8]>,
    /// What its value must be.
    pub value: ValueMatch,
    /// The name's place in the table's list of names; given by the table's builder.
    pub(super) slot: u32,
}

impl NamedMatch {
    /// A condition on the field or parameter called `name`.
    pub fn new(name: impl Into<Box<[u8]>>, value: ValueMatch) -> Self {
        NamedMatch { name: name.into(), value, slot: 0 }
    }
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// This value.
    Exact(Box<[u8]>),
    /// A value that starts so.
    Prefix(Box<[u8]>),
    /// A value that ends so.
    Suffix(Box<[u8]>),
    /// A value that has this somewhere.
    Contains(Box<memmem::Finder<'static>>),
    /// A value that this pattern describes wholly.
    Regex(Pattern),
    /// Any value, also an empty one.
    Present,
    /// No such field or parameter.
    Absent,
    /// A decimal integer from `start` (inclusive) to `end` (exclusive), as in Envoy.
    Range {
        /// The lowest integer that matches.
        start: i64,
        /// The lowest integer above those that match.
        end: i64,
    },
}

impl ValueMatch {
    /// The condition "has `needle` somewhere".
    pub fn contains(needle: &[u8]) -> Self {
        ValueMatch::Contains(Box::new(memmem::Finder::new(needle).into_owned()))
    }

    /// Whether `value` (`None`: absent) fits; patterns are asked through `search`.
    #[inline]
    pub(super) fn fits(&self, value: Option<&[u8]>, search: impl FnOnce(&Pattern, &[u8]) -> bool) -> bool {
        let Some(value) = value else { return matches!(self, ValueMatch::Absent) };
        match self {
            ValueMatch::Exact(exact) => **exact == *value,
            ValueMatch::Prefix(prefix) => value.starts_with(prefix),
            ValueMatch::Suffix(suffix) => value.ends_with(suffix),
            ValueMatch::Contains(finder) => finder.find(value).is_some(),
            ValueMatch::Regex(pattern) => search(pattern, value),
            ValueMatch::Present => true,
            ValueMatch::Absent => false,
            ValueMatch::Range { start, end } => {
                parse_integer(value).is_some_and(|number| (*start..*end).contains(&number))
            }
        }
    }

    /// Whether `value` (`None`: absent) fits. Allocates for patterns: not for the hot path.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        self.fits(value, |pattern, value| pattern.matches(value))
    }
}

impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (ValueMatch::Exact(a), ValueMatch::Exact(b))
            | (ValueMatch::Prefix(a), ValueMatch::Prefix(b))
            | (ValueMatch::Suffix(a), ValueMatch::Suffix(b)) => a == b,
            (ValueMatch::Contains(a), ValueMatch::Contains(b)) => a.needle() == b.needle(),
            (ValueMatch::Regex(a), ValueMatch::Regex(b)) => a == b,
            (ValueMatch::Present, ValueMatch::Present) | (ValueMatch::Absent, ValueMatch::Absent) => true,
            (ValueMatch::Range { start: a, end: b }, ValueMatch::Range { start: c, end: d }) => {
                (a, b) == (c, d)
            }
            _ => false,
        }
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            ValueMatch::Exact(exact) => write!(f, "exactly `{}`", text(exact)),
            ValueMatch::Prefix(prefix) => write!(f, "prefix `{}`", text(prefix)),
            ValueMatch::Suffix(suffix) => write!(f, "suffix `{}`", text(suffix)),
            ValueMatch::Contains(finder) => write!(f, "containing `{}`", text(finder.needle())),
            ValueMatch::Regex(pattern) => write!(f, "regex `{}`", pattern.text()),
            ValueMatch::Present => f.write_str("present"),
            ValueMatch::Absent => f.write_str("absent"),
            ValueMatch::Range { start, end } => match (*start, *end) {
                (i64::MIN, end) => write!(f, "an integer below {end}"),
                (start, i64::MAX) => write!(f, "an integer from {start}"),
                (start, end) => write!(f, "an integer from {start} to below {end}"),
            },
        }
    }
}

/// A decimal integer with an optional sign, nothing else.
fn parse_integer(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A compiled regular expression that must match a whole value.
///
/// Matching takes time linear in the value; program and lazy tables are bounded by
/// `REGEX_PROGRAM_BYTES_MAX` and `REGEX_CACHE_BYTES`.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    pub(super) regex: meta::Regex,
    /// The place in the table's list of patterns; given by the table's builder.
    pub(super) slot: u32,
}

impl Pattern {
    /// Compiles `text`, in the syntax of the `regex` crate. Values are bytes and nearly always ASCII, so
    /// classes such as `\w` are ASCII (as in RE2) and `.` is any byte but a line feed; `(?u)` asks for
    /// Unicode.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let hir = syntax::parse_with(text, &syntax::Config::new().utf8(false).unicode(false))
            .map_err(|error| PatternError::Syntax(error.to_string()))?;
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        meta::Builder::new()
            .configure(
                meta::Config::new()
                    .utf8_empty(false)
                    .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit)
                    .nfa_size_limit(Some(REGEX_PROGRAM_BYTES_MAX))
                    .hybrid_cache_capacity(REGEX_CACHE_BYTES),
            )
            .build_from_hir(&whole)
            .map(|regex| Pattern { text: text.into(), regex, slot: 0 })
            .map_err(|error| match error.size_limit() {
                Some(_) => PatternError::TooLarge,
                None => PatternError::Syntax(error.to_string()),
            })
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole `value` fits. Uses the pattern's own pool of caches: not for the hot path.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }

    /// It is one of the usual ways to write "everything".
    pub fn matches_everything(&self) -> bool {
        matches!(
            &*self.text,
            ".*" | "/.*" | "^.*" | "^.*$" | ".*$" | "^/.*" | "^/.*$" | "/.*$" | "(.*)" | "/(.*)"
        )
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It is no regular expression; with the parser's explanation.
    Syntax(String),
    /// Its program would be larger than `REGEX_PROGRAM_BYTES_MAX`.
    TooLarge,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Syntax(text) => f.write_str(text),
            PatternError::TooLarge => write!(f, "its program is larger than {REGEX_PROGRAM_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for PatternError {}
