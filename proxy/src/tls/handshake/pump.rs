//! A handshake's bytes between its socket and the library: one more record at a time.
//!
//! Invariants: nothing is received beyond what the peer has sent so far, and what the library does not take of it is
//! left for the session.

use std::rc::Rc;

use pinion_core::tls::hello::{HelloReader, Progress};
use pinion_core::tls::reason::TlsReason;
use rustls::unbuffered::ConnectionState;

use crate::net::buffers::Size;
use crate::net::send::{finish_sending, send_all};
use crate::net::socket::Socket;
use crate::sys::buffer::Buffer;
use crate::tls::TlsShard;
use crate::tls::engine::{self, RECORD_BYTES_MAX, Records, record_bytes};
use crate::tls::failure::TlsFailure;

/// The first bytes of records (RFC 8446 section 5.1): ChangeCipherSpec, alert, handshake, data.
const RECORD_KINDS: std::ops::RangeInclusive<u8> = 20..=23;
/// A fatal alert in plain text: where the library gives up on the first message without one.
const DECODE_ERROR: &[u8] = &[21, 3, 3, 0, 2, 2, 50];
/// The answer to an HTTP request without TLS.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
content-length: 52\r\nconnection: close\r\n\r\nThe client sent an HTTP request to an HTTPS server.\n";
/// How much more of such a client is read and thrown away.
const PLAIN_HTTP_BYTES: usize = 64 * 1024;

/// A handshake's bytes.
pub(super) struct Pump<'a> {
    shard: &'a Rc<TlsShard>,
    socket: &'a Socket,
    /// Received and not done with.
    pub(super) inc: Buffer,
    /// How many of them the library has been shown.
    shown: usize,
    /// What the library wants sent.
    out: Buffer,
    /// Something was sent, after which records may have to be encrypted.
    spoken: bool,
}

/// What the library needs to go on.
enum Need {
    /// To be asked again.
    Nothing,
    /// The next record.
    Record,
    /// Nothing ever: the handshake is finished.
    Finished,
}

impl<'a> Pump<'a> {
    /// At the beginning; `early` are bytes that were received already.
    pub(super) fn new(
        shard: &'a Rc<TlsShard>,
        socket: &'a Socket,
        early: Option<Buffer>,
    ) -> Result<Self, TlsFailure> {
        let take = || shard.buffers.take(Size::Small).ok_or(TlsReason::Memory);
        let inc = match early {
            Some(early) => early,
            None => take()?,
        };
        Ok(Pump { shard, socket, inc, shown: 0, out: take()?, spoken: false })
    }

    /// Waits for the whole ClientHello, for the name in it. One that can't be read is left to the library, which
    /// answers it.
    pub(super) async fn hello(&mut self) -> Result<Option<Box<str>>, TlsFailure> {
        if self.inc.unread().is_empty() {
            self.receive().await?;
        }
        self.is_tls().await?;
        let mut reader = HelloReader::new();
        loop {
            match reader.read(self.inc.unread()) {
                Ok(Progress::Complete(hello)) => return Ok(hello.server_name),
                Ok(Progress::Partial) => self.receive().await?,
                Err(_) => return Ok(None),
            }
        }
    }

    /// Tells other protocols from TLS by the first byte; an HTTP client gets an answer that it can read.
    async fn is_tls(&mut self) -> Result<(), TlsFailure> {
        let Some(first) = self.inc.unread().first() else {
            return Err(TlsReason::Gone.into());
        };
        if RECORD_KINDS.contains(first) {
            return Ok(());
        }
        if !first.is_ascii_uppercase() {
            return Err(TlsReason::NotTls.into());
        }
        self.out.clear();
        self.out.as_vec().extend_from_slice(PLAIN_HTTP_ANSWER);
        self.send().await?;
        finish_sending(self.socket);
        // What it still sends is read, so that no reset destroys the answer.
        let mut read = 0;
        while read < PLAIN_HTTP_BYTES {
            self.inc.clear();
            match self.receive().await {
                Ok(()) => read += self.inc.unread().len(),
                Err(_) => break,
            }
        }
        Err(TlsReason::PlainHttp.into())
    }

