//! One end of a connection, byte by byte.
//!
//! Invariants: no wait is longer than [`PATIENCE`]; bytes received and not yet taken are kept in order.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::message::field;
use super::{Head, MOMENT, Message, text};
use crate::support::PATIENCE;

/// A socket of either kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }

    fn patience(&self, time: Duration) {
        let time = Some(time.max(Duration::from_millis(1)));
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(time).and(stream.set_write_timeout(time)),
            Stream::Unix(stream) => stream.set_read_timeout(time).and(stream.set_write_timeout(time)),
        }
        .expect("timeouts can be set");
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(bytes),
            Stream::Unix(stream) => stream.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }
}

/// One end of a connection.
pub(crate) struct Link {
    pub(super) stream: Stream,
    /// Received and not yet taken.
    pub(crate) unread: Vec<u8>,
    /// Counts every byte received, where somebody asked for it.
    pub(super) received: Arc<AtomicU64>,
}

/// What a read that may fail came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side ended its sending direction.
    Closed,
    /// The connection was reset.
    Reset,
}

impl Link {
    pub(super) fn new(stream: Stream) -> Self {
        if let Stream::Tcp(stream) = &stream {
            stream.set_nodelay(true).expect("no delay");
        }
        stream.patience(PATIENCE);
        Link { stream, unread: vec![], received: Arc::default() }
    }

