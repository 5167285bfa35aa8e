//! The floor: a forwarder of bytes that understands nothing, for what the kernel's sockets cost any proxy.
//!
//! ```text
//!             recv, send (small: one call each)
//!   client ═══════════════════════════════════▶ upstream      one upstream connection per client connection,
//!          ◀═══════════════════════════════════               the same thing in both directions
//!             splice, pipe, splice (large, or what the other side does not take at once)
//! ```
//!
//! One thread, epoll, level-triggered: a small request and its answer are two receives and two sends, and a
//! share of a wait. What comes in pieces as large as the buffer goes through a pipe instead, which does
//! not copy. Invariant: bytes that wait are in the pipe of their direction and nowhere else; while some
//! wait, their source is not read.
//!
//! Not here: limits, time-outs, errors that are told to anybody. A connection that fails is closed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags};

use self::sockets::{accept, connect, listen};
use super::address::Address;
use crate::Problem;

mod sockets;

/// A receive that fills this is part of something large: more than the answers called small have.
const BUFFER_BYTES: usize = 16 * 1024;

/// How much a pipe is asked to hold, and the most that is spliced at once.
const PIPE_BYTES: usize = 256 * 1024;

/// Events taken in one wait.
const EVENTS_MAX: usize = 256;

/// The number of the listening socket's events; connections have their place and side.
const LISTENER: u64 = u64::MAX;

/// Options of the forwarder.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// IP:PORT or unix:PATH
    #[arg(long)]
    listen: Address,
    /// IP:PORT or unix:PATH
    #[arg(long)]
    upstream: Address,
}

/// Forwards until it is killed.
///
/// # Errors
/// It can't listen, or the kernel's event queue fails.
pub(crate) fn run(options: &Options) -> Result<(), Problem> {
    let listener = listen(&options.listen).map_err(|e| format!("can't listen: {e}"))?;
    Forwarder::new(listener, options.upstream.clone())
        .and_then(|mut forwarder| forwarder.run())
        .map_err(|e| format!("the event queue fails: {e}"))
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        }
    }
}

/// What flows from one side to the other.
#[derive(Debug, Default)]
struct Flow {
    /// Made when it is first needed: reading end, writing end.
    pipe: Option<(OwnedFd, OwnedFd)>,
    /// Bytes in the pipe.
    waiting: usize,
    /// The last piece was large.
    large: bool,
    /// The source has ended, and the sink was told.
    done: bool,
}

/// A client's connection with its upstream's; flows are named by their source.
#[derive(Debug)]
struct Pair {
    sockets: [OwnedFd; 2],
    flows: [Flow; 2],
}

struct Forwarder {
    epoll: OwnedFd,
    listener: OwnedFd,
    upstream: Address,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
}

impl Forwarder {
    fn new(listener: OwnedFd, upstream: Address) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Ok(Forwarder { epoll, listener, upstream, pairs: Vec::new(), free: Vec::new(), buffer })
    }

    fn run(&mut self) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    number => self.serve(number, event.flags),
                }
            }
        }
    }

    /// Takes what is there; a connection whose upstream can't be reached is closed.
    fn accept(&mut self) {
        while let Ok(client) = accept(&self.listener) {
            let Ok(upstream) = connect(&self.upstream) else { continue };
            let place = self.free.pop().unwrap_or_else(|| {
                self.pairs.push(None);
                self.pairs.len() - 1
            });
            let watched =
                [(&client, Side::Client), (&upstream, Side::Upstream)].iter().all(|(socket, side)| {
                    let data = EventData::new_u64((place as u64) << 1 | *side as u64);
                    epoll::add(&self.epoll, socket, data, EventFlags::IN).is_ok()
                });
            if watched {
                self.pairs[place] =
                    Some(Pair { sockets: [client, upstream], flows: [Flow::default(), Flow::default()] });
            } else {
                self.free.push(place);
            }
        }
    }

    /// Something happened to one side of a pair, which may have been closed by an event before.
    fn serve(&mut self, number: u64, flags: EventFlags) {
        let place = (number >> 1) as usize;
        let side = if number & 1 == 0 { Side::Client } else { Side::Upstream };
        let Some(pair) = self.pairs.get_mut(place).and_then(Option::as_mut) else { return };
        let served = (|| {
            // The error itself is of no interest. A side that hung up and has ended can take nothing more.
            let gone = flags.contains(EventFlags::HUP) && pair.flows[side as usize].done;
            if gone || flags.contains(EventFlags::ERR) {
                return Err(Errno::CONNRESET);
            }
            if flags.contains(EventFlags::OUT) && pair.flows[side.other() as usize].waiting > 0 {
                pair.flush(side.other())?;
                pair.watch(&self.epoll, place)?;
            }
            let may_read = flags.intersects(EventFlags::IN | EventFlags::HUP);
            if may_read && pair.flows[side as usize].waiting == 0 && !pair.flows[side as usize].done {
                pair.read(side, &mut self.buffer)?;
                let flow = &pair.flows[side as usize];
                if flow.waiting > 0 || flow.done {
                    pair.watch(&self.epoll, place)?;
                }
            }
            Ok::<_, Errno>(())
        })();
        if served.is_err() || pair.flows.iter().all(|flow| flow.done) {
            // Closing the sockets takes them out of the event queue.
            self.pairs[place] = None;
            self.free.push(place);
        }
    }
}

