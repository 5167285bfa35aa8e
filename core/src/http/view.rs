//! What routing and policies see of a request: one small interface that every HTTP version offers.
//!
//! Invariants: host and path are in their one form (see [`super::normalize`]); the same form is forwarded.
//!
//! HOT (the borrowed view): no allocation.

use super::head::RequestHead;
use super::normalize::{Normalised, normalize_host, normalize_path};

/// A request as the rules see it.
pub trait RequestView {
    /// The method's token.
    fn method(&self) -> &[u8];
    /// The authority's host, normalised: lower-case, without port; empty when there is none.
    fn host(&self) -> &[u8];
    /// The normalised path.
    fn path(&self) -> &[u8];
    /// The query as sent, without `?`.
    fn query(&self) -> Option<&[u8]>;
    /// Calls `f` with the value of each field of that name (lower-case), in order.
    fn for_each_header(&self, name_lower: &[u8], f: &mut dyn FnMut(&[u8]));
}

/// An HTTP/1 head with its normalised host and path.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    /// The head's bytes, from its request line.
    pub bytes: &'a [u8],
    /// The head.
    pub head: &'a RequestHead,
    /// The normalised host.
    pub host: &'a [u8],
    /// The normalised path.
    pub path: &'a [u8],
}

impl RequestView for HeadView<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_span.of(self.bytes)
    }

    fn host(&self) -> &[u8] {
        self.host
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.query.map(|query| query.of(self.bytes))
    }

    fn for_each_header(&self, name_lower: &[u8], f: &mut dyn FnMut(&[u8])) {
        for field in &self.head.fields {
            if field.name.len() == name_lower.len()
                && field.name.of(self.bytes).eq_ignore_ascii_case(name_lower)
            {
                f(field.value.of(self.bytes));
            }
        }
    }
}

/// A request that owns its parts, for `explain` and tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedRequest {
    /// The method's token.
    pub method: Vec<u8>,
    /// The normalised host.
    pub host: Vec<u8>,
    /// The normalised path.
    pub path: Vec<u8>,
    /// The query without `?`.
    pub query: Option<Vec<u8>>,
    /// Names (any case) and values.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl OwnedRequest {
    // ALLOC: questions of `explain` and of tests own their bytes; no request that is served comes here.
    /// A request for `target` (`/path?query`) at `authority` (`host[:port]`), normalised as one from the
    /// wire would be; `None` where such a request would be refused.
    pub fn new(method: &[u8], authority: &[u8], target: &[u8]) -> Option<Self> {
        let mut room = [0; 256];
        let host = if authority.is_empty() { 0 } else { normalize_host(authority, &mut room)? };
        let mut split = target.splitn(2, |&byte| byte == b'?');
        let raw = split.next().unwrap_or_default();
        let mut path = Vec::new();
        if normalize_path(raw, &mut path).ok()? == Normalised::Same {
            path.clear();
            path.extend_from_slice(raw);
        }
        Some(OwnedRequest {
            method: method.to_vec(),
            host: room.get(..host)?.to_vec(),
            path,
            query: split.next().map(<[u8]>::to_vec),
            headers: Vec::new(),
        })
    }

    // ALLOC: as above.
    /// The same request with one more field.
    #[must_use]
    pub fn with_header(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.push((name.to_vec(), value.to_vec()));
        self
    }
}

impl RequestView for OwnedRequest {
    fn method(&self) -> &[u8] {
        &self.method
    }

    fn host(&self) -> &[u8] {
        &self.host
    }

    fn path(&self) -> &[u8] {
        &self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref()
    }

    fn for_each_header(&self, name_lower: &[u8], f: &mut dyn FnMut(&[u8])) {
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case(name_lower) {
                f(value);
            }
        }
    }
}
