//! Records to plaintext and back, with the TLS library's unbuffered connections.
//!
//! ```text
//!   bytes: | the caller's | record, record, part of one |      open
//!          | the caller's | plaintext | part of one |   <────
//! ```
//!
//! The library decrypts a record where it lies and keeps a copy of its plaintext, which is copied back over
//! the record here: two copies and one allocation a record, all of them the library's interface.
//!
//! Invariants:
//! - plaintext never overtakes the records it came from: it is always shorter;
//! - what the library wants sent goes in front of everything that is sealed later;
//! - while the library has part of a handshake message it must be shown the same bytes again, or it panics:
//!   [`open`] ends a connection on which that would happen (no peer splits tickets or KeyUpdates, which fit a
//!   record), and nothing is sealed after a failure.
//!
//! Not here: sockets, buffers' origin, handshakes (`handshake` drives them with the same connections).

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus,
};

/// A record's header (RFC 8446 section 5.1): type, version, length.
pub(crate) const HEADER_BYTES: usize = 5;
/// Room that the most talkative suite needs beside a record's content (TLS 1.2 with AES-GCM: header 5, nonce 8,
/// tag 16; TLS 1.3: header 5, type 1, tag 16), rounded up.
pub(crate) const RECORD_OVERHEAD: usize = 32;
/// The most of a record that any version allows, header included (RFC 5246 section 6.2.3: 2^14 + 2048).
pub(crate) const RECORD_BYTES_MAX: usize = HEADER_BYTES + 16 * 1024 + 2_048;
/// The most content of one record.
pub(crate) const RECORD_CONTENT_MAX: usize = 16 * 1024;
/// Room for what the library may want to send in front of data: a KeyUpdate, a warning.
pub(crate) const CONTROL_ROOM: usize = 64;

/// One side's connection.
pub(crate) trait Records {
    /// What distinguishes the sides for the library.
    type Data;

    /// Shows the connection `incoming`.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both sides' connections have in common.
    fn common(&self) -> &UnbufferedConnectionCommon<Self::Data>;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &UnbufferedConnectionCommon<Self::Data> {
        self
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &UnbufferedConnectionCommon<Self::Data> {
        self
    }
}

/// How long the record is that `bytes` begin with, header included; `None` while the header is not complete.
pub(crate) fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, ..] = bytes else {
        return None;
    };
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])))
}

/// Whether `bytes` begin with a whole record.
pub(crate) fn has_record(bytes: &[u8]) -> bool {
    record_bytes(bytes).is_some_and(|record| record <= bytes.len())
}

/// What opening records came to.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Bytes of plaintext.
    pub(crate) plain: usize,
    /// The peer has ended its sending direction (close_notify).
    pub(crate) closed: bool,
    /// Some record was neither data nor the end: keys may have changed, an answer may be queued inside.
    pub(crate) control: bool,
    /// Why nothing more will come, and nothing may be sealed; an alert that says so may be among what is to be
    /// sent.
    pub(crate) failed: Option<rustls::Error>,
}

/// Opens the whole records among `bytes[at..]`: their plaintext takes their place, and a part of a record that
/// is left follows it. What the library wants sent is appended to `out`.
pub(crate) fn open(conn: &mut impl Records, bytes: &mut Vec<u8>, at: usize, out: &mut Vec<u8>) -> Opened {
    let mut opened = Opened::default();
    // bytes: at ── plaintext ── plain ── gap ── read ── records
    let (mut plain, mut read) = (at, at);
    loop {
        let first = record_bytes(&bytes[read..]);
        // A length that no record has is not waited for: the library says what is wrong.
        if !has_record(&bytes[read..]) && first.is_none_or(|first| first <= RECORD_BYTES_MAX) {
            break;
        }
        let status = conn.process(&mut bytes[read..]);
        let taken = status.discard;
        let more = match status.state {
            Ok(ConnectionState::ReadTraffic(_)) => {
                opened.control |= Some(taken) != first;
                read += taken;
                plain = take_plaintext(conn, bytes, plain);
                continue;
            }
            Ok(ConnectionState::EncodeTlsData(data)) => {
                encode(data, out);
                true
            }
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                true
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                opened.closed = true;
                false
            }
            Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => false,
            // There is no early data: nobody allows it.
            Ok(_) => false,
            Err(error) => {
                opened.failed = Some(error);
                false
            }
        };
        opened.control |= taken > 0 && !opened.closed;
        read += taken;
        if !more {
            break;
        }
    }
    drain(conn, out);
    if !opened.closed && opened.failed.is_none() && has_record(&bytes[read..]) {
        // Shown, but not done with.
        opened.failed = Some(rustls::PeerMisbehaved::KeyEpochWithPendingFragment.into());
    }
    if opened.closed || opened.failed.is_some() {
        read = bytes.len();
    }
    opened.plain = plain - at;
    bytes.copy_within(read.., plain);
    bytes.truncate(plain + (bytes.len() - read));
    opened
}

