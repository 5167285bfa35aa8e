//! One direction of a tunnel: bytes from one socket to another until the first ends, whatever they are.
//!
//! ```text
//!   wait (holds nothing) ──> readable ──> copy: one small buffer ──filled?──> splice: until nothing is there
//!     ^                                      │no                                 │
//!     └──────────────────────────────────────┴───────────────────────────────────┘
//! ```
//!
//! Messages are copied, which takes two system calls; what comes in bulk is spliced and never enters user space,
//! or copied in large pieces where user space opens or seals TLS records.
//!
//! Invariants:
//! - while nothing moves neither buffer nor pipe is held: an idle tunnel costs its descriptors and its task;
//! - nothing is received before what came is sent, so that a slow reader holds at most a buffer or a pipe;
//! - no direction keeps the shard's thread for more than [`TURN_BYTES`] or [`TURN_STEPS`].
//!
//! Not here: deadlines, the other direction, what an end means.

use rustix::io::Errno;

use super::Driver;
use super::buffers::{BufferPool, Size};
use super::send::send_all;
use super::socket::Socket;
use super::splice::{Broken, Pipes, Spliced, prepare_for, splice_some};
use crate::sys::buffer::Buffer;
use crate::sys::task::give_way;
use crate::tls::session::Session;

/// A splice that moved less than this goes back to copying: below, the pipe costs more than the copy.
const BULK_BYTES: u64 = 64 * 1024;
/// After so many bytes, or steps, other tasks have their turn.
const TURN_BYTES: u64 = 1024 * 1024;
const TURN_STEPS: u32 = 16;

/// What a pump works with.
pub(crate) struct Tools<'a> {
    pub(crate) buffers: &'a BufferPool,
    pub(crate) pipes: &'a Pipes,
    pub(crate) driver: Driver,
}

/// Bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many were received.
    Received(usize),
    /// So many were sent through a buffer.
    Copied(usize),
    /// So many were sent through a pipe.
    Spliced(usize),
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The source ended its sending direction; all of it was sent.
    Finished,
    /// The source's connection is reset.
    Source,
    /// The destination takes no more.
    Destination,
    /// There was neither a buffer nor a pipe.
    NoMemory,
}

/// Moves `first`, and then everything that comes from `from`, to `to`.
pub(crate) async fn pump(
    from: &Socket,
    to: &Socket,
    first: Option<Buffer>,
    tools: &Tools<'_>,
    progress: impl Fn(Moved),
) -> Ended {
    if let Some(first) = first
        && send_all(to, first, |sent| progress(Moved::Copied(sent))).await.0.is_err()
    {
        return Ended::Destination;
    }
    prepare(from, to);
    let mut bulk = false;
    let mut steps = 0;
    loop {
        // Where much has come more is there, most probably.
        if !bulk && from.readable().await.is_err() {
            return Ended::Source;
        }
        let buffer = match bulk {
            true if prepare(from, to) => None,
            true => tools.buffers.take(Size::Large),
            false => tools.buffers.take(Size::Small),
        };
        let step = match buffer {
            Some(buffer) => copy(from, to, buffer, &progress).await,
            None => splice(from, to, tools, &progress).await,
        };
        match step {
            Ok(more) => bulk = more,
            Err(ended) => return ended,
        }
        steps += 1;
        if bulk || steps == TURN_STEPS {
            steps = 0;
            give_way().await;
        }
    }
}

/// Has the kernel handle TLS records where it may, and says whether bytes can be spliced. Nobody looks at those
/// of a tunnel, however few they are.
fn prepare(from: &Socket, to: &Socket) -> bool {
    prepare_for(from, to, u64::MAX)
}

/// Passes on what fits `buffer`; says whether it was filled, so that there is probably more.
async fn copy(
    from: &Socket,
    to: &Socket,
    mut buffer: Buffer,
    progress: &impl Fn(Moved),
) -> Result<bool, Ended> {
    match from.try_recv(&mut buffer) {
        Ok(0) => return Err(Ended::Finished),
        Ok(received) => progress(Moved::Received(received)),
        Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
        Err(_) => return Err(Ended::Source),
    }
    // Records take room that their plaintext leaves: what came in bulk ends amid one.
    let filled = buffer.room() == 0 || from.session().is_some_and(Session::is_amid);
    let (sent, _) = send_all(to, buffer, |sent| progress(Moved::Copied(sent))).await;
    sent.map(|()| filled).map_err(|_| Ended::Destination)
}

/// Passes on what is there; says whether it was much.
async fn splice(
    from: &Socket,
    to: &Socket,
    tools: &Tools<'_>,
    progress: &impl Fn(Moved),
) -> Result<bool, Ended> {
    let counted = |read: usize, written: usize| {
        if read > 0 {
            progress(Moved::Received(read));
        }
        if written > 0 {
            progress(Moved::Spliced(written));
        }
    };
    let Ok(spliced) = splice_some(from, to, TURN_BYTES, tools.pipes, tools.driver, counted).await else {
        // No descriptors for a pipe: copying goes on, if there is a buffer.
        return match tools.buffers.take(Size::Small) {
            Some(buffer) => copy(from, to, buffer, progress).await.map(|_| false),
            None => Err(Ended::NoMemory),
        };
    };
    match spliced {
        Ok(Spliced::Some(moved)) => Ok(moved >= BULK_BYTES),
        Ok(Spliced::End) => Err(Ended::Finished),
        Err(Broken::Source) => Err(Ended::Source),
        Err(Broken::Destination) => Err(Ended::Destination),
    }
}
