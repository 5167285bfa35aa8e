//! Both ends of the wire for tests of traffic: raw clients and an upstream that does what the test says.
//!
//! ```text
//!   Link (client) ──bytes──> pinion ──bytes──> Link (accepted by Upstream)
//! ```
//!
//! The test's own code is the script of both ends: it sends bytes in pieces of any size, waits for bytes,
//! closes, resets. [`Upstream::serve`] answers by itself instead, for tests that look at one end only.
//!
//! Invariants: no wait is longer than [`PATIENCE`]; what arrives is checked by a reader of our own, which
//! shares no code with the program under test.

#![allow(dead_code, reason = "each test program uses a part")]

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socket_with};

use crate::support::{Builder, Driver, PATIENCE, Pinion, drivers, eventually};

/// Long enough that the other side has seen what was sent before, on an idle machine. Nothing depends on
/// it: too short only means that fewer segmentations are tried.
pub(crate) const MOMENT: Duration = Duration::from_millis(2);

/// Runs a test on every driver at the same time.
pub(crate) fn both(test: impl Fn(Driver) + Sync) {
    std::thread::scope(|scope| {
        let runs: Vec<_> = drivers()
            .into_iter()
            .map(|driver| {
                scope.spawn({
                    let test = &test;
                    move || test(driver)
                })
            })
            .collect();
        let failed = runs.into_iter().filter_map(|run| run.join().err());
        if let Some(panic) = failed.last() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// This process's own loopback IP, so that tests of one machine don't meet.
pub(crate) fn own_ip() -> IpAddr {
    let pid = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 | (pid[1] & 0x3F), pid[2], pid[3].clamp(1, 254)))
}

enum Stream {
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

    fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }
}

/// One end of a connection.
pub(crate) struct Link {
    stream: Stream,
    /// Received and not yet taken.
    unread: Vec<u8>,
    /// Counts every byte received, where somebody asked for it.
    received: Arc<AtomicU64>,
}

/// A message head, names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The request or status line.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// A whole message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    /// The content, without framing.
    pub(crate) body: Vec<u8>,
    /// Of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Head {
    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.line))
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.all(name);
        assert!(found.len() <= 1, "{name} more than once: {self:?}");
        found.first().copied()
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(found, _)| found == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.get("content-length").map(|value| value.parse().expect("a length"))
    }
}

impl Message {
    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The content as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
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
    fn new(stream: Stream) -> Self {
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

    /// Connects to a Unix socket.
    pub(crate) fn connect_unix(path: &Path) -> Self {
        Link::new(Stream::Unix(UnixStream::connect(path).expect("connected")))
    }

    /// Another handle of the same TCP connection, to send and receive at the same time.
    pub(crate) fn twin(&self) -> Self {
        match &self.stream {
            Stream::Tcp(stream) => Link::new(Stream::Tcp(stream.try_clone().expect("cloned"))),
            Stream::Unix(_) => panic!("a Unix socket"),
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
    fn more(&mut self) -> Result<(), Ended> {
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

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// Bytes as readable text, shortened.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An upstream server: every connection is handed to the test, or served by [`Upstream::serve`].
pub(crate) struct Upstream {
    address: String,
    queue: Receiver<Link>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What an upstream's threads and its handle share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    accepted: AtomicU64,
    received: Arc<AtomicU64>,
    /// Every TCP connection that is served by itself, for [`Upstream::kill`].
    streams: Mutex<Vec<TcpStream>>,
}

impl Upstream {
    /// Listens on a free port.
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from((own_ip(), 0)))
    }

    /// Listens on that address; tries again while its last owner is still closing.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{address}: {error}"),
            }
            sleep(Duration::from_millis(10));
        };
        listener.set_nonblocking(true).expect("set");
        let bound = listener.local_addr().expect("an address").to_string();
        Self::listen(Door::Tcp(listener), bound)
    }

