//! What routing and policies see of a request head.

/// A request head in its one normal form.
pub trait RequestView {
    /// The method, as sent.
    fn method(&self) -> &[u8];
    /// The host, normalised: lower case, no port.
    fn host(&self) -> &[u8];
    /// The path, normalised.
    fn path(&self) -> &[u8];
    /// The query without `?`, raw.
    fn query(&self) -> Option<&[u8]>;
    /// Calls `f` with the value of each field of this lower-case name.
    fn for_each_header(&self, name_lower: &[u8], f: &mut dyn FnMut(&[u8]));
}
