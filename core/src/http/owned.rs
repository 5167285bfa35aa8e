//! A request that owns its parts: what `explain` and tests show to the rules.
//!
//! Invariants: host and path are normalised as those of a request from the wire.
//!
//! Not here: the view of a request being served (`view`).

use super::normalize::{Normalised, normalize_host, normalize_path};
use super::view::RequestView;

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