    /// Listens on a Unix socket.
    pub(crate) fn start_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("bound");
        listener.set_nonblocking(true).expect("set");
        Self::listen(Door::Unix(listener), format!("unix:{}", path.display()))
    }

    fn listen(door: Door, address: String) -> Self {
        let (give, queue) = unbounded();
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&door, &give, &of_thread));
        Upstream { address, queue, shared, thread: Some(thread) }
    }

    /// An upstream that answers every request by itself, one thread a connection. The answer is bytes;
    /// an empty one closes the connection.
    pub(crate) fn serve(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start().serving(answer)
    }

    /// Like [`Upstream::serve`], and closes each connection after one answer without having said so.
    pub(crate) fn closing(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start().begin(answer, 1)
    }

    /// From now on answers by itself, see [`Upstream::serve`].
    pub(crate) fn serving(self, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.begin(answer, usize::MAX)
    }

    fn begin(
        mut self,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
        requests: usize,
    ) -> Self {
        let (_, nothing) = unbounded();
        let queue = std::mem::replace(&mut self.queue, nothing);
        let (answer, shared) = (Arc::new(answer), Arc::clone(&self.shared));
        std::thread::spawn(move || {
            while let Ok(link) = queue.recv() {
                if let Stream::Tcp(stream) = &link.stream {
                    shared.streams.lock().unwrap().extend(stream.try_clone());
                }
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(link, &*answer, requests));
            }
        });
        self
    }

    /// How the configuration names it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Link {
        match self.queue.recv_timeout(PATIENCE) {
            Ok(link) => link,
            Err(RecvTimeoutError::Timeout) => panic!("no connection came to the upstream in time"),
            Err(RecvTimeoutError::Disconnected) => panic!("this upstream serves by itself, or is gone"),
        }
    }

    /// No further connection was made.
    #[track_caller]
    pub(crate) fn expect_no_connection(&self) {
        // The accepting thread looks every few milliseconds.
        if let Ok(mut link) = self.queue.recv_timeout(Duration::from_millis(50)) {
            let (bytes, _) = link.read_to_end();
            panic!("an unexpected connection to the upstream: {:?}", text(&bytes));
        }
    }

    /// Ends as a process does that is killed: the port and every connection at once.
    pub(crate) fn kill(self) {
        let shared = Arc::clone(&self.shared);
        drop(self);
        for stream in shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Bytes received so far on all connections, as far as they were read.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(door: &Door, give: &Sender<Link>, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let taken = match door {
            Door::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Door::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        let Ok(stream) = taken else {
            sleep(MOMENT);
            continue;
        };
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let mut link = Link::new(stream);
        link.received = Arc::clone(&shared.received);
        let _ = give.send(link);
    }
}

fn serve(mut link: Link, answer: &dyn Fn(&Message) -> Vec<u8>, requests: usize) {
    for _ in 0..requests {
        if link.unread.is_empty() && link.more().is_err() {
            break;
        }
        let answer = answer(&link.request());
        if answer.is_empty() || link.try_send(&answer).is_err() {
            break;
        }
    }
    // Another handle may be kept for `kill`, so that dropping this one closes nothing.
    link.stream.shutdown(Shutdown::Both);
}

/// An address that takes no further connection and refuses none, and what keeps it so.
pub(crate) fn full_backlog(ip: IpAddr) -> (SocketAddr, Vec<OwnedFd>) {
    let family = AddressFamily::INET;
    let listener = socket(family, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&listener, &SocketAddr::new(ip, 0)).expect("bound");
    rustix::net::listen(&listener, 0).expect("listening");
    let bound = rustix::net::getsockname(&listener).expect("an address");
    let address = SocketAddr::try_from(bound).expect("an IP address");
    let mut held = vec![listener];
    for _ in 0..4 {
        let filler = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
        let _ = rustix::net::connect(&filler, &address);
        held.push(filler);
    }
    (address, held)
}

/// `200 OK` with that body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A GET request.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// `length` bytes that look random and are always the same.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The configuration of a test: one listener `web`, one cluster `app`, a route between them.
pub(crate) struct Setup {
    builder: Builder,
    address: String,
    listener: String,
    cluster: String,
    routes: String,
    more: String,
}

impl Setup {
    /// One shard on `driver`.
    pub(crate) fn on(driver: Driver) -> Self {
        Self::sharded(driver, 1)
    }

    /// So many shards on `driver`.
    pub(crate) fn sharded(driver: Driver, shards: u32) -> Self {
        Setup {
            builder: Pinion::with(driver).proxy(&format!("shards = {shards}")),
            address: format!("{}:0", own_ip()),
            listener: String::new(),
            cluster: String::new(),
            routes: "[[routes]]\nname = \"all\"\ncluster = \"app\"\n".to_owned(),
            more: String::new(),
        }
    }

    /// Another address to listen on.
    pub(crate) fn address(mut self, address: &str) -> Self {
        self.address = address.to_owned();
        self
    }

    /// A line for `[proxy]`.
    pub(crate) fn proxy(mut self, line: &str) -> Self {
        self.builder = self.builder.proxy(line);
        self
    }

    /// Lets the process have at most so many descriptors.
    pub(crate) fn descriptors(mut self, most: u32) -> Self {
        self.builder = self.builder.descriptors(most);
        self
    }

    /// Lines for the listener; keys of its tables dotted, as in `timeouts.idle = "1s"`.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listener += lines;
        self.listener.push('\n');
        self
    }

    /// Lines for the cluster, likewise.
    pub(crate) fn cluster(mut self, lines: &str) -> Self {
        self.cluster += lines;
        self.cluster.push('\n');
        self
    }

    /// Lines for the only route, likewise.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        self.routes += lines;
        self.routes.push('\n');
        self
    }

    /// Other routes altogether.
    pub(crate) fn routes(mut self, text: &str) -> Self {
        self.routes = text.to_owned();
        self
    }

    /// More sections.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.more += text;
        self.more.push('\n');
        self
    }

    /// Starts the program in front of `upstreams`.
    pub(crate) fn start(self, upstreams: &[&Upstream]) -> Proxy {
        let endpoints: Vec<_> = upstreams.iter().map(|upstream| upstream.address().to_owned()).collect();
        self.start_with(&endpoints)
    }

    /// Starts the program in front of these addresses.
    pub(crate) fn start_with(self, endpoints: &[String]) -> Proxy {
        let Setup { builder, address, listener, cluster, routes, more } = self;
        let config = format!(
            "[[listeners]]\nname = \"web\"\naddress = \"{address}\"\n{listener}\n{routes}\n\
             [[clusters]]\nname = \"app\"\nendpoints = {endpoints:?}\n{cluster}\n{more}"
        );
        let pinion = builder.config(&config).start();
        Proxy { pinion, address: OnceCell::new() }
    }
}

