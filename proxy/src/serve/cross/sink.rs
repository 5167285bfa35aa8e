//! Where the content of a request's body goes: onto an HTTP/1 connection, framed as its head said, or a stream.

use pinion_core::fault::Fault;

use super::part::{Behind, Part, framed};
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::buffers::BufferPool;
use crate::net::send::send_all;
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;

/// Where a request's body goes.
pub(super) enum Sink<'a> {
    /// An HTTP/1 connection; `chunked`: the length was not known.
    Http1 { socket: &'a Socket, chunked: bool },
    /// A stream.
    Http2(&'a Stream),
}

/// Why a request was not sent to its end.
pub(super) enum Stopped {
    /// The upstream takes no more; it may have answered.
    Closed,
    /// The client's fault, or ours.
    Fault(Fault),
}

impl From<StreamFault> for Stopped {
    fn from(fault: StreamFault) -> Self {
        match fault {
            StreamFault::Memory => Stopped::Fault(Fault::MemoryLimit),
            // It may have answered before.
            StreamFault::Head(_) | StreamFault::Reset { .. } | StreamFault::Closed => Stopped::Closed,
        }
    }
}

impl Sink<'_> {
    /// Sends what is framed already.
    pub(super) async fn message(&self, message: Buffer) -> Result<(), Stopped> {
        match self {
            Sink::Http1 { socket, .. } => {
                send_all(socket, message, |_| ()).await.0.map_err(|_| Stopped::Closed)
            }
            Sink::Http2(_) => Ok(()),
        }
    }

    /// Sends a part of the body.
    pub(super) async fn send(&self, pool: &BufferPool, part: Part) -> Result<(), Stopped> {
        match self {
            Sink::Http1 { chunked, .. } => {
                self.message(framed(pool, part, *chunked).map_err(Stopped::Fault)?).await
            }
            Sink::Http2(stream) => Ok(send_part(stream, part.content.unread(), &part.behind, |_| ()).await?),
        }
    }
}

/// Sends a part of a body on a stream, calling `progress` as it goes.
pub(super) async fn send_part(
    stream: &Stream,
    content: &[u8],
    behind: &Behind,
    progress: impl Fn(usize),
) -> Result<(), StreamFault> {
    let end = matches!(behind, Behind::End);
    if end || !content.is_empty() {
        stream.send(content, end, progress).await?;
    }
    match behind {
        Behind::Trailers(lines) => stream.send_trailers(lines.unread()),
        Behind::More | Behind::End => Ok(()),
    }
}
