//! The content of a request's body, part by part, whatever the client frames it with.

use pinion_core::fault::Fault;
use pinion_core::http::Framing;
use pinion_core::http::h1::body::{BodyReader, Emit};

use super::super::downstream::Downstream;
use super::super::relay::behind;
use super::part::{Behind, Part};
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::shard::Shard;
use crate::sys::buffer::Buffer;

/// Where the rest of a request's body comes from.
pub(super) enum Source<'a> {
    /// An HTTP/1 connection.
    Http1(Http1<'a>),
    /// A stream.
    Http2(&'a Stream),
}

/// A body on an HTTP/1 connection.
pub(super) struct Http1<'a> {
    pub(super) shard: &'a Shard,
    pub(super) connection: &'a Downstream,
    /// Checks the framing; its output is framed still.
    pub(super) body: &'a mut BodyReader,
    /// Takes the content out of chunks, for an upstream that knows none.
    pub(super) reader: Option<BodyReader>,
    /// What came behind the body: the beginning of the next request.
    pub(super) leftover: &'a mut Option<Buffer>,
}

/// A reader that takes the content out of a body that was framed anew, if that is in chunks.
pub(super) const fn unchunker(framing: Framing) -> Option<BodyReader> {
    match framing {
        Framing::Chunked => Some(BodyReader::new(Framing::Chunked, Emit::Parted)),
        Framing::None | Framing::Length(_) | Framing::UntilClose => None,
    }
}

impl Source<'_> {
    /// The next part. Waits as long as it takes: the caller watches the time.
    pub(super) async fn next(&mut self) -> Result<Part, Fault> {
        match self {
            Source::Http1(http1) => http1.next().await,
            Source::Http2(stream) => Ok(stream.piece().await.map_err(|fault| fault.downstream())?.into()),
        }
    }
}

impl Http1<'_> {
    async fn next(&mut self) -> Result<Part, Fault> {
        let pool = &self.shard.buffers;
        loop {
            let buffer = pool.take(Size::Large).ok_or(Fault::MemoryLimit)?;
            let (result, mut content) = self.connection.socket.recv(buffer).await;
            let Ok(received @ 1..) = result else {
                return Err(Fault::ClientGone);
            };
            self.connection.view.stats.received_bytes.add(received as u64);
            let fed = self.body.feed(content.unread_mut()).map_err(|error| error.fault())?;
            *self.leftover = behind(self.shard, &content, fed.consumed)?;
            content.truncate(fed.kept);
            let Some(reader) = &mut self.reader else {
                return Ok(Part { content, behind: if fed.done { Behind::End } else { Behind::More } });
            };
            if fed.done {
                content.as_vec().extend_from_slice(self.body.tail());
            }
            let parted = reader.feed(content.unread_mut()).map_err(|error| error.fault())?;
            content.truncate(parted.kept);
            if parted.done {
                return Ok(Part { content, behind: Behind::end(pool, reader.trailers())? });
            }
            if !content.unread().is_empty() {
                return Ok(Part { content, behind: Behind::More });
            }
        }
    }
}
