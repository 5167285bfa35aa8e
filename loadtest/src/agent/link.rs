//! One connection between leader and agent: messages with a limit, nobody else can read or forge them.
//!
//! ```text
//! │ length (4 bytes, big-endian) │ JSON, sealed with AES-256-GCM under a key of this connection and direction │
//! ```
//!
//! Each direction numbers its messages; the number is the nonce, so that a message that is left out, repeated
//! or moved does not open. Under TLS the seal is TLS's own.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message before the other side has proven itself.
pub(super) const STRANGER_BYTES_MAX: usize = 1024;

/// The longest message after it: an order with its files, a report with a thousand busy intervals.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long the other side may take to read what is written to it.
const WRITE: Duration = Duration::from_secs(10);

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Closed,
    TooLong,
    Forged,
    Malformed(String),
    Silent,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Io(error) => error.fmt(f),
            Broken::Closed => f.write_str("the connection was closed"),
            Broken::TooLong => f.write_str("what came is no message of pinion-load, or far too long"),
            Broken::Forged => f.write_str("a message was not sealed by the other side"),
            Broken::Malformed(what) => write!(f, "a message can't be understood: {what}"),
            Broken::Silent => f.write_str("nothing came for too long"),
        }
    }
}

/// What carries the bytes.
pub(super) enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Client(tls) => &tls.sock,
            Stream::Server(tls) => &tls.sock,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(into),
            Stream::Client(tls) => tls.read(into),
            Stream::Server(tls) => tls.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out: &mut dyn Write = match self {
            Stream::Plain(socket) => socket,
            Stream::Client(tls) => tls,
            Stream::Server(tls) => tls,
        };
        out.write_all(bytes)?;
        out.flush()
    }
}

/// The key of one direction, and how many messages it has sealed.
pub(super) struct Seal {
    key: LessSafeKey,
    number: u64,
}

impl Seal {
    /// A seal with a fresh key.
    ///
    /// # Errors
    /// The key is no key of the cipher.
    pub(super) fn new(key: &[u8; 32]) -> Result<Self, Broken> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Broken::Forged)?;
        Ok(Seal { key: LessSafeKey::new(key), number: 0 })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn close(&mut self, text: &mut Vec<u8>) -> Result<(), Broken> {
        let nonce = self.nonce();
        self.key.seal_in_place_append_tag(nonce, Aad::empty(), text).map_err(|_| Broken::Forged)
    }

    fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Result<&'a [u8], Broken> {
        let nonce = self.nonce();
        self.key.open_in_place(nonce, Aad::empty(), sealed).map(|text| &*text).map_err(|_| Broken::Forged)
    }
}

/// A connection that carries messages.
pub(super) struct Link {
    stream: Stream,
    /// For what goes out and what comes in, once both sides have keys.
    seals: Option<(Seal, Seal)>,
    /// What has come and is not a whole message yet.
    buffer: Vec<u8>,
    /// Where reads go.
    scratch: Box<[u8]>,
    bytes_max: usize,
}

impl Link {
    /// A link to somebody who has yet to prove himself.
    ///
    /// # Errors
    /// The socket does not take its options.
    pub(super) fn new(stream: Stream) -> Result<Self, Broken> {
        let socket = stream.socket();
        socket.set_nodelay(true).and_then(|()| socket.set_write_timeout(Some(WRITE))).map_err(Broken::Io)?;
        let scratch = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Link { stream, seals: None, buffer: Vec::new(), scratch, bytes_max: STRANGER_BYTES_MAX })
    }

    /// The other side is who it says: long messages are taken, and sealed ones only if there are `seals`.
    pub(super) fn trust(&mut self, seals: Option<(Seal, Seal)>) {
        self.seals = seals;
        self.bytes_max = MESSAGE_BYTES_MAX;
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), Broken> {
        let mut text = serde_json::to_vec(message).map_err(|e| Broken::Malformed(e.to_string()))?;
        if let Some((seal, _)) = &mut self.seals {
            seal.close(&mut text)?;
        }
        let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= self.bytes_max);
        let length = length.ok_or(Broken::TooLong)?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.append(&mut text);
        self.stream.write(&bytes).map_err(Broken::Io)
    }

    /// The next message, if one comes until then.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub(super) fn receive<T: DeserializeOwned>(&mut self, until: Instant) -> Result<Option<T>, Broken> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            // Zero would mean to wait for ever.
            let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.socket().set_read_timeout(Some(wait)).map_err(Broken::Io)?;
            match self.stream.read(&mut self.scratch) {
                Ok(0) => return Err(Broken::Closed),
                Ok(length) => self.buffer.extend_from_slice(&self.scratch[..length]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {}
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                        return Err(Broken::Closed);
                    }
                    _ => return Err(Broken::Io(error)),
                },
            }
            if Instant::now() >= until {
                return self.take();
            }
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// The connection is of no more use, or nothing came until then.
    pub(super) fn expect<T: DeserializeOwned>(&mut self, until: Instant) -> Result<T, Broken> {
        self.receive(until)?.ok_or(Broken::Silent)
    }

    /// A whole message out of the buffer.
    fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.bytes_max {
            return Err(Broken::TooLong);
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut message: Vec<u8> = self.buffer.drain(..4 + length).skip(4).collect();
        let text = match &mut self.seals {
            Some((_, seal)) => seal.open(&mut message)?,
            None => &message,
        };
        serde_json::from_slice(text).map(Some).map_err(|e| Broken::Malformed(e.to_string()))
    }
}