impl Pair {
    /// Takes what `from` has and passes it on.
    fn read(&mut self, from: Side, buffer: &mut [u8]) -> Result<(), Errno> {
        if self.flows[from as usize].large {
            return self.splice(from);
        }
        let received = match rustix::net::recv(&self.sockets[from as usize], &mut *buffer, RecvFlags::empty())
        {
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        if received == 0 {
            return self.end(from);
        }
        let sink = &self.sockets[from.other() as usize];
        let sent = match rustix::net::send(sink, &buffer[..received], SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error),
        };
        let flow = &mut self.flows[from as usize];
        flow.large = received == buffer.len();
        if sent < received {
            let rest = &buffer[sent..received];
            // An empty pipe takes a whole buffer.
            if rustix::io::write(flow.pipe()?.1, rest)? != rest.len() {
                return Err(Errno::NOBUFS);
            }
            flow.waiting = rest.len();
        }
        Ok(())
    }

    /// Moves a large piece without copying it.
    fn splice(&mut self, from: Side) -> Result<(), Errno> {
        let source = self.sockets[from as usize].as_fd();
        let flow = &mut self.flows[from as usize];
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match rustix::pipe::splice(source, None, flow.pipe()?.1, None, PIPE_BYTES, flags) {
            Ok(0) => self.end(from),
            Ok(moved) => {
                flow.waiting = moved;
                flow.large = moved >= BUFFER_BYTES;
                self.flush(from)
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                flow.large = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Passes on what waits, as far as the other side takes it.
    fn flush(&mut self, from: Side) -> Result<(), Errno> {
        let sink = self.sockets[from.other() as usize].as_fd();
        let flow = &mut self.flows[from as usize];
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        while flow.waiting > 0 {
            let waiting = flow.waiting;
            match rustix::pipe::splice(flow.pipe()?.0, None, sink, None, waiting, flags) {
                Ok(moved) => flow.waiting = waiting.saturating_sub(moved),
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `from` sends no more: its sink is told.
    fn end(&mut self, from: Side) -> Result<(), Errno> {
        self.flows[from as usize].done = true;
        match rustix::net::shutdown(&self.sockets[from.other() as usize], Shutdown::Write) {
            Ok(()) | Err(Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for the events that matter now: a side is read while nothing of it waits, and is asked for room
    /// while something waits for it.
    fn watch(&self, epoll: &OwnedFd, place: usize) -> Result<(), Errno> {
        for side in [Side::Client, Side::Upstream] {
            let (own, towards) = (&self.flows[side as usize], &self.flows[side.other() as usize]);
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, own.waiting == 0 && !own.done);
            flags.set(EventFlags::OUT, towards.waiting > 0);
            let data = EventData::new_u64((place as u64) << 1 | side as u64);
            epoll::modify(epoll, &self.sockets[side as usize], data, flags)?;
        }
        Ok(())
    }
}

impl Flow {
    /// The ends of the pipe: reading, writing.
    fn pipe(&mut self) -> Result<(&OwnedFd, &OwnedFd), Errno> {
        if self.pipe.is_none() {
            let (reading, writing) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
            // Where users may not have pipes as large, the usual one will do.
            let _ = rustix::pipe::fcntl_setpipe_size(&writing, PIPE_BYTES);
            self.pipe = Some((reading, writing));
        }
        let ends = self.pipe.as_ref().ok_or(Errno::BADF)?;
        Ok((&ends.0, &ends.1))
    }
}

#[cfg(test)]
mod tests;
