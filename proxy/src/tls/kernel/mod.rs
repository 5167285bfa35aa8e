//! A connection whose records the kernel handles: keys handed over and renewed, and every record that is not
//! data.
//!
//! ```text
//!   library ──hand_over──> keys set both ways ──> data: plain calls
//!                                             └─> EIO (splice: EINVAL): a record of another kind is next
//!        alert      close_notify: the end · fatal: failed        ──┐
//!        KeyUpdate  new receiving key (· answer, new sending key) ─┼─> on with data
//!        ticket     to the library's store                        ─┘
//! ```
//!
//! Invariants:
//! - both directions at once and for good, at a record's boundary, with nothing in flight;
//! - no key seals more records than its suite allows: it is renewed before, or the connection ends;
//! - without renewing in the kernel no KeyUpdate is ever sent, and a received one ends the connection.
//!
//! Not here: when (`session::kernel`), system calls (`sys::ktls`).

pub(crate) mod probe;

use std::io;
use std::os::fd::BorrowedFd;

use pinion_core::telemetry::tls::TlsStats;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite};

use super::engine::RECORD_CONTENT_MAX;
use super::session::Engine;
use crate::sys::ktls::{Keys, Way, kind, recv_record, send_record};

/// Records kept in reserve below a suite's limit: for an answer that has to wait for room, and the farewell.
const RESERVE: u64 = 1 << 16;
/// The most of one handshake message: tickets are far smaller.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Handshake messages (RFC 8446 section 4): type 1 byte, length 3 bytes.
const MESSAGE_HEAD: usize = 4;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// A KeyUpdate that asks for no answer (RFC 8446 section 4.6.3).
const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
/// Alerts (RFC 8446 section 6): level, description.
pub(crate) const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const UNEXPECTED_MESSAGE: [u8; 2] = [2, 10];
const INTERNAL_ERROR: [u8; 2] = [2, 80];
const WARNING: u8 = 1;
const USER_CANCELED: u8 = 90;

enum Side {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// What is left in user space of a connection that the kernel encrypts.
pub(crate) struct Kernel {
    side: Side,
    version: ProtocolVersion,
    /// The kernel takes new keys.
    renews: bool,
    /// Records sealed with the present key, and how many may be.
    sealed: u64,
    sealed_max: u64,
    /// A KeyUpdate found no room.
    owes: bool,
    /// Part of a handshake message.
    message: Vec<u8>,
}

/// What the next record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Data; it is still there.
    Data,
    /// Something that is done with.
    Done,
    /// The peer's farewell.
    Closed,
    /// The connection's end without one.
    End,
    /// No whole record is there.
    Nothing,
}

/// How many records so much data becomes.
fn records(bytes: usize) -> u64 {
    bytes.div_ceil(RECORD_CONTENT_MAX).max(1) as u64
}

fn limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
    }
}

impl Kernel {
    /// Takes the connection from the library and gives its keys to the kernel, whose ULP is installed.
    ///
    /// # Errors
    ///
    /// The connection is lost then.
    // ALLOC: once a connection.
    pub(crate) fn hand_over(engine: Engine, socket: BorrowedFd<'_>, renews: bool) -> io::Result<Self> {
        let (secrets, side, version, suite) = match engine {
            Engine::Server(conn) => {
                let (secrets, conn) = conn.dangerous_into_kernel_connection().map_err(io::Error::other)?;
                let (version, suite) = (conn.protocol_version(), conn.negotiated_cipher_suite());
                (secrets, Side::Server(conn), version, suite)
            }
            Engine::Client(conn) => {
                let (secrets, conn) = conn.dangerous_into_kernel_connection().map_err(io::Error::other)?;
                let (version, suite) = (conn.protocol_version(), conn.negotiated_cipher_suite());
                (secrets, Side::Client(conn), version, suite)
            }
            Engine::Kernel(_) | Engine::Gone => return Err(io::ErrorKind::NotConnected.into()),
        };
        let ExtractedSecrets { tx: (sent, tx), rx: (received, rx) } = secrets;
        set(socket, Way::Tx, version, &tx, sent)?;
        set(socket, Way::Rx, version, &rx, received)?;
        let renews = renews && version == ProtocolVersion::TLSv1_3;
        let sealed_max = limit(suite);
        Ok(Kernel { side, version, renews, sealed: sent, sealed_max, owes: false, message: Vec::new() })
    }

