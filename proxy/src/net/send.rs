//! Sending all of a buffer, and closing with manners.

use std::io;

use rustix::net::Shutdown;

use crate::sys::buffer::Buffer;
use crate::sys::socket::Socket;

/// Sends every unread byte of `buffer` in order, calling `progress` after each part; gives the buffer back
/// empty, or with what was not sent.
pub(crate) async fn send_all(
    socket: &Socket,
    mut buffer: Buffer,
    progress: impl Fn(usize),
) -> (io::Result<()>, Buffer) {
    loop {
        let total = buffer.unread().len();
        if total == 0 {
            return (Ok(()), buffer);
        }
        let (result, returned) = socket.send_some(buffer).await;
        buffer = returned;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
            Ok(sent) => {
                progress(sent);
                buffer.take(sent);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = socket.writable().await {
                    return (Err(error), buffer);
                }
            }
            Err(error) => return (Err(error), buffer),
        }
    }
}

/// Ends the sending direction: the peer reads an end of stream after what was sent.
pub(crate) fn finish_sending(socket: &Socket) {
    // Fails only when the peer is gone already.
    let _ = rustix::net::shutdown(socket, Shutdown::Write);
}
