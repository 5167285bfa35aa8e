//! The check of a TCP proxy: what is sent comes back, on many connections, and the end of it too.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;

use crate::Problem;
use crate::peers::address::Address;
use crate::peers::http::PATIENCE;

/// Whether `bytes` of content come back on each of `connections`, and are at an end when they are to be.
///
/// # Errors
/// They do not.
pub(super) fn check(address: &Address, bytes: usize, connections: u32) -> Result<(), Problem> {
    // Positions in it show: a byte that is lost or moved changes what comes back.
    let sent: Vec<u8> = (0..bytes).flat_map(|number| number.to_be_bytes()).take(bytes).collect();
    let connect = |_| {
        let stream = address.connect(PATIENCE).map_err(|e| format!("can't connect to {address}: {e}"))?;
        stream.into_tcp()
    };
    let streams = (0..connections).map(connect).collect::<Result<Vec<_>, Problem>>()?;
    for mut stream in streams {
        let failed = |e: std::io::Error| format!("{bytes} bytes did not come back: {e}");
        let mut sender = stream.try_clone().map_err(failed)?;
        let came = thread::scope(|scope| {
            scope.spawn(|| sender.write_all(&sent).and_then(|()| sender.shutdown(Shutdown::Write)));
            let mut came = Vec::new();
            stream.read_to_end(&mut came).map(|_| came)
        });
        if came.map_err(failed)? != sent {
            return Err(format!("{bytes} bytes came back changed"));
        }
    }
    Ok(())
}