/// Copies the plaintext of the record just opened to `bytes[plain..]`; says where it ends.
fn take_plaintext(conn: &mut impl Records, bytes: &mut [u8], mut plain: usize) -> usize {
    if let Ok(ConnectionState::ReadTraffic(mut traffic)) = conn.process(&mut []).state {
        while let Some(Ok(record)) = traffic.next_record() {
            let end = plain + record.payload.len();
            bytes[plain..end].copy_from_slice(record.payload);
            plain = end;
        }
    }
    plain
}

/// Appends everything the library wants sent to `out`, also after it has failed.
pub(crate) fn drain(conn: &mut impl Records, out: &mut Vec<u8>) {
    // Only then: otherwise it would look for records where none are shown.
    while conn.common().wants_write() {
        match conn.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
            _ => return,
        }
    }
}

/// Appends what the library wants sent to `out`.
pub(crate) fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let begin = out.len();
    let mut room = CONTROL_ROOM;
    loop {
        out.resize(begin + room, 0);
        match data.encode(&mut out[begin..]) {
            Ok(written) => {
                out.truncate(begin + written);
                return;
            }
            Err(EncodeError::InsufficientSize(short)) if short.required_size > room => {
                room = short.required_size;
            }
            Err(_) => {
                out.truncate(begin);
                return;
            }
        }
    }
}

/// Why something could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSealed {
    /// The keys are used up, or the connection is at its end.
    Over,
}

/// Appends `plain` as records to `out`, behind whatever the library wants sent.
pub(crate) fn seal(conn: &mut impl Records, plain: &[u8], out: &mut Vec<u8>) -> Result<(), NotSealed> {
    let records = plain.len().div_ceil(RECORD_CONTENT_MAX);
    with_traffic(conn, out, plain.len() + records * RECORD_OVERHEAD + CONTROL_ROOM, |traffic, room| {
        traffic.encrypt(plain, room)
    })
}

/// Appends the end of what is sent (close_notify) to `out`.
pub(crate) fn seal_end(conn: &mut impl Records, out: &mut Vec<u8>) -> Result<(), NotSealed> {
    with_traffic(conn, out, RECORD_OVERHEAD + CONTROL_ROOM, |traffic, room| traffic.queue_close_notify(room))
}

fn with_traffic<C: Records>(
    conn: &mut C,
    out: &mut Vec<u8>,
    mut room: usize,
    mut call: impl FnMut(
        &mut rustls::unbuffered::WriteTraffic<'_, C::Data>,
        &mut [u8],
    ) -> Result<usize, EncryptError>,
) -> Result<(), NotSealed> {
    loop {
        match conn.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => {}
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let begin = out.len();
                out.resize(begin + room, 0);
                match call(&mut traffic, &mut out[begin..]) {
                    Ok(written) => {
                        out.truncate(begin + written);
                        return Ok(());
                    }
                    Err(EncryptError::InsufficientSize(short)) if short.required_size > room => {
                        out.truncate(begin);
                        room = short.required_size;
                    }
                    Err(_) => {
                        out.truncate(begin);
                        return Err(NotSealed::Over);
                    }
                }
            }
            _ => return Err(NotSealed::Over),
        }
    }
}
