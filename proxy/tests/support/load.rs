//! Load for tests: an origin that answers fast, and clients on many keep-alive connections.
//!
//! ```text
//!   Load::to(address) ── threads, each with its connections ──▶ pinion ──▶ Origin (a thread a connection)
//!       batch: write one request on each connection, then read one answer from each
//! ```
//!
//! Invariants:
//! - an answer is read to its last byte and judged before the connection's next request;
//! - the origin on a fixed address can be killed (its connections are reset) and started again;
//! - no more code is shared with the program than its address: parsing is this file's own.
//!
//! Not here: malformed traffic.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Metrics, PATIENCE, Pinion, eventually};

/// What a socket of either family can do.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A client's connection.
pub struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first field of that name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Whether the connection ends with it.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Client {
    /// Connects over TCP.
    pub fn tcp(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Box::new(stream), unread: Vec::new() })
    }

    /// Connects to a Unix socket.
    pub fn unix(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Box::new(stream), unread: Vec::new() })
    }

    /// Writes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer; interim ones are skipped.
    pub fn recv(&mut self) -> Result<Reply> {
        loop {
            let end = loop {
                if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
                self.more()?;
            };
            let head: Vec<u8> = self.unread.drain(..end).collect();
            let head = String::from_utf8(head).map_err(Error::other)?;
            let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if (100..200).contains(&status) {
                continue;
            }
            let body = match field(&head, "content-length").map(str::parse::<usize>) {
                Some(length) => {
                    let length = length.map_err(Error::other)?;
                    while self.unread.len() < length {
                        self.more()?;
                    }
                    self.unread.drain(..length).collect()
                }
                None if field(&head, "transfer-encoding").is_some() => self.chunks()?,
                None if status == 204 || status == 304 => Vec::new(),
                None => {
                    while self.more().is_ok() {}
                    std::mem::take(&mut self.unread)
                }
            };
            return Ok(Reply { status, head, body });
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                    break self.unread.drain(..end + 2).collect::<Vec<_>>();
                }
                self.more()?;
            };
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16);
            let size = size.map_err(Error::other)?;
            while self.unread.len() < size + 2 {
                self.more()?;
            }
            body.extend(self.unread.drain(..size));
            self.unread.drain(..2);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn more(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        let got = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&buffer[..got]);
        Ok(())
    }

    /// Frees what reading left.
    pub fn shrink(&mut self) {
        self.unread.shrink_to_fit();
    }

    /// One request, one answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Reply> {
        self.send(request)?;
        self.recv()
    }

    /// Whether the other side ended the connection and sent nothing more.
    pub fn ended(&mut self) -> bool {
        self.unread.is_empty() && self.more().is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
    }
}

/// `GET` of a path.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// The metrics once no request is in progress: an answer is with its client a little before it is counted.
pub fn settled(pinion: &Pinion) -> Metrics {
    eventually("nothing is in progress", || {
        pinion.metrics().value("pinion_shard_requests_active", &[]) == 0.0
    });
    pinion.metrics()
}

/// Load that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub address: SocketAddr,
    pub connections: usize,
    pub threads: usize,
}

/// What the load's owner decides: requests by number, and what is wrong with an answer.
pub trait Script: Sync {
    /// What is noted when a request is sent, for judging its answer.
    type Note: Send;
    /// Request number `n`.
    fn request(&self, n: usize) -> (Vec<u8>, Self::Note);
    /// Judges the answer; an error fails the request.
    fn judge(&self, n: usize, note: Self::Note, reply: Result<Reply>) -> std::result::Result<(), String>;
}

impl Load {
    /// 64 connections on 4 threads.
    pub fn to(address: SocketAddr) -> Self {
        Load { address, connections: 64, threads: 4 }
    }

    /// Opens the connections.
    pub fn connect(self) -> Running {
        let open = |_| Some(Client::tcp(self.address).expect("connected"));
        Running { load: self, clients: (0..self.connections).map(open).collect() }
    }
}

/// Open connections, to be used for one load after another.
pub struct Running {
    load: Load,
    clients: Vec<Option<Client>>,
}

