//! Kernel TLS: the socket options and messages of `linux/tls.h`.
//!
//! Own code of three calls, because the crates for it are set aside: `ktls` 6 ignores KeyUpdates and tickets
//! and knows only tokio; `ktls-core` 0.0.5 sends alerts without `MSG_DONTWAIT`, which stops a shard whose peer
//! does not read.
//!
//! Invariants:
//! - keys are written into storage that is wiped when it is dropped;
//! - no call here waits.
//!
//! Not here: when any of this is done, what records mean (`tls::kernel`).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use zeroize::Zeroizing;

/// Of the kernel's interface (`linux/tls.h`).
const TLS_TX: libc::c_int = 1;
const TLS_RX: libc::c_int = 2;
const TLS_SET_RECORD_TYPE: libc::c_int = 1;
const TLS_GET_RECORD_TYPE: libc::c_int = 2;
const TLS_CIPHER_AES_GCM_128: u16 = 51;
const TLS_CIPHER_AES_GCM_256: u16 = 52;
const TLS_CIPHER_CHACHA20_POLY1305: u16 = 54;
const SOL_TLS: libc::c_int = 282;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What is sent.
    Tx,
    /// What is received.
    Rx,
}

/// A kind of record, as on the wire (RFC 8446 section 5.1).
pub(crate) mod kind {
    /// Warnings and ends.
    pub(crate) const ALERT: u8 = 21;
    /// Tickets and KeyUpdates.
    pub(crate) const HANDSHAKE: u8 = 22;
    /// What the connection is for.
    pub(crate) const DATA: u8 = 23;
}

/// What encrypts records, as far as kernels know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them, in the order of their numbers here.
    pub(crate) const ALL: [Cipher; 3] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

    const fn number(self) -> u16 {
        match self {
            Cipher::Aes128Gcm => TLS_CIPHER_AES_GCM_128,
            Cipher::Aes256Gcm => TLS_CIPHER_AES_GCM_256,
            Cipher::ChaCha20Poly1305 => TLS_CIPHER_CHACHA20_POLY1305,
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    /// Of a nonce of 12 bytes the first are the salt, where the interface has a place for it.
    const fn salt_bytes(self) -> usize {
        match self {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => 4,
            Cipher::ChaCha20Poly1305 => 0,
        }
    }
}

/// A direction's keys in the form of `struct tls12_crypto_info_*`: two numbers in the machine's order, then
/// nonce, key, salt and record number as bytes. None of them has padding.
pub(crate) struct Keys(Zeroizing<Vec<u8>>);

impl Keys {
    /// `secrets` of a connection of `version` whose next record is number `record`; `None` for a version or
    /// suite that the kernel's interface does not know.
    // ALLOC: twice a connection.
    pub(crate) fn new(
        version: ProtocolVersion,
        secrets: &ConnectionTrafficSecrets,
        record: u64,
    ) -> Option<Self> {
        let (cipher, key, nonce) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Cipher::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        Self::assemble(version, cipher, key.as_ref(), nonce.as_ref(), record)
    }

    /// Keys that are good for nothing but a try.
    pub(crate) fn dummy(version: ProtocolVersion, cipher: Cipher) -> Option<Self> {
        Self::assemble(version, cipher, &[1; 32][..cipher.key_bytes()], &[1; 12], 0)
    }

    fn assemble(
        version: ProtocolVersion,
        cipher: Cipher,
        key: &[u8],
        nonce: &[u8],
        record: u64,
    ) -> Option<Self> {
        let version: u16 = match version {
            ProtocolVersion::TLSv1_2 | ProtocolVersion::TLSv1_3 => version.into(),
            _ => return None,
        };
        let (salt, nonce) = nonce.split_at_checked(cipher.salt_bytes())?;
        // Never grows, so that no copy stays behind: 4 + 8 + 32 + 4 + 8 bytes at most.
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        bytes.extend_from_slice(&version.to_ne_bytes());
        bytes.extend_from_slice(&cipher.number().to_ne_bytes());
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(&record.to_be_bytes());
        Some(Keys(bytes))
    }

    /// Puts them in force on `socket` in direction `way`.
    ///
    /// # Errors
    ///
    /// `ENOENT` where the cipher's module is missing, `EBUSY` where the kernel can't renew keys.
    pub(crate) fn set(&self, socket: BorrowedFd<'_>, way: Way) -> io::Result<()> {
        let name = match way {
            Way::Tx => TLS_TX,
            Way::Rx => TLS_RX,
        };
        set_option(socket, SOL_TLS, name, &self.0)
    }
}

/// Prepares a connected TCP socket for keys; without any it changes nothing.
///
/// # Errors
///
/// `ENOENT` without the kernel's module, `ENOTCONN` once the peer has ended its direction.
pub(crate) fn install(socket: BorrowedFd<'_>) -> io::Result<()> {
    match set_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls") {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `value.len()` bytes at `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one control message with one byte, aligned as its header must be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// `CMSG_SPACE(1)`: a header of 16 bytes and a byte, rounded up to 8.
const CONTROL_BYTES: usize = size_of::<libc::cmsghdr>() + 8;

/// A message of `bytes` with room for a control message.
fn message(bytes: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a message header is plain numbers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    header
}

/// Sends `bytes` as one record of `kind`, without waiting.
///
/// # Errors
///
/// `EAGAIN` while the socket's buffer is full.
pub(crate) fn send_record(socket: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    let header = message(&mut vector, &mut control);
    // SAFETY: the header's control pointer and length describe `control`, which is large enough and aligned for
    // one header and one byte behind it; both outlive the call, as do `vector` and `bytes`, which is only read.
    let sent = unsafe {
        let first = libc::CMSG_FIRSTHDR(&header);
        (*first).cmsg_level = SOL_TLS;
        (*first).cmsg_type = TLS_SET_RECORD_TYPE;
        (*first).cmsg_len = libc::CMSG_LEN(1) as _;
        *libc::CMSG_DATA(first) = kind;
        libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        // Records this small are sent whole.
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// A record that was received, or its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// See [`kind`]; `None` at the end of the stream.
    pub(crate) kind: Option<u8>,
    /// How many bytes of it were received.
    pub(crate) bytes: usize,
}

/// Receives from the next record, whatever its kind, without waiting; with `peek` it stays there.
///
/// # Errors
///
/// `EAGAIN` while no whole record is there, `EBADMSG` for one that does not decrypt.
pub(crate) fn recv_record(socket: BorrowedFd<'_>, into: &mut [u8], peek: bool) -> io::Result<Record> {
    let mut vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    let mut header = message(&mut vector, &mut control);
    let flags = libc::MSG_DONTWAIT | if peek { libc::MSG_PEEK } else { 0 };
    // SAFETY: the header describes `into` and `control`, both of which may be written and outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has set the length of what it wrote to `control`; the first header is read only where
    // that holds a whole one, and its data only where its length covers a byte.
    let kind = unsafe {
        let first = libc::CMSG_FIRSTHDR(&header);
        let is_kind = !first.is_null()
            && (*first).cmsg_level == SOL_TLS
            && (*first).cmsg_type == TLS_GET_RECORD_TYPE
            && (*first).cmsg_len as usize >= libc::CMSG_LEN(1) as usize;
        is_kind.then(|| *libc::CMSG_DATA(first))
    };
    Ok(Record { kind: kind.or((bytes > 0).then_some(self::kind::DATA)), bytes })
}
