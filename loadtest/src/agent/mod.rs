//! Runs on several machines: agents that send, and one leader that tells them when and adds up.
//!
//! ```text
//! leader                                   agent
//!   │ ◀────────── greeting, proofs ──────────▶ │   who does not know the secret gets no further
//!   │ ───── order: options, files, share ────▶ │   connects
//!   │ ◀──────────────── ready ──────────────── │
//!   │ ◀─────────── ping, pong … ─────────────▶ │   how far its clock is from the leader's
//!   │ ───────────── begin, at … ─────────────▶ │   sends
//!   │ ◀────── counters, five a second ──────── │
//!   │ ◀──────── done: the whole report ─────── │
//! ```
//!
//! An order holds the options that concern the load, the content of files that they name, and which of all
//! threads are the agent's: due times and connections are dealt to threads, so that the agents together send
//! what one machine with all of these threads would.
//!
//! Invariants: an agent listens only where it is told to, and to nobody without a secret or a certificate;
//! it opens no file that the other side names; everything that comes from the other side has a limit, in
//! bytes and in time; an agent that is lost makes the run invalid.

mod access;
mod leader;
mod link;
mod merge;
mod message;
mod offset;
mod order;
mod session;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::cli::Problem;
use crate::cli::agent::AgentOptions;
use crate::sys;
use access::Access;
pub(crate) use leader::run as lead;

/// Connections that have yet to prove themselves, at most.
const STRANGERS_MAX: usize = 32;

/// How long a run in progress has to end when the agent is told to.
const END: Duration = Duration::from_secs(3);

/// What all connections of an agent share.
struct Agent {
    access: Access<ServerConfig>,
    /// Open connections, proven or not.
    connections: AtomicUsize,
    /// Whether a run is in progress: one at a time.
    busy: AtomicBool,
    /// The agent is to end.
    ending: AtomicBool,
}

/// Serves leaders until a signal comes.
///
/// # Errors
/// A file can't be read, or an address can't be listened on.
pub(crate) fn run(options: &AgentOptions) -> Result<(), Problem> {
    sys::block_termination();
    let agent = Arc::new(Agent {
        access: Access::of_agent(options)?,
        connections: AtomicUsize::new(0),
        busy: AtomicBool::new(false),
        ending: AtomicBool::new(false),
    });
    for address in &options.listen {
        let listener = TcpListener::bind(address)
            .map_err(|e| Problem::io(format_args!("can't listen on {address}"), &e))?;
        let address = listener.local_addr().map_err(|e| Problem::io("can't listen", &e))?;
        println!("agent listening on {address} ({})", agent.access.name());
        let agent = Arc::clone(&agent);
        spawn("accept", move || accept(&listener, &agent))?;
    }
    sys::wait_termination();
    agent.ending.store(true, Ordering::Relaxed);
    let until = Instant::now() + END;
    while agent.connections.load(Ordering::Relaxed) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|e| Problem::io("can't start a thread", &e))
}

fn accept(listener: &TcpListener, agent: &Arc<Agent>) {
    loop {
        let Ok((stream, peer)) = listener.accept() else {
            // Out of descriptors, most likely: there may be some soon.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if agent.connections.fetch_add(1, Ordering::Relaxed) >= STRANGERS_MAX {
            agent.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let mine = Arc::clone(agent);
        let served = spawn("leader", move || {
            serve(stream, peer, &mine);
            mine.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if served.is_err() {
            agent.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: TcpStream, peer: SocketAddr, agent: &Agent) {
    match agent.access.greet_leader(stream) {
        Ok(mut link) => {
            if let Err(reason) = session::serve(&mut link, &agent.busy, &agent.ending) {
                eprintln!("pinion-load agent: {peer}: {reason}");
            }
        }
        Err(reason) => eprintln!("pinion-load agent: refused {peer}: {reason}"),
    }
}

#[cfg(test)]
mod tests;
