//! TCP echo: every byte comes back, in order, until the peer ends its side.

use std::io;

use super::wire::{Stream, Wire};

/// Serves one connection to its end; `input` is what has been read of it.
pub(super) async fn serve<S: Stream>(mut wire: Wire<S>, mut input: Vec<u8>) -> io::Result<()> {
    loop {
        wire.writer.write(&mut input).await?;
        if !wire.read(&mut input).await? {
            return wire.linger().await;
        }
    }
}
