//! What one shard reuses between lookups: regex caches, and header and query values already looked up.
//!
//! Invariants: caches belong to exactly one table (checked by identity at each lookup, rebuilt when the
//! table changed); values belong to one lookup (checked by its number). In steady state nothing allocates:
//! lists have one entry per name or pattern of the table, the text buffer keeps its capacity.
//!
//! HOT: no allocation once it fits the table.

use std::sync::Arc;

use regex_automata::{Anchored, Input, meta};

use super::matcher::Pattern;
use crate::http::RequestView;
use crate::limits::HEADER_BYTES_DEFAULT;

/// Per-shard working memory of [`RouteTable::find`](super::RouteTable::find).
#[derive(Debug)]
pub struct MatchScratch {
    /// The patterns the caches were made for; holding the list keeps its address from being reused.
    patterns: Arc<[meta::Regex]>,
    caches: Vec<meta::Cache>,
    headers: Vec<Value>,
    query: Vec<Value>,
    text: Vec<u8>,
    /// Counts lookups, so that values of an earlier one are seen to be stale.
    round: u64,
    pub(super) steps: u64,
}

/// What a lookup remembers of one name of the table.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    round: u64,
    /// Where the value stands in the text buffer; `None` if the request has none.
    span: Option<(usize, usize)>,
}

impl Default for MatchScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl MatchScratch {
    /// Working memory for any table; the first lookup in a table fits it to that table.
    pub fn new() -> Self {
        // ALLOC: once per shard.
        MatchScratch {
            patterns: Arc::new([]),
            caches: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            text: Vec::with_capacity(HEADER_BYTES_DEFAULT),
            round: 0,
            steps: 0,
        }
    }

    /// Table look-ups and candidates compared since this was made: the cost of finding routes, without
    /// a clock.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Starts a lookup in a table with these patterns and numbers of names.
    #[inline]
    pub(super) fn begin(&mut self, patterns: &Arc<[meta::Regex]>, headers: usize, query: usize) {
        self.round += 1;
        self.text.clear();
        if !Arc::ptr_eq(&self.patterns, patterns)
            || self.headers.len() != headers
            || self.query.len() != query
        {
            self.fit(patterns, headers, query);
        }
    }

    #[cold]
    fn fit(&mut self, patterns: &Arc<[meta::Regex]>, headers: usize, query: usize) {
        // ALLOC: once per table that the shard meets.
        if !Arc::ptr_eq(&self.patterns, patterns) {
            self.patterns = Arc::clone(patterns);
            self.caches = patterns.iter().map(meta::Regex::create_cache).collect();
        }
        self.headers.clear();
        self.headers.resize(headers, Value::default());
        self.query.clear();
        self.query.resize(query, Value::default());
    }

    /// Whether `pattern` describes the whole of `value`.
    pub(super) fn search(&mut self, pattern: &Pattern, value: &[u8]) -> bool {
        search(&mut self.caches, pattern, value)
    }

    /// Looks up the field `name` once per lookup and asks `fits` about its value: the values of repeated
    /// fields joined with `, ` (RFC 9110 section 5.3).
    pub(super) fn header<V: RequestView + ?Sized>(
        &mut self,
        view: &V,
        slot: u32,
        name: &[u8],
        fits: impl FnOnce(Option<&[u8]>, &mut dyn FnMut(&Pattern, &[u8]) -> bool) -> bool,
    ) -> bool {
        let remembered = &mut self.headers[slot as usize];
        if remembered.round != self.round {
            let start = self.text.len();
            let text = &mut self.text;
            let mut found = false;
            view.for_each_header(name, &mut |value| {
                if std::mem::replace(&mut found, true) {
                    text.extend_from_slice(b", ");
                }
                text.extend_from_slice(value);
            });
            *remembered = Value { round: self.round, span: found.then_some((start, self.text.len())) };
        }
        let value = remembered.span.map(|(start, end)| &self.text[start..end]);
        let caches = &mut self.caches;
        fits(value, &mut |pattern, value| search(caches, pattern, value))
    }

    /// Looks up the first query parameter `name` once per lookup and asks `fits` about its decoded value.
    pub(super) fn query(
        &mut self,
        query: Option<&[u8]>,
        slot: u32,
        name: &[u8],
        fits: impl FnOnce(Option<&[u8]>, &mut dyn FnMut(&Pattern, &[u8]) -> bool) -> bool,
    ) -> bool {
        let remembered = &mut self.query[slot as usize];
        if remembered.round != self.round {
            let start = self.text.len();
            let found = query.is_some_and(|query| query_value(query, name, &mut self.text));
            *remembered = Value { round: self.round, span: found.then_some((start, self.text.len())) };
        }
        let value = remembered.span.map(|(start, end)| &self.text[start..end]);
        let caches = &mut self.caches;
        fits(value, &mut |pattern, value| search(caches, pattern, value))
    }
}

fn search(caches: &mut [meta::Cache], pattern: &Pattern, value: &[u8]) -> bool {
    let input = Input::new(value).anchored(Anchored::Yes).earliest(true);
    pattern.regex.search_half_with(&mut caches[pattern.slot as usize], &input).is_some()
}

/// Appends the decoded value of the first parameter called `name` (percent-encoding and `+` decoded, as
/// applications will); false and nothing appended when there is none.
pub(super) fn query_value(query: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    for pair in query.split(|&byte| byte == b'&') {
        let split = memchr::memchr(b'=', pair);
        let (key, value) = split.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        if !pair.is_empty() && Decoded(key).eq(name.iter().copied()) {
            out.extend(Decoded(value));
            return true;
        }
    }
    false
}

/// The bytes of a form-encoded text, decoded; what is no valid escape stands for itself.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        match (first, rest) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    self.0 = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded_and_the_first_one_counts() {
        let check = |query: &str, name: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let found = query_value(query.as_bytes(), name.as_bytes(), &mut out);
            let found = found.then(|| String::from_utf8(out).unwrap());
            assert_eq!(found.as_deref(), expected, "{query} {name}");
        };
        check("a=1&b=2", "b", Some("2"));
        check("a=1&a=2", "a", Some("1"));
        check("a", "a", Some(""));
        check("a=", "a", Some(""));
        check("", "", None);
        check("=1", "", Some("1"));
        check("&&b=x", "b", Some("x"));
        check("b=x+y%20z%2b", "b", Some("x y z+"));
        check("%61=1", "a", Some("1"));
        check("a=%zz%1", "a", Some("%zz%1"));
        check("aa=1", "a", None);
        check("a=b=c", "a", Some("b=c"));
    }
}
