//! The PROXY protocol header that a load balancer would put in front of a connection: versions 1 (text) and
//! 2 (binary) of the specification by HAProxy.

use std::net::{IpAddr, SocketAddr};

/// The version that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// The fixed beginning of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Appends the header that names `source` as the client and `destination` as what it connected to.
pub(crate) fn write(version: Version, source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    // One family for both: a header can't mix them.
    let (source, destination) = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => (source, destination),
        _ => (widened(source), widened(destination)),
    };
    match version {
        Version::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            let line = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
            out.extend_from_slice(line.as_bytes());
        }
        Version::V2 => {
            out.extend_from_slice(&SIGNATURE);
            // Version 2, command PROXY; then family and STREAM, and the length of the addresses.
            let (family, length) = if source.is_ipv4() { (0x11, 12_u16) } else { (0x21, 36) };
            out.extend_from_slice(&[0x21, family]);
            out.extend_from_slice(&length.to_be_bytes());
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
    }
}

fn widened(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_what_the_specification_says() {
        let (source, destination) = ("10.1.2.3:4567".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let mut text = Vec::new();
        write(Version::V1, source, destination, &mut text);
        assert_eq!(text, b"PROXY TCP4 10.1.2.3 10.0.0.1 4567 80\r\n");
        let mut binary = Vec::new();
        write(Version::V2, source, destination, &mut binary);
        let expected =
            [&SIGNATURE[..], &[0x21, 0x11, 0, 12, 10, 1, 2, 3, 10, 0, 0, 1, 0x11, 0xd7, 0, 80]].concat();
        assert_eq!(binary, expected);
        let mut mixed = Vec::new();
        write(Version::V2, "[::1]:1".parse().unwrap(), destination, &mut mixed);
        assert_eq!((mixed[13], mixed.len()), (0x21, 16 + 36));
    }
}
