//! Writing a header for an upstream.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::checksum::crc32c;
use super::values::CRC32C;
use super::{FIXED_BYTES, Peers, SIGNATURE, Values};

/// Bytes of a checksum with its type and length.
const CHECKSUM_BYTES: usize = 3 + 4;

/// Both addresses of one family: IPv4 where both are, else IPv6 with IPv4 mapped into it.
enum Pair {
    V4([[u8; 4]; 2]),
    V6([[u8; 16]; 2]),
}

impl Pair {
    fn of(source: &SocketAddr, destination: &SocketAddr) -> Self {
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Pair::V4([source.octets(), destination.octets()])
            }
            (source, destination) => Pair::V6([mapped(source), mapped(destination)]),
        }
    }
}

/// Appends a header of version 1: at most [`PROXY_V1_BYTES_MAX`](crate::limits::PROXY_V1_BYTES_MAX) bytes.
pub fn encode_v1(out: &mut Vec<u8>, peers: &Peers) {
    let Peers::Inet { source, destination } = peers else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (family, ips) = match Pair::of(source, destination) {
        Pair::V4(ips) => ("TCP4", ips.map(IpAddr::from)),
        Pair::V6(ips) => ("TCP6", ips.map(IpAddr::from)),
    };
    let (from, to) = (source.port(), destination.port());
    // Writing to a vector can't fail.
    let _ = write!(out, "PROXY {family} {} {} {from} {to}\r\n", ips[0], ips[1]);
}

/// Appends a header of version 2 with `values`, and a checksum if asked for.
pub fn encode_v2(out: &mut Vec<u8>, peers: &Peers, values: &Values<'_>, checksum: bool) {
    /// Versions and commands: the sender's own connection, a client's.
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    let start = out.len();
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[if *peers == Peers::Local { LOCAL } else { PROXY }, 0, 0, 0]);
    if let Peers::Inet { source, destination } = peers {
        match Pair::of(source, destination) {
            Pair::V4(ips) => {
                out[start + 13] = 0x11;
                out.extend_from_slice(ips.as_flattened());
            }
            Pair::V6(ips) => {
                out[start + 13] = 0x21;
                out.extend_from_slice(ips.as_flattened());
            }
        }
        out.extend_from_slice(&source.port().to_be_bytes());
        out.extend_from_slice(&destination.port().to_be_bytes());
    }
    values.write(out);
    if checksum {
        out.extend_from_slice(&[CRC32C, 0, 4, 0, 0, 0, 0]);
    }
    let length = (out.len() - start - FIXED_BYTES) as u16;
    out[start + 14..start + FIXED_BYTES].copy_from_slice(&length.to_be_bytes());
    if checksum {
        let sum = crc32c(out[start..].iter().copied());
        let at = out.len() - CHECKSUM_BYTES + 3;
        out[at..].copy_from_slice(&sum.to_be_bytes());
    }
}
