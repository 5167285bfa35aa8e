//! Loopback ports for the programs that are started: the usual ones if they are free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::Problem;

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
