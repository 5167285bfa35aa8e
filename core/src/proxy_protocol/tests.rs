//! Tables of headers, malformed ones next to valid ones, each torn at every byte.

use super::*;

const LIMIT_V1: usize = crate::limits::PROXY_V1_BYTES_MAX;

/// Reads `bytes` followed by something else, and every beginning of them.
fn complete(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let longer = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    let whole = match read(bytes)? {
        Progress::Complete(header, length) => {
            assert_eq!(length, bytes.len());
            header
        }
        Progress::Partial => panic!("more is wanted than {bytes:?}"),
    };
    assert_eq!(read(&longer), Ok(Progress::Complete(whole, bytes.len())), "what follows plays no part");
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Ok(Progress::Partial), "{end} of {bytes:?}");
    }
    Ok(whole)
}

fn inet(source: &str, destination: &str) -> Peers {
    Peers::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

#[test]
fn lines_of_version_1() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert!(longest.len() <= LIMIT_V1);
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LIMIT_V1 - "PROXY UNKNOWN \r\n".len()));
    let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", inet("192.0.2.1:4711", "198.51.100.2:443")),
        ("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", inet("0.0.0.0:0", "255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", inet("[2001:db8::1]:1", "[::1]:2")),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c000:202 1 2\r\n",
            inet("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"),
        ),
        (longest, inet(all, all)),
        ("PROXY UNKNOWN\r\n", Peers::Unknown),
        ("PROXY UNKNOWN ffff:f...f 65535 65535\r\n", Peers::Unknown),
        (&unknown, Peers::Unknown),
    ] {
        let header = complete(line.as_bytes()).unwrap();
        assert_eq!(
            (header.version, header.peers, header.values),
            (Version::V1, expected, Values::default()),
            "{line}"
        );
    }
}

#[test]
fn what_is_no_header_of_version_1() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(LIMIT_V1));
    let late = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LIMIT_V1 - "PROXY UNKNOWN \r\n".len() + 1));
    use HeaderError::{Absent, Address, Line, TooLong};
    for (line, expected) in [
        ("GET / HTTP/1.1\r\n", Absent),
        ("PROXZ", Absent),
        ("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Absent),
        ("\x16\x03\x01", Absent),
        ("PROXY \r\n", Line),
        ("PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Line),
        ("PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n", Line),
        ("PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", Line),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", Line),
        ("PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP4 ::1 2.2.2.2 1 2\r\n", Address),
        ("PROXY TCP6 1.1.1.1 ::1 1 2\r\n", Address),
        ("PROXY TCP6 ::1%lo ::1 1 2\r\n", Address),
        ("PROXY TCP6 1::2::3 ::1 1 2\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 -2\r\n", Address),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\0\r\n", Address),
        (&long, TooLong),
        (&late, TooLong),
    ] {
        assert_eq!(read(line.as_bytes()), Err(expected), "{line:?}");
    }
    assert_eq!(read(b"PROXY TCP4 \xff\r\n"), Err(Line));
    assert_eq!(read(b""), Ok(Progress::Partial));
}

/// A version 2 header of these parts.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[command, family]);
    bytes.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    bytes.extend_from_slice(rest);
    bytes
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 1, 187];

#[test]
fn headers_of_version_2() {
    let v6 = {
        let mut bytes = [0; 36];
        (bytes[0], bytes[15], bytes[31], bytes[33], bytes[35]) = (0xfd, 1, 2, 3, 4);
        bytes
    };
    let inet4 = inet("192.0.2.1:4711", "198.51.100.2:443");
    let inet6 = inet("[fd00::1]:3", "[::2]:4");
    for (command, family, rest, expected) in [
        (0x21, 0x11, &V4[..], inet4),
        (0x21, 0x12, &V4, inet4),
        (0x21, 0x21, &v6, inet6),
        (0x21, 0x22, &v6, inet6),
        (0x21, 0x31, &[b'x'; 216], Peers::Unix),
        (0x21, 0x00, &[], Peers::Unknown),
        (0x21, 0x00, &[1, 2, 3, 4], Peers::Unknown),
        (0x20, 0x00, &[], Peers::Local),
        (0x20, 0xff, &[], Peers::Local),
        (0x20, 0x11, &[9; 3], Peers::Local),
    ] {
        let bytes = v2(command, family, rest);
        let header = complete(&bytes).unwrap();
        assert_eq!((header.version, header.peers), (Version::V2, expected), "{bytes:?}");
        assert_eq!(header.values, Values::default());
    }
}

