//! The bytes of one connection, the same for every protocol above: read, written, ended, reset, whether
//! the socket is TCP or Unix and whether TLS lies between.
//!
//! ```text
//! plain: socket ───────────────────────▶ input        output ──────────────────────▶ socket
//! TLS:   socket ─▶ raw ─▶ session ─────▶ input        output ─▶ session ─▶ sealed ─▶ socket
//! ```
//!
//! Reading and writing are halves, so that HTTP/2 can wait for input while it writes. Invariant: no read
//! is given up half-way (on io_uring its bytes would be lost); who waits for something else as well keeps
//! the read's future.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use monoio::buf::IoBufMut as _;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt as _};
use monoio::io::{OwnedReadHalf, OwnedWriteHalf, Split, Splitable as _};
use rustls::ServerConfig;

use super::tls::{Session, TlsFacts};
use crate::sys;

/// How much is read at once: a head with a body of common size in one call.
const READ_BYTES: usize = 32 * 1024;

/// How long a peer is listened to after the last answer, so that it can read it before a reset.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// A connected stream socket.
pub(super) trait Stream: AsyncReadRent + AsyncWriteRent + Split + AsRawFd + 'static {}

impl<T: AsyncReadRent + AsyncWriteRent + Split + AsRawFd + 'static> Stream for T {}

/// The half that is read.
pub(super) struct Reader<S>(OwnedReadHalf<S>);

impl<S: Stream> Reader<S> {
    /// Appends what comes next to `buffer`; says how much that is, 0 at the end.
    pub(super) async fn read(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        buffer.reserve(READ_BYTES);
        let (from, to) = (buffer.len(), buffer.capacity());
        let (result, slice) = self.0.read(buffer.slice_mut(from..to)).await;
        (result, slice.into_inner())
    }
}

/// The half that is written, with the session of both.
pub(super) struct Writer<S: Stream> {
    half: OwnedWriteHalf<S>,
    session: Option<Box<Session>>,
    sealed: Vec<u8>,
    /// TLS failed, and an alert has said so: nothing can follow it.
    has_failed: bool,
}

impl<S: Stream> Writer<S> {
    /// Sends `output` and empties it.
    pub(super) async fn write(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            session.seal(output, &mut self.sealed)?;
            output.clear();
            return self.write_sealed().await;
        }
        if output.is_empty() {
            return Ok(());
        }
        let (result, mut buffer) = self.half.write_all(std::mem::take(output)).await;
        buffer.clear();
        *output = buffer;
        result.map(|_| ())
    }

    /// Sends bytes that need not be copied.
    pub(super) async fn write_static(&mut self, bytes: &'static [u8]) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            session.seal(bytes, &mut self.sealed)?;
            return self.write_sealed().await;
        }
        self.half.write_all(bytes).await.0.map(|_| ())
    }

    async fn write_sealed(&mut self) -> io::Result<()> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        let (result, mut buffer) = self.half.write_all(std::mem::take(&mut self.sealed)).await;
        buffer.clear();
        self.sealed = buffer;
        result.map(|_| ())
    }

    /// Moves what was read from the wire in `raw` to `input`, decrypted, and sends what TLS itself answers.
    /// Says whether the peer has ended its side.
    pub(super) async fn open(&mut self, raw: &mut Vec<u8>, input: &mut Vec<u8>) -> io::Result<bool> {
        let Some(session) = &mut self.session else {
            match input.is_empty() {
                true => std::mem::swap(raw, input),
                false => input.append(raw),
            }
            return Ok(false);
        };
        let received = session.receive(raw, input);
        self.has_failed |= received.is_err();
        raw.clear();
        session.flush(&mut self.sealed)?;
        // Also when it failed: the alert says why.
        self.write_sealed().await?;
        received
    }

    /// Whether bytes are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// Ends this side: the peer reads an end after what was sent.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        if let Some(session) = &mut self.session
            && !self.has_failed
        {
            session.close();
            session.flush(&mut self.sealed)?;
            self.write_sealed().await?;
        }
        self.half.shutdown().await
    }
}

/// Both halves, for protocols that read and write by turns.
pub(super) struct Wire<S: Stream> {
    pub(super) reader: Reader<S>,
    pub(super) writer: Writer<S>,
    /// Memory for what is read encrypted; empty between calls.
    pub(super) raw: Vec<u8>,
}

impl<S: Stream> Wire<S> {
    /// A connection whose bytes are plain.
    pub(super) fn new(stream: S) -> Self {
        let (read, write) = stream.into_split();
        let writer = Writer { half: write, session: None, sealed: Vec::new(), has_failed: false };
        Wire { reader: Reader(read), writer, raw: Vec::new() }
    }

    /// Appends what comes next to `input`; says whether anything did.
    pub(super) async fn read(&mut self, input: &mut Vec<u8>) -> io::Result<bool> {
        if !self.writer.is_tls() {
            let (result, buffer) = self.reader.read(std::mem::take(input)).await;
            *input = buffer;
            return result.map(|length| length > 0);
        }
        let before = input.len();
        loop {
            let (result, buffer) = self.reader.read(std::mem::take(&mut self.raw)).await;
            self.raw = buffer;
            let ended = result? == 0 || self.writer.open(&mut self.raw, input).await?;
            if input.len() > before || ended {
                return Ok(input.len() > before);
            }
        }
    }

    /// Begins TLS and takes the handshake to its end. `early` is what was read of it before; `input` gets
    /// what the client sent behind it.
    pub(super) async fn start_tls(
        &mut self,
        config: &Arc<ServerConfig>,
        early: Vec<u8>,
        input: &mut Vec<u8>,
    ) -> io::Result<TlsFacts> {
        self.writer.session = Some(Box::new(Session::new(config)?));
        self.raw = early;
        loop {
            if !self.raw.is_empty() && self.writer.open(&mut self.raw, input).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(session) = &self.writer.session
                && !session.is_handshaking()
            {
                return Ok(session.facts());
            }
            let (result, buffer) = self.reader.read(std::mem::take(&mut self.raw)).await;
            self.raw = buffer;
            if result? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Resets the connection: the peer reads an error instead of an end. (A Unix socket just closes.)
    pub(super) fn reset(self) {
        // A half that is dropped by itself ends its side first, and an end is no reset.
        if let Ok(stream) = self.reader.0.reunite(self.writer.half) {
            sys::reset_on_close(stream.as_raw_fd());
        }
    }

    /// Ends the connection so that the peer can read the last answer: closing with unread input would
    /// reset it and could destroy what is on its way.
    pub(super) async fn linger(&mut self) -> io::Result<()> {
        self.writer.shutdown().await?;
        let mut rest = std::mem::take(&mut self.raw);
        let drained = async {
            loop {
                rest.clear();
                let (result, buffer) = self.reader.read(std::mem::take(&mut rest)).await;
                rest = buffer;
                if result? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        monoio::time::timeout(LINGER, drained).await.unwrap_or(Ok(()))
    }
}
