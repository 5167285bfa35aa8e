//! Upstream servers that do what the test says, or answer by themselves.

use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socket_with};

use super::link::Stream;
use super::{Link, MOMENT, Message, own_ip, text};
use crate::support::PATIENCE;

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
    killed: AtomicBool,
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
                    let mut streams = shared.streams.lock().unwrap();
                    streams.extend(stream.try_clone());
                    // Taken just before `kill`, which has not seen it.
                    if shared.killed.load(Ordering::SeqCst) {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
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
        let mut streams = shared.streams.lock().unwrap();
        shared.killed.store(true, Ordering::SeqCst);
        for stream in streams.drain(..) {
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