    /// Connects over TCP.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Link::new(Stream::Tcp(TcpStream::connect_timeout(&address, PATIENCE).expect("connected")))
    }

    /// Takes a connection that is there.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Link::new(Stream::Tcp(stream))
    }

    /// Connects to a Unix socket.
    pub(crate) fn connect_unix(path: &Path) -> Self {
        Link::new(Stream::Unix(UnixStream::connect(path).expect("connected")))
    }

    /// Another handle of the same connection, to send and receive at the same time.
    pub(crate) fn twin(&self) -> Self {
        match &self.stream {
            Stream::Tcp(stream) => Link::new(Stream::Tcp(stream.try_clone().expect("cloned"))),
            Stream::Unix(stream) => Link::new(Stream::Unix(stream.try_clone().expect("cloned"))),
        }
    }

    /// This end's address.
    pub(crate) fn local(&self) -> SocketAddr {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().expect("an address"),
            Stream::Unix(_) => panic!("a Unix socket"),
        }
    }

    /// Sends all of it.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("sent");
    }

    /// Sends all of it, if the other side takes it.
    pub(crate) fn try_send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => bytes = &bytes[sent..],
            }
        }
        Ok(())
    }

    /// Sends each piece in a segment of its own.
    #[track_caller]
    pub(crate) fn send_pieces<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            self.send(piece);
            sleep(MOMENT);
        }
    }

    /// Whether something arrives (or the end of the stream) within `time`. Takes nothing.
    pub(crate) fn has_more(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        self.stream.patience(time);
        let mut bytes = [0; 64 * 1024];
        let read = self.stream.read(&mut bytes);
        self.stream.patience(PATIENCE);
        if let Ok(read @ 1..) = read {
            self.received.fetch_add(read as u64, Ordering::SeqCst);
            self.unread.extend_from_slice(&bytes[..read]);
        }
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Receives up to `most` bytes and forgets them; false at the end of the stream.
    pub(crate) fn take_some(&mut self, most: usize) -> bool {
        let mut bytes = vec![0; most];
        self.stream.read(&mut bytes).is_ok_and(|read| read > 0)
    }

    /// Sends up to `most` bytes that mean nothing, until the other side is gone.
    #[track_caller]
    pub(crate) fn push_until_gone(&mut self, most: usize) {
        let block = [b'x'; 64 * 1024];
        let mut sent = 0;
        while self.try_send(&block).is_ok() {
            sent += block.len();
            assert!(sent < most, "{sent} bytes were taken");
        }
    }

    /// What came is forgotten; the connection has not ended.
    #[track_caller]
    pub(crate) fn expect_open(&mut self) {
        self.unread.clear();
        self.stream.patience(Duration::from_millis(10));
        let mut bytes = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                ended => panic!("the connection has ended: {ended:?}"),
            }
        }
        self.stream.patience(PATIENCE);
    }

    /// Sends until the other side takes nothing for `quiet`; says how many bytes it took.
    pub(crate) fn send_until_blocked(&mut self, most: usize, quiet: Duration) -> usize {
        let block = [b'x'; 64 * 1024];
        self.stream.patience(quiet);
        let mut sent = 0;
        while sent < most {
            match self.stream.write(&block[..block.len().min(most - sent)]) {
                Ok(wrote) => sent += wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("can't send: {error}"),
            }
        }
        self.stream.patience(PATIENCE);
        sent
    }

    /// Receives more; how the stream ended if it did.
    pub(super) fn more(&mut self) -> Result<(), Ended> {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(Ended::Closed),
            Ok(read) => {
                self.received.fetch_add(read as u64, Ordering::SeqCst);
                self.unread.extend_from_slice(&bytes[..read]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Ended::Reset),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Ended::Reset),
            Err(error) => panic!("nothing came in time ({error}) after {:?}", text(&self.unread)),
        }
    }

    /// Bytes up to and including `end`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut from = 0;
        loop {
            let place = self.unread[from..].windows(end.len()).position(|window| window == end);
            if let Some(place) = place {
                return self.unread.drain(..from + place + end.len()).collect();
            }
            from = (self.unread.len() + 1).saturating_sub(end.len());
            self.must_more();
        }
    }

    #[track_caller]
    fn must_more(&mut self) {
        if let Err(ended) = self.more() {
            panic!("{ended:?} after {:?}", text(&self.unread));
        }
    }

    /// Exactly that many bytes.
    #[track_caller]
    pub(crate) fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            self.must_more();
        }
        self.unread.drain(..length).collect()
    }

    /// All bytes up to the end of the stream, and how it ended.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, Ended) {
        loop {
            if let Err(ended) = self.more() {
                return (std::mem::take(&mut self.unread), ended);
            }
        }
    }

    /// Nothing more comes, and the other side closes.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let (bytes, ended) = self.read_to_end();
        assert!(bytes.is_empty(), "unexpected: {:?}", text(&bytes));
        assert_eq!(ended, Ended::Closed);
    }

    /// The other side closes or resets; what it said before does not matter.
    pub(crate) fn expect_gone(&mut self) {
        while self.more().is_ok() {}
        self.unread.clear();
    }

    /// Nothing comes for a while, and the connection stays open.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self, time: Duration) {
        self.stream.patience(time);
        let mut bytes = [0; 1024];
        let read = self.stream.read(&mut bytes);
        self.stream.patience(PATIENCE);
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("not quiet: {error}"),
            Ok(read) => panic!("not quiet: {:?}", text(&bytes[..read])),
        }
        assert!(self.unread.is_empty(), "not quiet: {:?}", text(&self.unread));
    }

    /// The next message's head.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        let bytes = self.read_until(b"\r\n\r\n");
        let all = String::from_utf8(bytes).expect("a head of text");
        let mut lines = all.strip_suffix("\r\n\r\n").expect("ended").split("\r\n");
        let line = lines.next().expect("a line").to_owned();
        Head { line, fields: lines.map(field).collect() }
    }

    /// The next request with its body.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        let head = self.head();
        if head.is_chunked() {
            let (body, trailers) = self.chunked();
            return Message { head, body, trailers };
        }
        let body = self.read_exact(head.length().unwrap_or(0));
        Message { head, body, trailers: vec![] }
    }

    /// The next final response with its body, to anything but HEAD. An interim one fails the test.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Message {
        let head = self.head();
        let status = head.status();
        assert!(status >= 200, "an interim response: {head:?}");
        if head.is_chunked() {
            let (body, trailers) = self.chunked();
            return Message { head, body, trailers };
        }
        let body = match head.length() {
            _ if status == 204 || status == 304 => vec![],
            Some(length) => self.read_exact(length),
            None => {
                let (body, ended) = self.read_to_end();
                assert_eq!(ended, Ended::Closed, "a body until close was cut");
                body
            }
        };
        Message { head, body, trailers: vec![] }
    }

    /// A chunked body's content and trailers.
    #[track_caller]
    pub(crate) fn chunked(&mut self) -> (Vec<u8>, Vec<(String, String)>) {
        let mut body = vec![];
        loop {
            let line = self.read_until(b"\r\n");
            let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a chunk size");
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
            if size == 0 {
                break;
            }
            body.extend(self.read_exact(size));
            assert_eq!(self.read_exact(2), b"\r\n", "a chunk ends with its size");
        }
        let mut trailers = vec![];
        loop {
            let line = String::from_utf8(self.read_until(b"\r\n")).expect("text");
            match line.trim_end_matches("\r\n") {
                "" => return (body, trailers),
                line => trailers.push(field(line)),
            }
        }
    }

    /// The next chunk's content, which is not the last.
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let line = self.read_until(b"\r\n");
        let size = std::str::from_utf8(&line[..line.len() - 2]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
        assert!(size > 0, "the last chunk");
        let content = self.read_exact(size);
        assert_eq!(self.read_exact(2), b"\r\n", "a chunk ends with its size");
        content
    }

    /// Ends the sending direction.
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset instead of an end of stream.
    pub(crate) fn reset(self) {
        set_socket_linger(self.stream.fd(), Some(Duration::ZERO)).expect("linger can be set");
    }

    /// Makes the kernel hold little of what this end has not read. Before anything large is sent.
    pub(crate) fn small_receive_buffer(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(self.stream.fd(), 16 * 1024).expect("set");
    }
}
