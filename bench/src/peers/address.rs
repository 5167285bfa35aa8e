//! Where a program of the comparison listens: a loopback port or a Unix socket, and a connection to it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

/// What a Unix socket's address begins with on command lines.
pub(super) const UNIX_PREFIX: &str = "unix:";

/// How a client reaches the proxy and the proxy its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Transport {
    /// TCP over loopback.
    Tcp,
    /// Unix stream sockets on both sides.
    Unix,
}

/// An address of either kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// IP and port.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            return Ok(Address::Unix(path.into()));
        }
        text.parse().map(Address::Tcp).map_err(|_| format!("`{text}` is neither IP:PORT nor unix:PATH"))
    }
}

impl Address {
    /// A blocking connection whose reads end after `patience`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) fn connect(&self, patience: Duration) -> io::Result<Stream> {
        match self {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                Ok(Stream::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience))?;
                Ok(Stream::Unix(stream))
            }
        }
    }

    /// What a client writes as `Host`, and a URL as its authority.
    pub(crate) fn authority(&self) -> String {
        match self {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A connection of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP, in TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The TCP connection that it is.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn into_tcp(self) -> Result<TcpStream, String> {
        match self {
            Stream::Tcp(stream) => Ok(stream),
            Stream::Unix(_) | Stream::Tls(_) => Err("not a TCP connection".to_owned()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["127.0.0.1:80", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("somewhere".parse::<Address>().is_err());
    }

    #[test]
    fn both_kinds_connect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hi").unwrap());
        let mut text = String::new();
        let mut stream = Address::Unix(path).connect(Duration::from_secs(10)).unwrap();
        stream.read_to_string(&mut text).unwrap();
        server.join().unwrap();
        assert_eq!(text, "hi");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        assert!(address.connect(Duration::from_secs(10)).is_ok());
    }
}