#[test]
fn what_is_no_header_of_version_2() {
    use HeaderError::{Command, Family, Length, TooLong, Value};
    for (command, family, rest, expected) in [
        (0x11, 0x11, &V4[..], Command),
        (0x31, 0x11, &V4, Command),
        (0x22, 0x11, &V4, Command),
        (0x2f, 0x11, &V4, Command),
        (0x21, 0x10, &V4, Family),
        (0x21, 0x13, &V4, Family),
        (0x21, 0x01, &V4, Family),
        (0x21, 0x41, &V4, Family),
        (0x21, 0x11, &V4[..11], Length),
        (0x21, 0x21, &V4, Length),
        (0x21, 0x31, &[0; 215], Length),
        (0x21, 0x11, &[&V4[..], &[2]].concat(), Value),
        (0x21, 0x11, &[&V4[..], &[2, 0]].concat(), Value),
        (0x21, 0x11, &[&V4[..], &[2, 0, 2, b'a']].concat(), Value),
        (0x21, 0x11, &[&V4[..], &[0xee, 0xff, 0xff, b'a']].concat(), Value),
        // An SSL value without its fixed part, one whose own values do not fit, and an id that is too long.
        (0x21, 0x11, &[&V4[..], &[0x20, 0, 4, 1, 0, 0, 0]].concat(), Value),
        (0x21, 0x11, &[&V4[..], &[0x20, 0, 8, 1, 0, 0, 0, 0, 0x21, 0, 1]].concat(), Value),
        (0x21, 0x11, &[&V4[..], &[5, 0, 129], &[0; 129]].concat(), Value),
        // A checksum of three bytes.
        (0x21, 0x11, &[&V4[..], &[3, 0, 3, 0, 0, 0]].concat(), Value),
        (0x21, 0x11, &[0; 9_000], TooLong),
        (0x20, 0x00, &[0; 9_000], TooLong),
    ] {
        assert_eq!(read(&v2(command, family, rest)), Err(expected), "{command:x} {family:x} {rest:?}");
    }
    let mut torn = SIGNATURE;
    torn[11] = b'x';
    assert_eq!(read(&torn), Err(HeaderError::Absent));
    // Refused as soon as that can be seen, whatever is still to come.
    assert_eq!(read(&v2(0x21, 0x11, &V4)[..12]), Ok(Progress::Partial));
    assert_eq!(read(&v2(0x21, 0x41, &V4)[..16]), Err(Family));
    assert_eq!(read(&v2(0x21, 0x11, &[0; 9_000])[..16]), Err(TooLong));
}

#[test]
fn values() {
    // As HAProxy sends them for a client with a certificate, padding and an unknown value in between.
    let ssl = [
        &[0x20, 0, 33, 7, 0, 0, 0, 0][..],
        &[0x21, 0, 7],
        b"TLSv1.3",
        &[0x22, 0, 6],
        b"client",
        &[0x23, 0, 3],
        b"AES",
        &[0x29, 0, 0],
    ]
    .concat();
    let list =
        [&V4[..], &[1, 0, 2], b"h2", &[4, 0, 2, 0, 0, 0xe0, 0, 0], &ssl, &[2, 0, 3], b"a.b", &[5, 0, 1, 9]]
            .concat();
    let bytes = v2(0x21, 0x11, &list);
    let values = complete(&bytes).unwrap().values;
    assert_eq!((values.alpn, values.authority, values.unique_id), (&b"h2"[..], &b"a.b"[..], &[9][..]));
    let ssl = values.ssl.unwrap();
    assert_eq!((ssl.certificate, ssl.verified), (true, true));
    assert_eq!((ssl.version, ssl.common_name, ssl.cipher), (&b"TLSv1.3"[..], &b"client"[..], &b"AES"[..]));
    for (client, verify, expected) in [
        (0, 0, None),
        (1, 0, Some((false, false))),
        (1, 1, Some((false, false))),
        (3, 1, Some((true, false))),
        (5, 0, Some((true, true))),
    ] {
        let list = [&V4[..], &[0x20, 0, 5, client, 0, 0, 0, verify]].concat();
        let bytes = v2(0x21, 0x11, &list);
        let ssl = complete(&bytes).unwrap().values.ssl;
        assert_eq!(ssl.map(|ssl| (ssl.certificate, ssl.verified)), expected, "{client} {verify}");
    }
    // The first of two counts.
    let bytes = v2(0x21, 0x11, &[&V4[..], &[2, 0, 1, b'a', 2, 0, 1, b'b']].concat());
    assert_eq!(complete(&bytes).unwrap().values.authority, b"a");
}

#[test]
fn what_is_written_is_read() {
    let ssl = Ssl {
        certificate: true,
        verified: true,
        version: b"TLSv1.3",
        common_name: b"spiffe",
        cipher: b"TLS_AES_128_GCM_SHA256",
        signature: b"ECDSA-SHA256",
        key: b"EC256",
    };
    let some = Values { alpn: b"h2", authority: b"a.example", unique_id: b"\0\xff", ssl: Some(ssl) };
    let plain = Values { ssl: Some(Ssl { version: b"TLSv1.2", ..Ssl::default() }), ..Values::default() };
    let v4 = inet("192.0.2.1:4711", "198.51.100.2:443");
    let v6 = inet("[2001:db8::1]:1", "[::1]:2");
    for peers in [v4, v6, Peers::Unknown, Peers::Local] {
        for values in [Values::default(), some, plain] {
            for checksum in [false, true] {
                let mut bytes = Vec::new();
                encode_v2(&mut bytes, &peers, &values, checksum);
                let header = complete(&bytes).unwrap();
                let expected = if peers == Peers::Local { Values::default() } else { values };
                assert_eq!((header.peers, header.values), (peers, expected));
                if checksum && matches!(peers, Peers::Inet { .. }) {
                    // The addresses, and the sum itself.
                    for place in (FIXED_BYTES..FIXED_BYTES + 12).chain(bytes.len() - 4..bytes.len()) {
                        let mut torn = bytes.clone();
                        torn[place] ^= 1;
                        assert_eq!(read(&torn), Err(HeaderError::Checksum), "{place}");
                    }
                }
            }
        }
    }
    for (peers, line) in [
        (v4, "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"),
        (v6, "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"),
        // Dual-stack sockets show IPv4 clients as mapped ones, and both may differ.
        (inet("[::ffff:192.0.2.1]:1", "198.51.100.2:2"), "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"),
        (inet("192.0.2.1:1", "[::1]:2"), "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"),
        (Peers::Unknown, "PROXY UNKNOWN\r\n"),
        (Peers::Unix, "PROXY UNKNOWN\r\n"),
    ] {
        let mut bytes = Vec::new();
        encode_v1(&mut bytes, &peers);
        assert_eq!(String::from_utf8_lossy(&bytes), line);
        complete(&bytes).unwrap();
    }
}
