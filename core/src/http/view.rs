//! What routing and policies see of a request: one small interface that every HTTP version offers.
//!
//! Invariants: host and path are in their one form (see [`super::normalize`]); the same form is forwarded.
//!
//! HOT: no allocation. Not here: a view that owns its parts (`owned`).

use super::head::RequestHead;

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
