//! The header of the PROXY protocol, versions 1 and 2: who really connected.
//!
//! ```text
//! 1:  PROXY TCP4 192.0.2.1 192.0.2.2 4711 80 CRLF            at most 107 bytes
//! 2:  signature (12) | version, command | family | length (2) | addresses | TLVs
//! ```
//!
//! Strict: whatever is not exactly the protocol ends the connection. Values after the addresses (TLVs)
//! are stepped over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use crate::message::Malformed;

/// The longest header of version 1, its line end included.
const V1_BYTES_MAX: usize = 107;

/// The first bytes of version 2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of a version 2 header before its addresses.
const V2_FIXED_BYTES: usize = 16;

/// What a header said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ProxyHeader {
    /// 1 or 2.
    pub(crate) version: u8,
    /// Who connected to the proxy; nothing for a connection that is the proxy's own, or of an unknown kind.
    pub(crate) source: Option<SocketAddr>,
    /// What they connected to.
    pub(crate) destination: Option<SocketAddr>,
}

/// Reads the header that `bytes` begin with: its length and what it says, or `None` while it is
/// incomplete.
///
/// # Errors
/// The bytes begin with no header.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(usize, ProxyHeader)>, Malformed> {
    let common = bytes.len().min(V2_SIGNATURE.len());
    if common > 0 && bytes[..common] == V2_SIGNATURE[..common] {
        return if common == V2_SIGNATURE.len() { read_v2(bytes) } else { Ok(None) };
    }
    read_v1(bytes)
}

fn read_v1(bytes: &[u8]) -> Result<Option<(usize, ProxyHeader)>, Malformed> {
    let common = bytes.len().min(6);
    if bytes[..common] != b"PROXY "[..common] {
        return Err(Malformed("no PROXY header"));
    }
    let Some(end) = memchr::memmem::find(&bytes[..bytes.len().min(V1_BYTES_MAX)], b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(Malformed("PROXY header too long")) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("PROXY header is not text"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let (source, destination) = match words[1..] {
        // The rest of the line, if any, has no meaning.
        ["UNKNOWN", ..] => (None, None),
        [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| -> Option<SocketAddr> {
                let ip: IpAddr = ip.parse().ok()?;
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let padded = port.len() > 1 && port.starts_with('0');
                let fits = ip.is_ipv4() == (family == "TCP4") && digits && !padded;
                fits.then_some(SocketAddr::new(ip, port.parse().ok()?))
            };
            match (address(source, source_port), address(destination, destination_port)) {
                (Some(source), Some(destination)) => (Some(source), Some(destination)),
                _ => return Err(Malformed("wrong address in a PROXY header")),
            }
        }
        _ => return Err(Malformed("wrong words in a PROXY header")),
    };
    Ok(Some((end + 2, ProxyHeader { version: 1, source, destination })))
}

fn read_v2(bytes: &[u8]) -> Result<Option<(usize, ProxyHeader)>, Malformed> {
    if bytes.len() < V2_FIXED_BYTES {
        return Ok(None);
    }
    let whole = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let is_local = match bytes[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("unknown version or command in a PROXY header")),
    };
    if bytes.len() < whole {
        return Ok(None);
    }
    let rest = &bytes[V2_FIXED_BYTES..whole];
    let header = |(source, destination)| Ok(Some((whole, ProxyHeader { version: 2, source, destination })));
    // Stream sockets only: the connection is one. Unix addresses and unknown ones carry nothing to show.
    match (is_local, bytes[13]) {
        (true, _) | (false, 0x00 | 0x31) => header((None, None)),
        (false, 0x11) => header(v2_addresses::<4>(rest)?),
        (false, 0x21) => header(v2_addresses::<16>(rest)?),
        (false, _) => Err(Malformed("unknown address family in a PROXY header")),
    }
}

/// Source and destination with IPs of `N` bytes: both IPs first, then both ports.
fn v2_addresses<const N: usize>(bytes: &[u8]) -> Result<(Option<SocketAddr>, Option<SocketAddr>), Malformed> {
    let ip = |at: usize| -> Option<IpAddr> {
        let octets = bytes.get(at..at + N)?;
        match N {
            4 => <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into()),
            _ => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
        }
    };
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let address = |at, port_at| Some(SocketAddr::new(ip(at)?, port(port_at)?));
    match (address(0, 2 * N), address(N, 2 * N + 2)) {
        (Some(source), Some(destination)) => Ok((Some(source), Some(destination))),
        _ => Err(Malformed("PROXY header without its addresses")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// The header is the same wherever the bytes are cut, and what follows it is left alone.
    fn check(bytes: &[u8], source: Option<&str>, destination: Option<&str>) {
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let mut wire = bytes.to_vec();
        wire.extend(b"GET / HTTP/1.1\r\n\r\n");
        let (length, header) = read(&wire).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        assert_eq!(text(header.source).as_deref(), source);
        assert_eq!(text(header.destination).as_deref(), destination);
    }

    #[test]
    fn both_versions_are_read() {
        check(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n", Some("192.0.2.1:4711"), Some("192.0.2.2:80"));
        check(b"PROXY TCP6 ::1 2001:db8::2 1 65535\r\n", Some("[::1]:1"), Some("[2001:db8::2]:65535"));
        check(b"PROXY UNKNOWN\r\n", None, None);
        check(b"PROXY UNKNOWN whatever this is\r\n", None, None);
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 0, 80];
        check(&v2(0x21, 0x11, &v4), Some("192.0.2.1:4711"), Some("192.0.2.2:80"));
        // A TLV behind the addresses.
        check(
            &v2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()),
            Some("192.0.2.1:4711"),
            Some("192.0.2.2:80"),
        );
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        check(&v2(0x21, 0x21, &v6), Some("[::1]:3"), Some("[::2]:4"));
        check(&v2(0x20, 0x00, &[]), None, None);
        check(&v2(0x20, 0x11, &v4), None, None);
        check(&v2(0x21, 0x31, &[0; 216]), None, None);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for wrong in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"P ",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWNX\r\n",
            long.as_bytes(),
            &v2(0x11, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x12, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            b"\r\n\r\n\0\r\nQUIX",
        ] {
            assert!(read(wrong).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn noise_never_panics_and_a_header_never_ends_behind_its_bytes() {
        let mut random = Random::seeded(13);
        let v4 = v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x67, 0, 80]);
        for _ in 0..20_000 {
            let mut bytes = match random.bits() % 2 {
                0 => v4.clone(),
                _ => b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n".to_vec(),
            };
            for _ in 0..random.bits() % 4 {
                let at = random.bits() as usize % bytes.len();
                bytes[at] = random.bits() as u8;
            }
            bytes.truncate(random.bits() as usize % (bytes.len() + 1));
            if let Ok(Some((length, _))) = read(&bytes) {
                assert!(length <= bytes.len());
            }
        }
    }
}
