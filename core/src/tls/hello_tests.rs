//! Tables of ClientHellos: those that programs sent, made-up ones, malformed ones; each torn at every byte.

use super::*;

/// Bytes that programs sent, in hexadecimal.
fn recorded(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Reads `bytes` at once, and in two pieces torn at every place.
fn read(bytes: &[u8]) -> Result<Progress, HelloError> {
    let whole = HelloReader::new().read(bytes);
    for cut in 0..bytes.len() {
        let mut reader = HelloReader::new();
        match reader.read(&bytes[..cut]) {
            Ok(Progress::Partial) => assert_eq!(reader.read(bytes), whole, "torn at {cut}"),
            early => assert_eq!(early, whole, "known after {cut}"),
        }
    }
    whole
}

fn hello(bytes: &[u8]) -> ClientHello {
    match read(bytes) {
        Ok(Progress::Complete(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn offered(hello: &ClientHello) -> Vec<&str> {
    hello.alpn.iter().map(|protocol| std::str::from_utf8(protocol).unwrap()).collect()
}

#[test]
fn what_programs_send() {
    for (text, name, alpn, version) in [
        (include_str!("hellos/openssl.txt"), Some("db.example"), &["postgresql"][..], 0x0304),
        (include_str!("hellos/openssl_tls12_noname.txt"), None, &[], 0x0303),
        (include_str!("hellos/curl.txt"), Some("www.example.com"), &["h2", "http/1.1"], 0x0304),
        // With a post-quantum key share.
        (include_str!("hellos/rustls.txt"), Some("localhost"), &["h2", "http/1.1"], 0x0304),
    ] {
        let bytes = recorded(text);
        let hello = hello(&bytes);
        assert_eq!((hello.server_name.as_deref(), hello.version), (name, version));
        assert_eq!(offered(&hello), alpn);
        assert!(!hello.encrypted);
        // The rest of a flight (0-RTT data) changes nothing.
        let longer = [&bytes[..], b"\x17\x03\x03\x00\x05hello"].concat();
        assert_eq!(HelloReader::new().read(&longer), Ok(Progress::Complete(hello)));
    }
}

#[test]
fn a_message_in_many_records() {
    let bytes = recorded(include_str!("hellos/curl.txt"));
    let expected = hello(&bytes);
    for piece in [1, 2, 3, 5, 100, 511] {
        let mut records = Vec::new();
        for part in bytes[5..].chunks(piece) {
            records.extend_from_slice(&[22, 3, 1, 0, part.len() as u8]);
            let at = records.len() - 2;
            records[at..].copy_from_slice(&(part.len() as u16).to_be_bytes());
            records.extend_from_slice(part);
        }
        // Byte by byte as well.
        let mut reader = HelloReader::new();
        for end in 0..records.len() {
            assert_eq!(reader.read(&records[..end]), Ok(Progress::Partial), "{piece}, {end}");
        }
        assert_eq!(reader.read(&records), Ok(Progress::Complete(expected.clone())), "records of {piece}");
    }
}

/// A list with a length of two bytes before it.
fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(content)].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    extension(SERVER_NAME, &long(&[&[0][..], &long(name)].concat()))
}

fn record_of(message: &[u8]) -> Vec<u8> {
    [&[22, 3, 1][..], &long(message)].concat()
}

/// The message with that body in one record.
fn sent(body: &[u8]) -> Vec<u8> {
    record_of(&[&[1][..], &(body.len() as u32).to_be_bytes()[1..], body].concat())
}

const FIXED: [u8; 40] = {
    let mut fixed = [7; 40];
    // Version, random, no session, one suite, one compression (0).
    (fixed[0], fixed[1], fixed[34]) = (3, 3, 0);
    (fixed[35], fixed[36], fixed[37], fixed[38], fixed[39]) = (0, 2, 0x13, 1, 1);
    fixed
};

fn with(extensions: &[&[u8]]) -> Vec<u8> {
    sent(&[&FIXED[..], &[0], &long(&extensions.concat())].concat())
}

#[test]
fn grease_is_stepped_over() {
    let bytes = with(&[
        &extension(0x0a0a, &[]),
        &named(b"Shown.Example."),
        &extension(0x1a1a, &[0]),
        &extension(ALPN, &long(b"\x02\x0a\x0a\x02h2")),
        &extension(SUPPORTED_VERSIONS, &[6, 0xfa, 0xfa, 3, 4, 3, 3]),
        &extension(ENCRYPTED_CLIENT_HELLO, &[0; 40]),
        &extension(0x0a0a, &[]),
    ]);
    let hello = hello(&bytes);
    assert_eq!(hello.server_name.as_deref(), Some("shown.example"));
    assert_eq!((hello.version, hello.encrypted, hello.alpn.len()), (0x0304, true, 2));
}

#[test]
fn without_extensions() {
    let old = hello(&sent(&[&FIXED[..], &[0]].concat()));
    assert_eq!(old, ClientHello { version: 0x0303, ..ClientHello::default() });
    assert_eq!(hello(&with(&[])), old);
    assert_eq!(hello(&with(&[&extension(SUPPORTED_VERSIONS, &[2, 0x1a, 0x1a])])).version, 0x0303);
}

#[test]
fn what_is_refused() {
    use HelloError::{Length, Message, NotTls, Record, Repeated, ServerName, TooLarge};
    let body = [&FIXED[..], &[0], &long(&named(b"a.example"))].concat();
    let name = |name: &[u8]| with(&[&named(name)]);
    let server_name = |content: &[u8]| with(&[&extension(SERVER_NAME, content)]);
    let changed = |at: usize, byte: u8| {
        let mut body = body.clone();
        body[at] = byte;
        sent(&body)
    };
    let rows: Vec<(&str, Vec<u8>, HelloError)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), NotTls),
        ("SSH", b"SSH-2.0-OpenSSH".to_vec(), NotTls),
        ("SSL 2.0", b"\x80\x2e\x01\x00\x02".to_vec(), NotTls),
        ("an alert", b"\x15\x03\x01\x00\x02\x02\x28".to_vec(), NotTls),
        ("a major version", b"\x16\x02\x00".to_vec(), NotTls),
        ("an empty record", b"\x16\x03\x01\x00\x00".to_vec(), Record),
        ("a long record", b"\x16\x03\x01\x40\x01".to_vec(), Record),
        ("another record in between", [&record_of(&[1, 0, 0])[..], b"\x17"].concat(), Record),
        ("another version in between", [&record_of(&[1, 0, 0])[..], b"\x16\x02"].concat(), Record),
        ("an empty record in between", [&record_of(&[1, 0, 0])[..], b"\x16\x03\x01\0\0"].concat(), Record),
        ("a ServerHello", record_of(&[2, 0, 0, 0]), Message),
        ("a long message", record_of(&[1, 0, 0x40, 0]), TooLarge),
        ("a huge message", record_of(&[1, 0xff, 0xff, 0xff]), TooLarge),
        ("an empty message", record_of(&[1, 0, 0, 0]), Length),
        ("the fixed part torn", sent(&FIXED[..30]), Length),
        ("no compression", sent(&FIXED), Length),
        ("a long session", changed(34, 33), Length),
        ("an odd suite", changed(36, 1), Length),
        ("no suite", sent(&[&FIXED[..35], &[0, 0, 1, 0]].concat()), Length),
        ("compression of nothing", sent(&[&FIXED[..39], &[0]].concat()), Length),
        ("bytes behind the extensions", sent(&[&body[..], &[0]].concat()), Length),
        ("extensions that go on", changed(42, 200), Length),
        ("an extension that goes on", with(&[&[0, 99, 0, 1]]), Length),
        ("half an extension", with(&[&[0, 99, 0]]), Length),
        ("two names", with(&[&named(b"a.example"), &named(b"a.example")]), Repeated),
        (
            "ALPN twice",
            with(&[&extension(ALPN, &long(b"\x01a")), &extension(ALPN, &long(b"\x01b"))]),
            Repeated,
        ),
        ("no name", server_name(&[]), Length),
        ("an empty list of names", server_name(&[0, 0]), Length),
        ("an empty name", name(b""), ServerName),
        ("a dot", name(b"."), ServerName),
        ("two dots", name(b"a..b"), ServerName),
        ("a dot in front", name(b".a"), ServerName),
        ("a NUL", name(b"a.example\0.b"), ServerName),
        ("a space", name(b"a b"), ServerName),
        ("a wildcard", name(b"*.example"), ServerName),
        ("IPv6", name(b"2001:db8::1"), ServerName),
        ("UTF-8", name("ä.example".as_bytes()), ServerName),
        ("a long label", name(&[b'a'; 64]), ServerName),
        ("a long name", name(&b"abcdefg.".repeat(32)), ServerName),
        ("another kind of name", server_name(&long(&[&[1][..], &long(b"a")].concat())), ServerName),
        (
            "two names in a list",
            server_name(&long(&[&[0][..], &long(b"a"), &[0], &long(b"b")].concat())),
            ServerName,
        ),
        (
            "bytes behind the list",
            server_name(&[&long(&[&[0][..], &long(b"a")].concat())[..], &[0]].concat()),
            Length,
        ),
        ("a name that goes on", server_name(&long(&[0, 0, 2, b'a'])), Length),
        ("no protocol", with(&[&extension(ALPN, &[0, 0])]), Length),
        ("an empty protocol", with(&[&extension(ALPN, &long(&[0]))]), Length),
        ("a protocol that goes on", with(&[&extension(ALPN, &long(b"\x05h2"))]), Length),
        ("an odd version", with(&[&extension(SUPPORTED_VERSIONS, &[3, 3, 4, 3])]), Length),
    ];
    for (what, bytes, expected) in rows {
        assert_eq!(read(&bytes), Err(expected), "{what}: {bytes:?}");
    }
}

