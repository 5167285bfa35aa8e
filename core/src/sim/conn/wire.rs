//! What passes between the simulation's world and its proxy, and one exchange under way.

use crate::http::Method;
use crate::http::h1::body::BodyReader;
use crate::http::h1::conn::Exchange;

/// What the proxy wants done.
#[derive(Debug)]
pub(super) enum Wire {
    Connect { place: usize },
    Upstream { place: usize, id: u64, bytes: Vec<u8> },
    CloseUpstream { place: usize },
    Client { bytes: Vec<u8>, ended: bool },
}

#[derive(Debug)]
pub(super) enum Link {
    Connecting(usize),
    Open { place: usize, reused: bool },
    None,
}

/// One exchange under way.
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) method: Method,
    pub(super) exchange: Exchange,
    pub(super) body: BodyReader,
    /// Request bytes for the upstream: all of them while `streamed` is false.
    pub(super) replay: Vec<u8>,
    /// How many of `replay` were sent on this link.
    pub(super) sent: usize,
    pub(super) streamed: bool,
    pub(super) link: Link,
    pub(super) inbox: Vec<u8>,
    pub(super) response: Option<(BodyReader, bool)>,
    pub(super) tries: u32,
}
