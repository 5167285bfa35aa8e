//! `pinion-load origin`: an HTTP/1.1 server whose answers are scripted by the request's path and by
//! options, and that tells exactly what it saw.
//!
//! ```text
//! main thread: bind ─ start threads ─ wait for SIGTERM ─ let requests in progress finish ─ exit
//! each thread: one monoio runtime, one SO_REUSEPORT listener per TCP address ── a task per connection
//! ```
//!
//! Invariants: listening sockets are bound before the first line is printed, so that whoever reads the
//! line can connect; a thread shares with the others only the script of stalls and a few counters.

pub(crate) mod answer;
pub(crate) mod delay;
mod serve;
pub(crate) mod stall;
mod state;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::{Driver, OriginOptions, Problem};
use crate::sys;
use crate::units::Address;
use state::{Shared, Thread};

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Operations that can be queued for the kernel at once: with more, monoio submits in between.
const RING_ENTRIES: u32 = 1024;

/// How long requests in progress may take to finish after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long an address that is taken is tried again. The kernel ends the ring of a killed process some
/// milliseconds after the process is gone, and until then its listening sockets live on.
const BIND_PATIENCE: Duration = Duration::from_millis(300);

/// A listening socket before a runtime takes it.
enum Bound {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// An address can't be bound, a CPU can't be pinned to, or no driver is to be had.
pub(crate) fn run(options: &OriginOptions) -> Result<(), Problem> {
    sys::block_termination();
    let driver = choose_driver(options.driver)?;
    let (mut per_thread, addresses) = bind_all(&options.listen, options.threads)?;
    let shared = Arc::new(Shared::new(options));
    let busy: Vec<Arc<AtomicU64>> = per_thread.iter().map(|_| Arc::default()).collect();
    for (index, listeners) in per_thread.drain(..).enumerate() {
        let (shared, busy) = (Arc::clone(&shared), Arc::clone(&busy[index]));
        let cpu = (!options.pin.is_empty()).then(|| options.pin[index % options.pin.len()]);
        std::thread::Builder::new()
            .name(format!("origin-{index}"))
            .spawn(move || {
                let outcome =
                    pin(cpu).and_then(|()| serve_thread(driver, listeners, index as u64, &shared, &busy));
                if let Err(error) = outcome {
                    eprintln!("pinion-load: thread {index}: {error}");
                    std::process::exit(1);
                }
            })
            .map_err(|e| Problem::io("can't start a thread", &e))?;
    }
    announce(options, &addresses, driver).map_err(|e| Problem::io("can't write to stdout", &e))?;
    sys::wait_termination();
    shared.stop();
    remove_sockets(&options.listen);
    let deadline = Instant::now() + STOP_GRACE;
    while busy.iter().any(|count| count.load(Ordering::Relaxed) > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One line per address, for people and for scripts that wait for it.
fn announce(options: &OriginOptions, addresses: &[Address], driver: Driver) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let driver = if driver == Driver::IoUring { "io_uring" } else { "epoll" };
    for address in addresses {
        writeln!(out, "{}/{} listening on {address} ({driver})", options.name, options.version_label)?;
    }
    out.flush()
}

fn choose_driver(wanted: Driver) -> Result<Driver, Problem> {
    if wanted == Driver::Epoll {
        return Ok(Driver::Epoll);
    }
    match RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).build() {
        Ok(_) => Ok(Driver::IoUring),
        Err(error) if wanted == Driver::IoUring => Err(Problem::io("io_uring is not to be had", &error)),
        Err(_) => Ok(Driver::Epoll),
    }
}

/// Binds every address for every thread. TCP threads get sockets of their own, which the kernel
/// balances over; a Unix socket is one, which the threads share.
fn bind_all(wanted: &[Address], threads: u32) -> Result<(Vec<Vec<Bound>>, Vec<Address>), Problem> {
    let mut per_thread: Vec<Vec<Bound>> = (0..threads).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for address in wanted {
        let failed = |e: io::Error| Problem::io(format_args!("can't listen on {address}"), &e);
        match address {
            Address::Tcp(tcp) => {
                // The first bind decides the port when it is 0; the others follow.
                let mut actual = *tcp;
                for listeners in &mut per_thread {
                    let listener = patiently(|| bind_tcp(actual, threads > 1)).map_err(failed)?;
                    actual = listener.local_addr().map_err(failed)?;
                    listeners.push(Bound::Tcp(listener));
                }
                addresses.push(Address::Tcp(actual));
            }
            Address::Unix(path) => {
                let listener = patiently(|| bind_unix(path)).map_err(failed)?;
                for listeners in &mut per_thread {
                    listeners.push(Bound::Unix(listener.try_clone().map_err(failed)?));
                }
                addresses.push(address.clone());
            }
        }
    }
    Ok((per_thread, addresses))
}

/// Tries again while the address is taken, up to [`BIND_PATIENCE`].
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Only among our own threads: two origins on one port by mistake must be an error.
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Inherited by accepted connections.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn remove_sockets(addresses: &[Address]) {
    for address in addresses {
        if let Address::Unix(path) = address {
            // A socket file that someone else removed is gone as it should be.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn pin(cpu: Option<usize>) -> io::Result<()> {
    if let Some(cpu) = cpu {
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no CPU {cpu}")));
        }
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    Ok(())
}

/// One thread's life: returns only with an error.
fn serve_thread(
    driver: Driver,
    listeners: Vec<Bound>,
    seed: u64,
    shared: &Arc<Shared>,
    busy: &Arc<AtomicU64>,
) -> io::Result<()> {
    let thread = Rc::new(Thread::new(Arc::clone(shared), Arc::clone(busy), seed));
    let work = accept_all(listeners, thread);
    if driver == Driver::IoUring {
        RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()?
            .block_on(work)
    } else {
        RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(work)
    }
}

async fn accept_all(listeners: Vec<Bound>, thread: Rc<Thread>) -> io::Result<()> {
    for listener in listeners {
        let thread = Rc::clone(&thread);
        match listener {
            Bound::Tcp(listener) => {
                let listener = monoio::net::TcpListener::from_std(listener)?;
                monoio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => {
                                drop(monoio::spawn(serve::connection(stream, Rc::clone(&thread))))
                            }
                            Err(error) => pause(&error).await,
                        }
                    }
                });
            }
            Bound::Unix(listener) => {
                let listener = monoio::net::UnixListener::from_std(listener)?;
                monoio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => {
                                drop(monoio::spawn(serve::connection(stream, Rc::clone(&thread))))
                            }
                            Err(error) => pause(&error).await,
                        }
                    }
                });
            }
        }
    }
    std::future::pending().await
}

/// After a failed accept: a connection that was gone already costs nothing, but without descriptors
/// the next try would fail at once, for ever.
async fn pause(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        eprintln!("pinion-load: accept: {error}");
        monoio::time::sleep(Duration::from_millis(50)).await;
    }
}
