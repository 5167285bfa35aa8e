//! Bytes go through unchanged, whatever their number and whoever is slow; an end goes through as well.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::*;
use crate::peers::address::Stream;

/// Starts a forwarder in front of `upstream`. Its thread ends with the test program.
fn forwarder(listen: &str, upstream: Address) -> Address {
    let mut address: Address = listen.parse().unwrap();
    if let Address::Tcp(wanted) = &mut address {
        // A free port, given back a moment before it is taken.
        *wanted = TcpListener::bind(*wanted).unwrap().local_addr().unwrap();
    }
    let options = Options { listen: address.clone(), upstream };
    std::thread::spawn(move || run(&options).unwrap());
    for _ in 0..500 {
        if address.connect(Duration::from_secs(10)).is_ok() {
            return address;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    address
}

/// An upstream that sends back what it gets, in its own time, and ends when its client does.
fn echo(mut stream: impl std::io::Read + std::io::Write, slow: bool) {
    let mut buffer = vec![0; 100_000];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
        if slow {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Writes `bytes` from a thread of its own while reading them back.
fn check(address: &Address, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    let mut stream = address.connect(Duration::from_secs(60)).unwrap();
    let mut came = Vec::new();
    let mut writer = match &stream {
        Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().unwrap()),
        Stream::Unix(stream) => Stream::Unix(stream.try_clone().unwrap()),
        Stream::Tls(_) => unreachable!("the floor is not spoken to in TLS"),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            match &writer {
                Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
                Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
                Stream::Tls(_) => {}
            }
        });
        stream.read_to_end(&mut came).unwrap();
    });
    assert!(sent == came, "{bytes} bytes: {} came", came.len());
}

#[test]
fn bytes_go_through_unchanged_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = Address::Tcp(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| echo(stream.unwrap(), true));
        }
    });
    let address = forwarder("127.0.0.1:0", upstream);
    for bytes in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 << 20] {
        check(&address, bytes);
    }
}

#[test]
fn bytes_go_through_unchanged_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("up.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| echo(stream.unwrap(), false));
        }
    });
    let upstream = Address::Unix(folder.path().join("up.sock"));
    let address = forwarder(&format!("unix:{}", folder.path().join("web.sock").display()), upstream);
    for bytes in [1, BUFFER_BYTES, 3 << 20] {
        check(&address, bytes);
    }
}

#[test]
fn a_connection_whose_upstream_is_not_there_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Address::Unix(folder.path().join("nobody.sock"));
    let address = forwarder("127.0.0.1:0", nobody);
    let mut stream = address.connect(Duration::from_secs(10)).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
}