#[test]
fn the_limit() {
    let pad = |bytes: usize| extension(21, &vec![0; bytes]);
    // Record and message heads, the fixed part, lengths.
    let room = TLS_HELLO_BYTES_MAX - with(&[&pad(0)]).len();
    let largest = with(&[&pad(room)]);
    assert_eq!(largest.len(), TLS_HELLO_BYTES_MAX);
    let mut reader = HelloReader::new();
    assert_eq!(reader.read(&largest[..largest.len() - 1]), Ok(Progress::Partial));
    assert!(matches!(reader.read(&largest), Ok(Progress::Complete(_))));
    let larger = with(&[&pad(room + 1)]);
    assert_eq!(HelloReader::new().read(&larger), Err(HelloError::TooLarge));
    assert_eq!(
        HelloReader::new().read(&larger[..5]),
        Err(HelloError::TooLarge),
        "known from the record's head"
    );
    // In records of one byte less fits, and nobody reads on for ever.
    let torn: Vec<u8> = largest[5..].iter().flat_map(|&byte| [22, 3, 1, 0, 1, byte]).collect();
    assert_eq!(HelloReader::new().read(&torn), Err(HelloError::TooLarge));
    let mut reader = HelloReader::new();
    let end = (1..torn.len()).find(|&end| reader.read(&torn[..end]).is_err()).unwrap();
    assert!(end <= TLS_HELLO_BYTES_MAX + RECORD_HEAD_BYTES, "{end}");
}

#[test]
fn labels_are_words_and_differ() {
    use HelloError::{Length, Message, NotTls, Record, Repeated, ServerName, TooLarge};
    let labels =
        [Length, Message, NotTls, Record, Repeated, ServerName, TooLarge].map(|error| error.to_string());
    let unique: std::collections::HashSet<_> = labels.iter().collect();
    assert_eq!(unique.len(), labels.len());
}