    /// Makes room for the records of `bytes` of data that are about to be sent.
    ///
    /// # Errors
    ///
    /// When the key is used up and can't be renewed.
    pub(crate) fn account(
        &mut self,
        socket: BorrowedFd<'_>,
        bytes: usize,
        stats: &TlsStats,
    ) -> io::Result<()> {
        let records = records(bytes);
        let reserve = RESERVE.min(self.sealed_max / 4);
        let due = self.sealed.saturating_add(records) > self.sealed_max - reserve;
        if self.owes || due && self.renews {
            self.renew_sending(socket, stats)?;
        }
        if self.sealed.saturating_add(records) >= self.sealed_max {
            stats.keys_exhausted.inc();
            let _ = send_record(socket, kind::ALERT, &CLOSE_NOTIFY);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.sealed += records;
        Ok(())
    }

    /// Renews the sending key, after telling the peer; later, if there is no room for telling.
    fn renew_sending(&mut self, socket: BorrowedFd<'_>, stats: &TlsStats) -> io::Result<()> {
        self.owes = true;
        match send_record(socket, kind::HANDSHAKE, &KEY_UPDATE_MESSAGE) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        }
        let (record, secrets) = match &mut self.side {
            Side::Server(conn) => conn.update_tx_secret(),
            Side::Client(conn) => conn.update_tx_secret(),
        }
        .map_err(io::Error::other)?;
        set(socket, Way::Tx, self.version, &secrets, record)?;
        self.owes = false;
        self.sealed = record;
        stats.key_updates[1].inc();
        Ok(())
    }

    /// Takes the next record, unless it is data.
    ///
    /// # Errors
    ///
    /// When the connection is broken: the peer has been told as far as that goes.
    pub(crate) fn control(&mut self, socket: BorrowedFd<'_>, stats: &TlsStats) -> io::Result<Control> {
        let mut bytes = [0; 4_096];
        let peeked = match recv_record(socket, &mut bytes[..1], true) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Control::Nothing),
            other => other?,
        };
        match peeked.kind {
            None => return Ok(Control::End),
            Some(kind::DATA) if peeked.bytes > 0 => return Ok(Control::Data),
            // An empty record of data carries nothing, and must not look like the end.
            Some(_) => {}
        }
        let taken = recv_record(socket, &mut bytes, false)?;
        let bytes = &bytes[..taken.bytes];
        match taken.kind {
            Some(kind::DATA) => Ok(Control::Done),
            Some(kind::ALERT) => self.alert(bytes),
            Some(kind::HANDSHAKE) => self.handshake(socket, bytes, stats),
            _ => {
                let _ = send_record(socket, kind::ALERT, &UNEXPECTED_MESSAGE);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn alert(&self, bytes: &[u8]) -> io::Result<Control> {
        match bytes {
            [_, 0] => Ok(Control::Closed),
            // Warnings end nothing; TLS 1.3 has but one (RFC 8446 section 6.1).
            [_, USER_CANCELED] => Ok(Control::Done),
            [WARNING, _] if self.version == ProtocolVersion::TLSv1_2 => Ok(Control::Done),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn handshake(&mut self, socket: BorrowedFd<'_>, bytes: &[u8], stats: &TlsStats) -> io::Result<Control> {
        if self.message.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // ALLOC: messages of this kind are rare.
        let mut messages = std::mem::take(&mut self.message);
        messages.extend_from_slice(bytes);
        let mut rest = &messages[..];
        while let [kind, a, b, c, ..] = *rest {
            let end = MESSAGE_HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(content) = rest.get(MESSAGE_HEAD..end) else {
                break;
            };
            rest = &rest[end..];
            if self.message(socket, kind, content, rest.is_empty(), stats).is_err() {
                let alert = if kind == KEY_UPDATE { INTERNAL_ERROR } else { UNEXPECTED_MESSAGE };
                let _ = send_record(socket, self::kind::ALERT, &alert);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        self.message = rest.to_vec();
        Ok(Control::Done)
    }

    /// Acts on one handshake message; `last` says that its record ends with it.
    fn message(
        &mut self,
        socket: BorrowedFd<'_>,
        kind: u8,
        content: &[u8],
        last: bool,
        stats: &TlsStats,
    ) -> io::Result<()> {
        match (kind, content, &mut self.side) {
            (NEW_SESSION_TICKET, _, Side::Client(conn)) => {
                conn.handle_new_session_ticket(content).map_err(io::Error::other)
            }
            // What follows it would be under another key (RFC 8446 section 5.1).
            (KEY_UPDATE, [asks @ 0..=1], side) if last => {
                stats.key_updates[0].inc();
                if !self.renews {
                    stats.keys_exhausted.inc();
                    return Err(io::ErrorKind::Unsupported.into());
                }
                let (record, secrets) = match side {
                    Side::Server(conn) => conn.update_rx_secret(),
                    Side::Client(conn) => conn.update_rx_secret(),
                }
                .map_err(io::Error::other)?;
                set(socket, Way::Rx, self.version, &secrets, record)?;
                if *asks == 1 { self.renew_sending(socket, stats) } else { Ok(()) }
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Lets a test reach the limit of a key.
    #[cfg(test)]
    pub(crate) fn limit_records(&mut self, most: u64) {
        self.sealed_max = self.sealed + most;
    }
}

fn set(
    socket: BorrowedFd<'_>,
    way: Way,
    version: ProtocolVersion,
    secrets: &ConnectionTrafficSecrets,
    record: u64,
) -> io::Result<()> {
    let keys = Keys::new(version, secrets, record).ok_or(io::ErrorKind::Unsupported)?;
    keys.set(socket, way)
}

#[cfg(test)]
mod tests;