/// The running program, as tests of traffic use it.
pub(crate) struct Proxy {
    pub(crate) pinion: Pinion,
    address: OnceCell<SocketAddr>,
}

impl Proxy {
    /// A new client connection to the listener.
    pub(crate) fn client(&self) -> Link {
        Link::connect(*self.address.get_or_init(|| self.pinion.address("web")))
    }

    /// A metric's sum over all its series with these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.pinion.metrics().value(name, labels)
    }

    /// Waits until a metric has exactly this value. What is counted shows a moment after it was seen on
    /// the wire.
    #[track_caller]
    pub(crate) fn expect_metric(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let start = Instant::now();
        loop {
            let now = self.metric(name, labels);
            if (now - value).abs() < 0.5 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name}{labels:?} is {now}, not {value}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many requests ended with that fault.
    #[track_caller]
    pub(crate) fn expect_faults(&self, reason: &str, count: u64) {
        self.expect_metric("pinion_faults_total", &[("reason", reason)], count as f64);
    }

    /// Waits until nothing is in progress, and no request ended with a fault that was not expected.
    #[track_caller]
    pub(crate) fn expect_no_faults(&self) {
        eventually("no request in progress", || {
            self.metric("pinion_shard_requests_active", &[]) < 0.5
                && self.metric("pinion_cluster_requests_active", &[]) < 0.5
        });
        assert_eq!(self.metric("pinion_faults_total", &[]), 0.0, "a fault was counted");
    }
}
