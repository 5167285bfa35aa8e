//! What is asked and answered, whatever carries it.

use bytes::Bytes;

/// Name and value, names in lower case.
pub(crate) type Fields = Vec<(String, String)>;

/// Content of a message.
#[derive(Clone, Debug, Default)]
pub(crate) enum Content {
    /// None, and none announced.
    #[default]
    None,
    /// With its length.
    Known(Bytes),
    /// Without a length, in these parts, with these trailers.
    Parts(Vec<Bytes>, Fields),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) fields: Fields,
    pub(crate) content: Content,
}

/// The head of an answer, with the statuses of the interim ones before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) interim: Vec<u16>,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
}

/// A complete answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

/// The connection or stream ended before the answer was complete.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Broken(error.to_string())
    }
}

impl Request {
    /// A request without content.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Request { method: "GET", path: path.into(), fields: Vec::new(), content: Content::None }
    }

    /// With one more field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
}

/// All values of a field.
pub(crate) fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

/// Content of that size in which every position shows.
pub(crate) fn pattern(size: usize) -> Bytes {
    (0..).flat_map(|number: u32| number.to_be_bytes()).take(size).collect()
}
