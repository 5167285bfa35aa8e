//! Reading a header from the bytes that a connection begins with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::crc32c;
use super::values::{CRC32C, Steps, Values};
use super::{FIXED_BYTES, Header, PREFIX, Peers, SIGNATURE, UNIX_PATH_BYTES, Version};
use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};

/// What a connection begins with is no header that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It begins with something else.
    Absent,
    /// It is longer than [`PROXY_V1_BYTES_MAX`] or [`PROXY_V2_BYTES_MAX`].
    TooLong,
    /// A line of version 1 with other words than the protocol's.
    Line,
    /// An address or port that is none.
    Address,
    /// A version 2 header of another version, or with an unknown command.
    Command,
    /// An address family or transport that is not defined.
    Family,
    /// Fewer bytes than the addresses of its family take.
    Length,
    /// A value that does not fit.
    Value,
    /// The checksum is wrong.
    Checksum,
}

impl HeaderError {
    /// The word for logs.
    pub const fn label(self) -> &'static str {
        match self {
            HeaderError::Absent => "absent",
            HeaderError::TooLong => "too_long",
            HeaderError::Line => "bad_line",
            HeaderError::Address => "bad_address",
            HeaderError::Command => "bad_command",
            HeaderError::Family => "bad_family",
            HeaderError::Length => "bad_length",
            HeaderError::Value => "bad_value",
            HeaderError::Checksum => "bad_checksum",
        }
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for HeaderError {}

/// How far reading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment on the stack")]
pub enum Progress<'a> {
    /// More bytes are needed; as far as can be seen it is a header.
    Partial,
    /// The header, and how many bytes it has.
    Complete(Header<'a>, usize),
}

/// Reads the header that `bytes` begin with; they are all that was received so far.
///
/// # Errors
///
/// They begin with no header: [`HeaderError::Absent`] when with something else, else why it is none.
pub fn read(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    let begins = |mark: &[u8]| bytes.iter().zip(mark).all(|(byte, mark)| byte == mark);
    if begins(&SIGNATURE) {
        if bytes.len() < FIXED_BYTES { Ok(Progress::Partial) } else { v2(bytes) }
    } else if begins(&PREFIX) {
        v1(bytes)
    } else {
        Err(HeaderError::Absent)
    }
}

/// Version 1: one line of text (section 2.1).
fn v1(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    let within = &bytes[..bytes.len().min(PROXY_V1_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', within) else {
        let more = bytes.len() < PROXY_V1_BYTES_MAX;
        return if more { Ok(Progress::Partial) } else { Err(HeaderError::TooLong) };
    };
    let line = within[..end].strip_suffix(b"\r").ok_or(HeaderError::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let mut words = line[PREFIX.len()..].split(' ');
    let peers = match words.next() {
        // Whatever follows means nothing.
        Some("UNKNOWN") => Peers::Unknown,
        Some("TCP4") => inet::<Ipv4Addr>(words)?,
        Some("TCP6") => inet::<Ipv6Addr>(words)?,
        _ => return Err(HeaderError::Line),
    };
    let header = Header { version: Version::V1, peers, values: Values::default() };
    Ok(Progress::Complete(header, end + 1))
}

/// Source, destination and their ports, and nothing else.
fn inet<'w, T>(mut words: impl Iterator<Item = &'w str>) -> Result<Peers, HeaderError>
where
    T: std::str::FromStr + Into<IpAddr>,
{
    let mut ip = || -> Result<IpAddr, HeaderError> {
        let word: &str = words.next().ok_or(HeaderError::Line)?;
        word.parse().map(T::into).map_err(|_| HeaderError::Address)
    };
    let ips = [ip()?, ip()?];
    let mut port = || words.next().ok_or(HeaderError::Line).and_then(port);
    let ports = [port()?, port()?];
    match words.next() {
        None => Ok(Peers::Inet {
            source: SocketAddr::new(ips[0], ports[0]),
            destination: SocketAddr::new(ips[1], ports[1]),
        }),
        Some(_) => Err(HeaderError::Line),
    }
}

/// A decimal number up to 65535, without sign or leading zeros.
fn port(word: &str) -> Result<u16, HeaderError> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let padded = word.len() > 1 && word.starts_with('0');
    if digits && !padded { word.parse().map_err(|_| HeaderError::Address) } else { Err(HeaderError::Address) }
}

/// Version 2 (section 2.2); the fixed part is there.
fn v2(bytes: &[u8]) -> Result<Progress<'_>, HeaderError> {
    let [command, family] = [bytes[12], bytes[13]];
    let whole = FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Command),
    };
    // The family of a sender's own connection means nothing, whatever it is.
    let addresses = match (local, family) {
        (true, _) | (false, 0x00) => 0,
        (false, 0x11 | 0x12) => 12,
        (false, 0x21 | 0x22) => 36,
        (false, 0x31 | 0x32) => 2 * UNIX_PATH_BYTES,
        (false, _) => return Err(HeaderError::Family),
    };
    if whole > PROXY_V2_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if whole < FIXED_BYTES + addresses {
        return Err(HeaderError::Length);
    }
    let Some(header) = bytes.get(..whole) else {
        return Ok(Progress::Partial);
    };
    let rest = &header[FIXED_BYTES..];
    let peers = match (local, addresses) {
        (true, _) => Peers::Local,
        (false, 12) => binary::<4>(rest)?,
        (false, 36) => binary::<16>(rest)?,
        (false, 0) => Peers::Unknown,
        (false, _) => Peers::Unix,
    };
    let values = &rest[addresses..];
    let read = check(header, FIXED_BYTES + addresses, values).and_then(|()| Values::read(values));
    let values = match (peers, read) {
        // What follows the sender's own connection is to be skipped.
        (Peers::Local, _) => Values::default(),
        // What follows an unknown family may be addresses, which are to be skipped, or values.
        (Peers::Unknown, Err(HeaderError::Value)) => Values::default(),
        (_, read) => read?,
    };
    Ok(Progress::Complete(Header { version: Version::V2, peers, values }, whole))
}

/// Both IPs, then both ports.
fn binary<const N: usize>(bytes: &[u8]) -> Result<Peers, HeaderError>
where
    [u8; N]: Into<IpAddr>,
{
    let ip = |at: usize| -> Option<IpAddr> {
        let ip: [u8; N] = bytes.get(at..at + N)?.try_into().ok()?;
        Some(ip.into())
    };
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let address = |at, port_at| Some(SocketAddr::new(ip(at)?, port(port_at)?));
    let source = address(0, 2 * N).ok_or(HeaderError::Length)?;
    let destination = address(N, 2 * N + 2).ok_or(HeaderError::Length)?;
    Ok(Peers::Inet { source, destination })
}

/// Verifies the checksum, if there is one: of the whole header, with zeros in its own place.
fn check(header: &[u8], values_at: usize, values: &[u8]) -> Result<(), HeaderError> {
    for step in (Steps { rest: values, at: values_at }) {
        let (kind, at, value) = step?;
        if kind != CRC32C {
            continue;
        }
        let said: [u8; 4] = value.try_into().map_err(|_| HeaderError::Value)?;
        let zeroed = header
            .iter()
            .enumerate()
            .map(|(place, &byte)| if (at..at + 4).contains(&place) { 0 } else { byte });
        if crc32c(zeroed) != u32::from_be_bytes(said) {
            return Err(HeaderError::Checksum);
        }
    }
    Ok(())
}
