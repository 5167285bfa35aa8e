//! Which of two matching routes wins: the Gateway API's precedence as one ordered key.
//!
//! Compared in this order, the greater wins:
//!
//! 1. host: exact, then the longer wildcard, then `*`;
//! 2. explicit order (imported first-match tables only; the lower wins);
//! 3. path: exact, then regular expression (the longer text first), then the longer prefix;
//! 4. a method condition before none;
//! 5. the number of header conditions;
//! 6. the number of query conditions.
//!
//! The Gateway API leaves the place of regular expressions open. They sit between exact paths and
//! prefixes, since below prefixes any catch-all `/` of the same host would hide them.
//!
//! A tie of two routes that one request can meet is refused by `config`; among routes that no request can
//! meet together the place in the table decides, which makes the order total and means nothing.

use std::cmp::Reverse;

use super::matcher::{HostMatch, PathMatch, RouteSpec};

/// The sort key of one route under one of its hosts. The greater key wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Precedence {
    host: HostRank,
    order: Reverse<u32>,
    path: PathRank,
    method: bool,
    headers: usize,
    query: usize,
}

/// Host patterns by how specific they are; lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum HostRank {
    Any,
    Suffix(usize),
    Exact,
}

/// Path conditions by how specific they are; lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum PathRank {
    Prefix(usize),
    Regex(usize),
    Exact,
}

impl Precedence {
    /// The key of `spec` for requests that meet it through `host`.
    pub fn of(spec: &RouteSpec, host: &HostMatch) -> Self {
        Precedence {
            host: match host {
                HostMatch::Any => HostRank::Any,
                HostMatch::Suffix(suffix) => HostRank::Suffix(suffix.len()),
                HostMatch::Exact(_) => HostRank::Exact,
            },
            order: Reverse(spec.order),
            path: match &spec.path {
                PathMatch::Prefix(prefix) => PathRank::Prefix(prefix.len()),
                PathMatch::Regex(pattern) => PathRank::Regex(pattern.text().len()),
                PathMatch::Exact(_) => PathRank::Exact,
            },
            method: !spec.methods.is_empty(),
            headers: spec.headers.len(),
            query: spec.query.len(),
        }
    }

    /// In words, the first criterion in which `self` is greater than `other`; `None` if in none.
    pub fn wins_by(&self, other: &Self) -> Option<&'static str> {
        if self <= other {
            return None;
        }
        Some(if self.host != other.host {
            "its host is more specific"
        } else if self.order != other.order {
            "its explicit order comes first"
        } else if self.path != other.path {
            match (self.path, other.path) {
                (PathRank::Exact, _) => "an exact path wins over a regex or prefix",
                (PathRank::Regex(_), PathRank::Prefix(_)) => "a path regex wins over a prefix",
                (PathRank::Regex(_), _) => "its path regex is longer",
                (PathRank::Prefix(_), _) => "its path prefix is longer",
            }
        } else if self.method != other.method {
            "it names methods"
        } else if self.headers != other.headers {
            "it has more header conditions"
        } else {
            "it has more query conditions"
        })
    }
}