impl Running {
    /// How many connections it uses.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// The same request on every connection, all of them sent before `then` is called and the first answer
    /// is read.
    pub fn burst(&mut self, request: &[u8], then: impl FnOnce()) -> Vec<Reply> {
        let open = |client: &Option<Client>| client.is_some();
        assert!(self.clients.iter().all(open), "every connection is open");
        self.clients.iter_mut().flatten().for_each(|client| client.send(request).expect("sent"));
        then();
        self.clients.iter_mut().flatten().map(|client| client.recv().expect("answered")).collect()
    }

    /// Makes `requests` requests and returns what was wrong, in any order. A connection that fails or that
    /// the answer closes is opened anew.
    pub fn run<S: Script>(&mut self, requests: usize, script: &S) -> Vec<String> {
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let share = self.clients.len().div_ceil(self.load.threads);
        let address = self.load.address;
        std::thread::scope(|scope| {
            for clients in self.clients.chunks_mut(share) {
                let (next, failures) = (&next, &failures);
                scope.spawn(move || while batch(address, clients, next, requests, script, failures) {});
            }
        });
        failures.into_inner().expect("no panic")
    }
}

/// A request on each connection, then an answer from each; `false` when there are no requests left.
fn batch<S: Script>(
    address: SocketAddr,
    clients: &mut [Option<Client>],
    next: &AtomicUsize,
    requests: usize,
    script: &S,
    failures: &Mutex<Vec<String>>,
) -> bool {
    let mut sent = Vec::with_capacity(clients.len());
    for client in clients.iter_mut() {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= requests {
            break;
        }
        let (request, note) = script.request(n);
        if client.is_none() {
            *client = Client::tcp(address).ok();
        }
        let outcome = match client {
            Some(client) => client.send(&request),
            None => Err(ErrorKind::NotConnected.into()),
        };
        sent.push((n, note, outcome));
    }
    let full = sent.len() == clients.len();
    for (client, (n, note, outcome)) in clients.iter_mut().zip(sent) {
        let reply = outcome.and_then(|()| client.as_mut().ok_or(ErrorKind::NotConnected)?.recv());
        if reply.as_ref().map_or(true, Reply::closes) {
            *client = None;
        }
        if let Err(failure) = script.judge(n, note, reply) {
            failures.lock().expect("no panic").push(format!("request {n}: {failure}"));
        }
    }
    full
}

/// A server of small answers.
///
/// `/bytes/N` answers N bytes, `/wait/MS` answers late, `/gate` answers when the gate's number of requests
/// are there, `/chunked` answers in chunks; everything else answers `ok` and the request's target.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
    gate: Barrier,
}

impl Origin {
    /// Starts on a free port.
    pub fn start() -> Self {
        Self::at(super::free_address())
    }

    /// Starts on `address`.
    pub fn at(address: SocketAddr) -> Self {
        Self::with_gate(address, 1)
    }

    /// Starts; `/gate` answers requests `gate` at a time.
    pub fn with_gate(address: SocketAddr, gate: usize) -> Self {
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            streams: Mutex::default(),
            gate: Barrier::new(gate),
        });
        let of_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(&listener, &of_thread));
        Origin { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has read.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Closes the listener and cuts every connection.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.streams.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        shared.streams.lock().expect("no panic").extend(stream.try_clone());
        let shared = Arc::clone(shared);
        let serving = std::thread::Builder::new().stack_size(256 * 1024);
        serving.spawn(move || drop(serve(stream, &shared))).expect("a thread");
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut unread = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|four: &[u8]| four == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                got => unread.extend_from_slice(&buffer[..got]),
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        unread.drain(..end);
        while unread.len() < length {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                got => unread.extend_from_slice(&buffer[..got]),
            }
        }
        unread.drain(..length);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let target = head.split(' ').nth(1).unwrap_or_default();
        stream.write_all(&answer(target, shared))?;
    }
}

fn answer(whole: &str, shared: &Shared) -> Vec<u8> {
    let target = whole.split('?').next().unwrap_or_default();
    let number = |prefix: &str| target.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(millis) = number("/wait/") {
        std::thread::sleep(Duration::from_millis(millis));
    }
    if target == "/gate" {
        shared.gate.wait();
    }
    if target == "/chunked" {
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec();
    }
    let body = match number("/bytes/") {
        Some(bytes) => vec![b'x'; bytes as usize],
        None => format!("ok {whole}").into_bytes(),
    };
    let head = format!("HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut out = head.into_bytes();
    out.extend_from_slice(&body);
    out
}
