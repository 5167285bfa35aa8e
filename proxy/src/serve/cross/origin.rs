//! The content of a response's body, part by part, whatever the upstream frames it with.

use std::cell::RefCell;

use pinion_core::fault::Fault;
use pinion_core::http::h1::body::BodyReader;
use pinion_core::http::h1::conn::{Closed, Exchange};

use super::part::{Behind, Part};
use crate::h2::stream::Stream;
use crate::net::buffers::Size;
use crate::shard::Shard;
use crate::sys::buffer::Buffer;
use crate::upstream::connection::Upstream;

/// Where a response's body comes from.
pub(super) enum Origin<'a> {
    /// An HTTP/1 connection.
    Http1 { shard: &'a Shard, upstream: &'a mut Upstream, reader: BodyReader },
    /// A stream.
    Http2(&'a Stream),
}

/// Content that came with a head.
pub(super) enum Early {
    /// So many bytes right behind the head.
    Here(usize),
    /// In a buffer of its own.
    Apart(Buffer),
}

impl Origin<'_> {
    /// What is there of the content already; `rest` is what came behind the head.
    pub(super) fn early(
        &mut self,
        rest: &mut [u8],
        exchange: &RefCell<Exchange>,
    ) -> Result<(Early, Behind), Fault> {
        match self {
            Origin::Http1 { shard, reader, .. } => {
                let fed = reader.feed(rest).map_err(|error| error.upstream_fault())?;
                let behind = after(shard, reader, fed.done, fed.consumed < rest.len(), exchange)?;
                Ok((Early::Here(fed.kept), behind))
            }
            // The text of a head has nothing behind it.
            Origin::Http2(stream) => match stream.try_piece() {
                None => Ok((Early::Here(0), Behind::More)),
                Some(piece) => {
                    let part = Part::from(piece.map_err(|fault| fault.upstream(true))?);
                    done_if_end(&part.behind, exchange);
                    Ok((Early::Apart(part.content), part.behind))
                }
            },
        }
    }

    /// The next part. Waits as long as it takes: the caller watches the time.
    pub(super) async fn next(&mut self, exchange: &RefCell<Exchange>) -> Result<Part, Fault> {
        match self {
            Origin::Http2(stream) => {
                let part = Part::from(stream.piece().await.map_err(|fault| fault.upstream(true))?);
                done_if_end(&part.behind, exchange);
                Ok(part)
            }
            Origin::Http1 { shard, upstream, reader } => loop {
                if !upstream.receiver.started() && !upstream.arm(shard, Size::Large) {
                    return Err(Fault::MemoryLimit);
                }
                let (result, mut content) = upstream.recv().await;
                match result {
                    Ok(1..) => {}
                    Ok(0) => return closed(shard, reader, exchange),
                    Err(_) => {
                        exchange.borrow_mut().on_response_error();
                        return Err(Fault::UpstreamTruncated);
                    }
                }
                let fed = reader.feed(content.unread_mut()).map_err(|error| {
                    exchange.borrow_mut().on_response_error();
                    error.upstream_fault()
                })?;
                let surplus = fed.consumed < content.unread().len();
                content.truncate(fed.kept);
                let behind = after(shard, reader, fed.done, surplus, exchange)?;
                if behind.is_end() || !content.unread().is_empty() {
                    return Ok(Part { content, behind });
                }
            },
        }
    }
}

/// What follows the content that `reader` was just fed.
fn after(
    shard: &Shard,
    reader: &BodyReader,
    done: bool,
    surplus: bool,
    exchange: &RefCell<Exchange>,
) -> Result<Behind, Fault> {
    if !done {
        return Ok(Behind::More);
    }
    exchange.borrow_mut().on_response_done(surplus);
    Behind::end(&shard.buffers, reader.trailers())
}

fn done_if_end(behind: &Behind, exchange: &RefCell<Exchange>) {
    if behind.is_end() {
        exchange.borrow_mut().on_response_done(false);
    }
}

/// The upstream closed its side.
fn closed(shard: &Shard, reader: &mut BodyReader, exchange: &RefCell<Exchange>) -> Result<Part, Fault> {
    match exchange.borrow_mut().on_upstream_closed(false) {
        Closed::Complete => {
            reader.on_eof().map_err(|error| error.upstream_fault())?;
            let behind = Behind::end(&shard.buffers, reader.trailers())?;
            Ok(Part { content: Buffer::stand_in(), behind })
        }
        Closed::Fault(fault) => Err(fault),
        Closed::After => Err(Fault::UpstreamTruncated),
    }
}
