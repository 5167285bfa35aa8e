//! Why a request has no proper answer: the kinds of errors that are counted.

use crate::message::Malformed;

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Failure {
    /// No connection: refused, unreachable, out of ports.
    Connect,
    /// The TLS handshake failed, or a record is wrong.
    Tls,
    /// The peer reset the connection.
    Reset,
    /// The peer closed before the answer was complete.
    Closed,
    /// The answer is not what the protocol allows.
    Malformed,
    /// HTTP/2: the peer did not process the request and said so (REFUSED_STREAM, GOAWAY).
    Refused,
    /// HTTP/2: the peer reset the stream.
    Stream,
    /// No complete answer in time.
    Timeout,
    /// The run ended before a connection was free.
    Unsent,
}

impl Failure {
    /// How reports call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Tls => "tls",
            Failure::Reset => "reset",
            Failure::Closed => "closed",
            Failure::Malformed => "malformed",
            Failure::Refused => "refused",
            Failure::Stream => "stream",
            Failure::Timeout => "timeout",
            Failure::Unsent => "unsent",
        }
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Failure::Malformed
    }
}
