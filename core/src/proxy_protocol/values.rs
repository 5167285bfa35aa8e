//! The values of a version 2 header (TLVs): which are known, how they are found and written.
//!
//! ```text
//!   type (1) | length (2) | value         SSL: client (1) | verify (4) | values of its own ...
//! ```
//!
//! Invariants: a list of values is read to its end or refused; of a value that comes twice the first counts.

use super::read::HeaderError;

/// Types of values (section 2.2 of the specification).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIG_ALG: u8 = 0x24;
const SSL_KEY_ALG: u8 = 0x25;

/// Bits of an SSL value's `client` byte.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// Bytes of a unique id (section 2.2.5): a longer one is refused.
const UNIQUE_ID_BYTES_MAX: usize = 128;

/// What a header says beside the addresses; an empty slice is "not said".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    /// The protocol that was agreed upon by ALPN.
    pub alpn: &'a [u8],
    /// The host that the client asked for (SNI).
    pub authority: &'a [u8],
    /// An id of the connection, opaque.
    pub unique_id: &'a [u8],
    /// The TLS connection that the sender terminated.
    pub ssl: Option<Ssl<'a>>,
}

/// What a header says of the TLS connection that its sender terminated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// The client presented a certificate, on this connection or earlier in its session.
    pub certificate: bool,
    /// The certificate was verified; without one this is always false.
    pub verified: bool,
    /// Such as `TLSv1.3`.
    pub version: &'a [u8],
    /// The common name of the certificate's subject.
    pub common_name: &'a [u8],
    /// The cipher suite.
    pub cipher: &'a [u8],
    /// How the certificate was signed, such as `ECDSA-SHA256`.
    pub signature: &'a [u8],
    /// The certificate's key, such as `EC256`.
    pub key: &'a [u8],
}

/// Steps through a list of values; ends behind one that does not fit.
pub(super) struct Steps<'a> {
    pub(super) rest: &'a [u8],
    /// How many bytes lie before `rest`.
    pub(super) at: usize,
}

impl<'a> Iterator for Steps<'a> {
    /// Type, where its value stands, value.
    type Item = Result<(u8, usize, &'a [u8]), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let [kind, high, low, rest @ ..] = self.rest else {
            self.rest = &[];
            return Some(Err(HeaderError::Value));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            self.rest = &[];
            return Some(Err(HeaderError::Value));
        };
        let at = self.at + 3;
        self.at = at + length;
        self.rest = rest;
        Some(Ok((*kind, at, value)))
    }
}

impl<'a> Values<'a> {
    /// Reads all of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, HeaderError> {
        let mut values = Values::default();
        for step in (Steps { rest: bytes, at: 0 }) {
            let (kind, _, value) = step?;
            match kind {
                ALPN => first(&mut values.alpn, value),
                AUTHORITY => first(&mut values.authority, value),
                UNIQUE_ID if value.len() > UNIQUE_ID_BYTES_MAX => return Err(HeaderError::Value),
                UNIQUE_ID => first(&mut values.unique_id, value),
                SSL => {
                    let ssl = Ssl::read(value)?;
                    values.ssl = values.ssl.or(ssl);
                }
                // Padding, the name space, the checksum (which has its own look), and what is not known.
                _ => {}
            }
        }
        Ok(values)
    }

    /// Appends them.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for (kind, value) in [(ALPN, self.alpn), (AUTHORITY, self.authority), (UNIQUE_ID, self.unique_id)] {
            put(out, kind, value);
        }
        if let Some(ssl) = &self.ssl {
            ssl.write(out);
        }
    }
}

impl<'a> Ssl<'a> {
    /// `None` when the client did not use TLS after all.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, HeaderError> {
        let [client, a, b, c, d, rest @ ..] = bytes else { return Err(HeaderError::Value) };
        let certificate = client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) != 0;
        // Zero is success, anything else says why not.
        let verified = certificate && [*a, *b, *c, *d] == [0; 4];
        let mut ssl = Ssl { certificate, verified, ..Ssl::default() };
        for step in (Steps { rest, at: 0 }) {
            let (kind, _, value) = step?;
            match kind {
                SSL_VERSION => first(&mut ssl.version, value),
                SSL_CN => first(&mut ssl.common_name, value),
                SSL_CIPHER => first(&mut ssl.cipher, value),
                SSL_SIG_ALG => first(&mut ssl.signature, value),
                SSL_KEY_ALG => first(&mut ssl.key, value),
                _ => {}
            }
        }
        Ok((client & CLIENT_SSL != 0).then_some(ssl))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let certificate = if self.certificate { CLIENT_CERT_CONN | CLIENT_CERT_SESS } else { 0 };
        out.push(SSL);
        let length_at = out.len();
        out.extend_from_slice(&[0, 0, CLIENT_SSL | certificate]);
        out.extend_from_slice(&u32::from(!self.verified).to_be_bytes());
        for (kind, value) in [
            (SSL_VERSION, self.version),
            (SSL_CN, self.common_name),
            (SSL_CIPHER, self.cipher),
            (SSL_SIG_ALG, self.signature),
            (SSL_KEY_ALG, self.key),
        ] {
            put(out, kind, value);
        }
        let length = (out.len() - length_at - 2) as u16;
        out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

fn first<'a>(place: &mut &'a [u8], value: &'a [u8]) {
    if place.is_empty() {
        *place = value;
    }
}

/// Appends one value; an empty one is not said, and one that no length could count never comes here.
fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    debug_assert!(value.len() <= VALUE_BYTES_MAX, "callers bound what they say");
    let value = &value[..value.len().min(VALUE_BYTES_MAX)];
    if !value.is_empty() {
        out.push(kind);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// Bytes of one value that is written: names have at most 255, and all together stay below the header's limit.
const VALUE_BYTES_MAX: usize = 512;
const _: () = assert!(9 * (VALUE_BYTES_MAX + 8) + 300 < crate::limits::PROXY_V2_BYTES_MAX);
