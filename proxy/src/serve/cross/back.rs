//! Where a response goes: onto the client's HTTP/1 connection, framed as its head said, or its stream.

use pinion_core::fault::Fault;
use pinion_core::http::h1::encode::{ResponseFrame, encode_interim, encode_response};
use pinion_core::http::{Framing, ResponseHead, h2};
use pinion_core::route::Route;

use super::super::downstream::Downstream;
use super::super::forward::HEAD_ROOM;
use super::Patience;
use super::part::{Behind, Part, append_chunk, append_end, framed, take};
use super::sink::send_part;
use crate::h2::StreamFault;
use crate::h2::stream::Stream;
use crate::net::send::send_all;
use crate::shard::Shard;
use crate::shard::lease::Lease;
use crate::shard::timer::Lane;
use crate::sys::buffer::Buffer;

/// Where a response goes.
pub(super) struct Back<'a> {
    pub(super) shard: &'a Shard,
    pub(super) connection: &'a Downstream,
    pub(super) lease: &'a Lease,
    /// The client's stream; without one it is the connection itself.
    pub(super) stream: Option<&'a Stream>,
    /// Content goes in chunks.
    pub(super) chunked: bool,
    pub(super) patience: Patience,
}

impl Back<'_> {
    /// Passes an interim head on.
    pub(super) async fn interim(&self, bytes: &[u8], head: &ResponseHead) -> Result<(), Fault> {
        if let Some(stream) = self.stream {
            stream.ready().await.map_err(StreamFault::downstream)?;
            let sent = stream.send_head(false, |encoder, out| {
                h2::head::encode_interim(encoder, out, bytes, head);
            });
            return sent.map_err(StreamFault::downstream);
        }
        let mut out = take(&self.shard.buffers, bytes.len() + HEAD_ROOM)?;
        encode_interim(out.as_vec(), bytes, head);
        self.send(out).await
    }

    /// Sends the final head and what is there of the content, in one go where it fits.
    pub(super) async fn head(
        &mut self,
        bytes: &[u8],
        head: &ResponseHead,
        frame: &ResponseFrame,
        route: &Route,
        (content, behind): (&[u8], &Behind),
    ) -> Result<(), Fault> {
        let edits = &route.response_headers;
        if let Some(stream) = self.stream {
            let over = content.is_empty() && matches!(behind, Behind::End);
            stream.ready().await.map_err(StreamFault::downstream)?;
            let sent = stream.send_head(over, |encoder, out| {
                h2::head::encode_response(encoder, out, bytes, head, edits, frame.framing);
            });
            sent.map_err(StreamFault::downstream)?;
            if over {
                return Ok(());
            }
            let sent = send_part(stream, content, behind, |sent| self.moved(sent)).await;
            return sent.map_err(StreamFault::downstream);
        }
        self.chunked = frame.framing == Framing::Chunked;
        let mut out = take(&self.shard.buffers, bytes.len() + HEAD_ROOM + content.len())?;
        encode_response(out.as_vec(), bytes, head, frame, edits);
        if self.chunked {
            append_chunk(out.as_vec(), content);
            if behind.is_end() {
                append_end(&mut out, behind.trailers());
            }
        } else {
            out.as_vec().extend_from_slice(content);
        }
        self.send(out).await
    }

    /// Sends a part of the body.
    pub(super) async fn part(&self, part: Part) -> Result<(), Fault> {
        match self.stream {
            Some(stream) => {
                let progress = |sent| self.moved(sent);
                let sent = send_part(stream, part.content.unread(), &part.behind, progress).await;
                sent.map_err(StreamFault::downstream)
            }
            None => self.send(framed(&self.shard.buffers, part, self.chunked)?).await,
        }
    }

    fn moved(&self, sent: usize) {
        self.connection.view.stats.sent_bytes.add(sent as u64);
        self.lease.moved(Lane::Write, sent);
    }

    /// Sends to a client without a stream.
    pub(super) async fn send(&self, out: Buffer) -> Result<(), Fault> {
        let (sent, _) = send_all(&self.connection.socket, out, |sent| self.moved(sent)).await;
        sent.map_err(|_| Fault::ClientGone)
    }
}
