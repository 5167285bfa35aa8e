//! WebSocket, TCP echo and the PROXY protocol of the origin, with raw bytes on both drivers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use common::{DRIVERS, Origin};

fn on_both(options: &[&str], test: impl Fn(&Origin)) {
    for driver in DRIVERS {
        test(&Origin::start(driver, options));
    }
}

const MASK: [u8; 4] = [9, 8, 7, 6];

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    bytes
}

/// A frame as a server sends it: first byte and payload.
fn read_frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).unwrap();
            usize::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).unwrap();
            u64::from_be_bytes(bytes) as usize
        }
        length => {
            assert!(length < 126, "a server's frame has a mask");
            usize::from(length)
        }
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn read_head(stream: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn web_socket_messages_come_back() {
    on_both(&[], |origin| {
        let mut stream = origin.connect();
        // The first frames may come with the handshake.
        let first = [handshake("/any/path?q").as_bytes(), &frame(0x81, b"hello")].concat();
        stream.write_all(&first).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert_eq!(read_frame(&mut stream), (0x81, b"hello".to_vec()));
        for length in [0, 125, 126, 70_000, 3 << 20] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            stream.write_all(&frame(0x82, &payload)).unwrap();
            assert!(read_frame(&mut stream) == (0x82, payload), "{length}");
        }
        // In parts, with a ping between them, byte by byte.
        let parts = [frame(0x01, b"in "), frame(0x89, b"?"), frame(0x80, b"parts")].concat();
        for byte in parts {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(read_frame(&mut stream), (0x8a, b"?".to_vec()));
        assert_eq!(read_frame(&mut stream), (0x81, b"in parts".to_vec()));
        stream.write_all(&frame(0x88, &[0x03, 0xe8, b'o', b'k'])).unwrap();
        assert_eq!(read_frame(&mut stream), (0x88, vec![0x03, 0xe8]));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn wrong_frames_end_a_web_socket_with_the_code_for_it() {
    on_both(&[], |origin| {
        let mut huge = vec![0x82, 0xff];
        huge.extend(((16_u64 << 20) + 1).to_be_bytes());
        huge.extend(MASK);
        for (code, bytes) in [
            (1002_u16, vec![0x81, 0x01, b'a']),
            (1007, frame(0x81, &[0xff])),
            (1009, huge),
            (1002, frame(0xf1, b"")),
        ] {
            let mut stream = origin.connect();
            stream.write_all(&[handshake("/").as_bytes(), &bytes].concat()).unwrap();
            read_head(&mut stream);
            assert_eq!(read_frame(&mut stream), (0x88, code.to_be_bytes().to_vec()));
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn web_socket_handshakes_are_scripted_and_checked() {
    on_both(&[], |origin| {
        let refused = |status: &str, request: &str| {
            let answer = origin.exchange(request);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            answer
        };
        refused("503", &handshake("/status/503"));
        refused("400", &handshake("/").replace("Key: ", "Key: x"));
        let answer = refused("426", &handshake("/").replace("13", "12"));
        assert!(answer.contains("sec-websocket-version: 13\r\n"), "{answer}");
        // Each message waits as a request does, and so does the handshake.
        let mut stream = origin.connect();
        let start = Instant::now();
        stream.write_all(handshake("/delay/30ms").as_bytes()).unwrap();
        read_head(&mut stream);
        stream.write_all(&frame(0x81, b"a")).unwrap();
        read_frame(&mut stream);
        assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
    });
}

#[test]
fn tcp_echo_sends_every_byte_back_and_ends_when_the_client_does() {
    for driver in DRIVERS {
        let origin = Origin::run(driver, &["--tcp-echo", "127.0.0.1:0"]);
        assert!(origin.announced.trim_end().ends_with(", TCP echo"), "{}", origin.announced);
        let mut stream = origin.connect();
        let mut sender = stream.try_clone().unwrap();
        let sent: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 253) as u8).collect();
        let expected = sent.clone();
        let sending = std::thread::spawn(move || {
            sender.write_all(&sent).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut echoed = Vec::new();
        stream.read_to_end(&mut echoed).unwrap();
        sending.join().unwrap();
        assert!(echoed == expected, "{} of {} bytes", echoed.len(), expected.len());
    }
}

#[test]
fn the_proxy_header_is_required_and_told() {
    on_both(&["--proxy-protocol"], |origin| {
        let get = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x12\x67\0\x50";
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
        let echo = |header: &[u8], size: usize| -> serde_json::Value {
            let mut stream = origin.connect();
            for piece in [header, get].concat().chunks(size) {
                stream.write_all(piece).unwrap();
                if size < 100 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
        };
        for size in [1, 1000] {
            let one = echo(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n", size);
            assert_eq!(one["source"], "192.0.2.1:4711");
            assert_eq!(one["proxy_protocol"]["version"], 1);
            assert_eq!(one["proxy_protocol"]["destination"], "192.0.2.2:80");
            let two = echo(v2, size);
            assert_eq!(two["source"], "192.0.2.1:4711");
            assert_eq!(two["proxy_protocol"]["version"], 2);
        }
        let local = echo(local, 1000);
        assert!(local["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{local}");
        assert_eq!(local["proxy_protocol"]["source"], serde_json::Value::Null);
        // Without the header there is no answer.
        let mut stream = origin.connect();
        stream.write_all(get).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    });
    on_both(&[], |origin| {
        let echo = origin.exchange("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            echo.contains("\"source\":\"127.0.0.1:") && echo.contains("\"proxy_protocol\":null"),
            "{echo}"
        );
    });
}