    /// Runs the handshake of `conn` to its end.
    pub(super) async fn run<C: Records>(&mut self, conn: &mut C) -> Result<(), TlsFailure> {
        loop {
            let need = match self.turn(conn) {
                Ok(need) => need,
                Err(error) => {
                    engine::drain(conn, self.out.as_vec());
                    if self.out.unread().is_empty() && !self.spoken {
                        self.out.as_vec().extend_from_slice(DECODE_ERROR);
                    }
                    // The peer may be gone: what was wrong is known anyway.
                    let _ = self.send().await;
                    return Err(error.into());
                }
            };
            match need {
                Need::Nothing => {}
                Need::Record => {
                    self.send().await?;
                    self.next_record().await?;
                    self.shard.steps.enter().await;
                }
                // Part of another message behind the last one.
                Need::Finished if self.shown > 0 => return Err(TlsReason::Protocol.into()),
                Need::Finished => return self.send().await,
            }
        }
    }

    /// Shows the library what it may see.
    fn turn<C: Records>(&mut self, conn: &mut C) -> Result<Need, rustls::Error> {
        let status = conn.process(&mut self.inc.unread_mut()[..self.shown]);
        let taken = status.discard;
        let state = status.state?;
        let mut blocked = false;
        let need = match state {
            ConnectionState::EncodeTlsData(data) => {
                engine::encode(data, self.out.as_vec());
                Need::Nothing
            }
            ConnectionState::TransmitTlsData(sent) => {
                sent.done();
                Need::Nothing
            }
            ConnectionState::WriteTraffic(_) => {
                blocked = true;
                Need::Finished
            }
            ConnectionState::BlockedHandshake => Need::Record,
            // The peer has finished and ended at once.
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                return Err(rustls::Error::AlertReceived(rustls::AlertDescription::CloseNotify));
            }
            _ => return Err(rustls::Error::General("data before the handshake's end".into())),
        };
        self.inc.take(taken);
        self.shown -= taken;
        // The library may send before the handshake is over; nobody here does.
        if blocked && conn.common().is_handshaking() {
            return Ok(Need::Record);
        }
        Ok(need)
    }

    /// Has one more record to be shown.
    async fn next_record(&mut self) -> Result<(), TlsFailure> {
        loop {
            let rest = &self.inc.unread()[self.shown..];
            if rest.first().is_some_and(|kind| !RECORD_KINDS.contains(kind)) {
                return Err(TlsReason::NotTls.into());
            }
            // A length that no record has is not waited for: the library says what is wrong.
            if let Some(record) = record_bytes(rest)
                && (record <= rest.len() || record > RECORD_BYTES_MAX)
            {
                self.shown += record.min(rest.len());
                return Ok(());
            }
            self.receive().await?;
        }
    }

    /// Receives more.
    async fn receive(&mut self) -> Result<(), TlsFailure> {
        if self.inc.room() == 0 {
            self.inc.compact();
        }
        if self.inc.room() == 0 {
            if self.inc.capacity() >= Size::Large.bytes() {
                return Err(TlsReason::Protocol.into());
            }
            let mut larger = self.shard.buffers.take(Size::Large).ok_or(TlsReason::Memory)?;
            larger.as_vec().extend_from_slice(self.inc.unread());
            self.inc = larger;
        }
        let inc = std::mem::replace(&mut self.inc, Buffer::stand_in());
        let (result, inc) = self.socket.recv(inc).await;
        self.inc = inc;
        match result? {
            0 => Err(TlsReason::Gone.into()),
            _ => Ok(()),
        }
    }

    /// Sends what the library wants sent.
    async fn send(&mut self) -> Result<(), TlsFailure> {
        self.spoken |= !self.out.unread().is_empty();
        let out = std::mem::replace(&mut self.out, Buffer::stand_in());
        let (sent, out) = send_all(self.socket, out, |_| ()).await;
        self.out = out;
        Ok(sent?)
    }
}
