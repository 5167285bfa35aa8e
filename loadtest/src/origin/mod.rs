//! `pinion-load origin`: a server whose answers are scripted by the request's path and by options, and
//! that tells exactly what it saw. It speaks HTTP/1.1, HTTP/2, gRPC and WebSocket on one port, TCP echo on
//! another, each over TCP or a Unix socket, plain or in TLS.
//!
//! ```text
//! main thread: bind ─ start threads ─ wait for SIGTERM ─ let requests in progress finish ─ exit
//! each thread: one monoio runtime, its listeners, its timer ── a task per connection
//!
//! listen ─▶ connection ─▶ http1 ─▶ websocket
//!           (PROXY, TLS)  http2 ─▶ grpc         all of them over `wire`, all scripted by `answer`
//!                         echo
//! ```
//!
//! Invariants: listening sockets are bound before the first line is printed, so that whoever reads the
//! line can connect; a thread shares with the others only the scripts and a few counters.

mod alarm;
pub(crate) mod answer;
mod connection;
mod content;
pub(crate) mod delay;
mod echo;
mod exchange;
pub(crate) mod fault;
mod grpc;
mod http1;
mod http2;
mod listen;
mod memo;
mod prepared;
mod proxy;
mod queue;
mod request;
pub(crate) mod stall;
mod state;
mod streams;
mod tls;
mod websocket;
mod wire;

use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::cli::{Driver, OriginOptions, Problem};
use crate::sys;
use crate::units::Address;
use connection::Service;
use listen::Bound;
use state::{Shared, Thread};

/// Operations that can be queued for the kernel at once: with more, monoio submits in between.
const RING_ENTRIES: u32 = 1024;

/// How long requests in progress may take to finish after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// An address can't be bound, a CPU can't be pinned to, or no driver is to be had.
pub(crate) fn run(options: &OriginOptions) -> Result<(), Problem> {
    sys::block_termination();
    let driver = choose_driver(options.driver)?;
    let tls = tls::config(options)?;
    let (mut per_thread, addresses) = listen::bind_all(options)?;
    let shared = Arc::new(Shared::new(options, tls));
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
    listen::remove_sockets(options);
    let deadline = Instant::now() + STOP_GRACE;
    while busy.iter().any(|count| count.load(Ordering::Relaxed) > 0) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One line per address, for people and for scripts that wait for it.
fn announce(options: &OriginOptions, addresses: &[(Address, Service)], driver: Driver) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let driver = if driver == Driver::IoUring { "io_uring" } else { "epoll" };
    for (address, service) in addresses {
        let (name, version) = (&options.name, &options.version_label);
        write!(out, "{name}/{version} listening on {address} ({driver})")?;
        if *service == Service::Echo {
            write!(out, ", TCP echo")?;
        }
        if options.tls_certificate.is_some() {
            write!(out, ", TLS")?;
        }
        writeln!(out)?;
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
    index: u64,
    shared: &Arc<Shared>,
    busy: &Arc<AtomicU64>,
) -> io::Result<()> {
    let work = async {
        let thread = Thread::new(Arc::clone(shared), Arc::clone(busy), index)?;
        listen::accept_all(listeners, Rc::new(thread)).await
    };
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
