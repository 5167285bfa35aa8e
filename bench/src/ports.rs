//! Loopback ports for the programs that are started: the usual ones if they are free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as SocketName, UnixListener};
use std::time::{Duration, Instant};

use crate::Problem;

/// The name, in the kernel's abstract namespace, of the socket that whoever takes ports has bound.
const TURN_NAME: &[u8] = b"pinion-bench-ports";

/// How long others may take to start their programs.
const TURN_PATIENCE: Duration = Duration::from_secs(60);

/// The right to pick ports and start programs on them. Ports are free again between the picking and the
/// start, and proxies share theirs by `SO_REUSEPORT`, so that two demos at a time could take the same
/// ones without noticing. The kernel gives the turn back when this program ends, however it ends.
pub(crate) struct Turn {
    /// Bound to the name as long as the turn lasts.
    _socket: UnixListener,
}

impl Turn {
    /// Waits until nobody else has the turn.
    ///
    /// # Errors
    /// Someone keeps it for too long.
    pub(crate) fn take() -> Result<Self, Problem> {
        let address =
            SocketName::from_abstract_name(TURN_NAME).map_err(|e| format!("no socket name: {e}"))?;
        let deadline = Instant::now() + TURN_PATIENCE;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(socket) => return Ok(Turn { _socket: socket }),
                Err(error) if Instant::now() >= deadline => {
                    return Err(format!(
                        "another pinion-bench is starting programs and does not end: {error}"
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Picks ports of 127.0.0.1, each one once.
#[derive(Default)]
pub(crate) struct Ports {
    /// Held until the picking is over, so that no port is picked twice.
    held: Vec<TcpListener>,
}

impl Ports {
    /// `usual` if nobody has it, else some free port.
    ///
    /// # Errors
    /// The machine has no free port.
    pub(crate) fn pick(&mut self, usual: u16) -> Result<SocketAddr, Problem> {
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = bind(usual).or_else(|_| bind(0)).map_err(|e| format!("no free port: {e}"))?;
        let address = listener.local_addr().map_err(|e| format!("no free port: {e}"))?;
        self.held.push(listener);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_the_turn() {
        let turn = Turn::take().unwrap();
        let start = Instant::now();
        let other = std::thread::spawn(|| Turn::take().map(|_| Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        drop(turn);
        assert!(other.join().unwrap().unwrap() - start >= Duration::from_millis(100));
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut ports = Ports::default();
        let first = ports.pick(port).unwrap();
        assert_ne!(first.port(), port);
        // Held until the end: the same wish again gets another one.
        let second = ports.pick(first.port()).unwrap();
        assert_ne!(second, first);
        drop((taken, ports));
        // Another program may take a port that was just given back, but not each of twenty.
        let usual_is_picked = (0..20).any(|_| {
            let port = Ports::default().pick(0).unwrap().port();
            Ports::default().pick(port).unwrap().port() == port
        });
        assert!(usual_is_picked);
    }
}
