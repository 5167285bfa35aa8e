//! `pinion run`: from a file to shards that serve, and in order to the end.
//!
//! ```text
//!   compile ─▶ choose driver, CPUs ─▶ bind everything ─▶ start shards ─▶ lend sockets ─▶ serve
//!      2              1                     1                 1              1     exit statuses
//!
//!   serve ─ SIGTERM or POST /drain ─▶ drain ─ nothing left, deadline or SIGTERM ─▶ stop ─▶ 0
//! ```
//!
//! Invariants:
//! - nothing is served before everything is there: a process that can't bind one address serves none;
//! - this thread runs the control side only; shards have threads of their own.
//!
//! Not here: reloading (`config::reload`), the shards.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use pinion_core::config::snapshot::Address;
use pinion_core::config::{Ids, Snapshot};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::gettid;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::args::RunArgs;
use super::signals::{Asked, Signals};
use super::{Failure, LogLevel, cpu, log, notify, probe};
use crate::admin::{self, Admin};
use crate::config::control::{Control, InForce, Phase, Writer, unix_now};
use crate::config::file::{self, FileWatch};
use crate::config::reload::{self, Cause};
use crate::net::{clock, wake};
use crate::publish::Publisher;
use crate::publish::sockets::{BindError, OpenOne};
use crate::shard::link::{INBOX_MESSAGES, ShardLink, ShardMessage};
use crate::shard::start::{ShardHandle, ShardStart, start};
use crate::telemetry::writer::AccessLog;
use crate::tls::kernel;
use crate::tls::store::TlsStore;

/// The generation of the configuration a process starts with.
const FIRST_GENERATION: u64 = 1;
/// Threads for what blocks: one reload at work, a drain, scrapes, explanations.
const BLOCKING_THREADS: usize = 8;
/// How much the control side gives way: at nice 5 a busy CPU leaves it a quarter.
const CONTROL_NICE: i32 = 5;
/// How often old tables are looked at and shards are checked for life.
const CHORES: Duration = Duration::from_secs(1);
/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long after the drain's deadline shards may take to end what is left.
const DRAIN_EXTRA: Duration = Duration::from_millis(500);
/// How long a shard may take to end when it is told to stop.
const STOP_MAX: Duration = Duration::from_secs(2);
/// How long the access log may take to write what is left.
const LOG_MAX: Duration = Duration::from_secs(2);

/// Serves until stopped.
pub(super) fn run(args: &RunArgs) -> Result<(), Failure> {
    let level = log::start(&args.log_level, args.log_format).map_err(Failure::Usage)?;
    let (text, snapshot, ids) = configuration(&args.config)?;
    let (tls, warnings) =
        TlsStore::load(&snapshot, None).map_err(|problems| Failure::Usage(problems.to_string()))?;
    reload::log_warnings(&warnings);
    if let Some(lacks) = kernel::probe::lacks(&snapshot) {
        return Err(Failure::Failed(lacks));
    }
    raise_descriptor_limit();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("pinion-control")
        .build()
        .map_err(|error| Failure::failed("control thread", error))?;
    let signals = {
        let _within = runtime.enter();
        Signals::install().map_err(|error| Failure::failed("signals", error))?
    };
    let mut publisher = Publisher::new(cpu::place(snapshot.proxy.shards).shards.len());
    let admin = publisher.bind_admin(&snapshot.proxy.admin).map_err(bind_failure)?;
    publisher.bind(&snapshot).map_err(bind_failure)?;
    let shards = start_shards(&snapshot, &tls, &mut publisher)?;
    let attached = publisher.attach(shards.links.clone(), &snapshot);
    attached.map_err(|refused| Failure::Failed(refused.to_string()))?;
    lower_priority();
    let writer = Writer { publisher, ids, generation: FIRST_GENERATION };
    let in_force = InForce { text, snapshot, since: unix_now() };
    let Shards { links, handles, access_log } = shards;
    let control = Arc::new(Control::new(args.config.clone(), links, writer, access_log, in_force, tls));
    let served = serve(&runtime, &control, &handles, signals, admin, level);
    stop(&control, handles);
    served
}

fn configuration(path: &Path) -> Result<(String, Arc<Snapshot>, Ids), Failure> {
    let mut ids = Ids::default();
    let text = file::read(path).map_err(|error| Failure::Usage(error.to_string()))?;
    let snapshot = file::compile_text(&text, path, &mut ids, FIRST_GENERATION, None)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((text, Arc::new(snapshot), ids))
}

fn bind_failure(error: BindError) -> Failure {
    Failure::Failed(error.to_string())
}

/// A proxy needs two descriptors a connection; the soft limit is often 1,024 for historical reasons alone.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, ?limit, "can't raise the limit of open files");
    }
}

/// The control side gives way to shards on a busy CPU: its threads, which this one starts, inherit it.
fn lower_priority() {
    // Linux takes a thread's id here and changes that thread alone.
    if let Err(error) = setpriority_process(Some(gettid()), CONTROL_NICE) {
        tracing::debug!(%error, "can't lower the control thread's priority");
    }
}

/// The running shards and what they write to.
struct Shards {
    links: Vec<Arc<ShardLink>>,
    handles: Vec<ShardHandle>,
    access_log: AccessLog,
}

fn start_shards(
    snapshot: &Arc<Snapshot>,
    tls: &TlsStore,
    publisher: &mut Publisher,
) -> Result<Shards, Failure> {
    let choice =
        probe::choose(snapshot.proxy.driver).map_err(|error| Failure::failed("driver io_uring", error))?;
    if let Some(reason) = &choice.fallback {
        tracing::warn!(%reason, "no io_uring here: using epoll, which costs more system calls");
    }
    let placement = cpu::place(snapshot.proxy.shards);
    let (count, allowed) = (placement.shards.len(), placement.allowed);
    if count > allowed {
        tracing::warn!(
            shards = count,
            cpus = allowed,
            "more shards than CPUs: they will wait for each other"
        );
    }
    let mut links = Vec::with_capacity(count);
    for (index, (tables, &cpu)) in
        publisher.tables(snapshot, tls).into_iter().zip(&placement.shards).enumerate()
    {
        links.push(Arc::new(ShardLink {
            index,
            published: AtomicU64::new(snapshot.generation),
            adopted: AtomicU64::new(0),
            tables: ArcSwap::new(tables),
            inbox: ArrayQueue::new(INBOX_MESSAGES),
            wake: wake::new_eventfd().map_err(|error| Failure::failed("eventfd", error))?,
            stats: Arc::default(),
            cpu,
            driver: choice.driver.label(),
        }));
    }
    let stats: Vec<_> = links.iter().map(|link| Arc::clone(&link.stats)).collect();
    let settings = reload::log_settings(snapshot.proxy.access_log.as_ref());
    let (access_log, sinks) =
        AccessLog::start(settings.as_ref(), &stats).map_err(|error| Failure::failed("access log", error))?;
    let peers = Arc::new(OnceLock::new());
    let mut handles = Vec::with_capacity(count);
    for (link, access) in links.iter().zip(sinks) {
        let settings = ShardStart {
            link: Arc::clone(link),
            peers: Arc::clone(&peers),
            driver: choice.driver,
            access,
            seed: clock::unix_nanos() ^ (link.index as u64).rotate_left(48),
        };
        let handle =
            start(settings).map_err(|error| Failure::failed(format!("shard {}", link.index), error))?;
        handles.push(handle);
    }
    let _ = peers.set(links.clone().into_boxed_slice());
    tracing::info!(shards = count, cpus = allowed, driver = choice.driver.label(), "shards run");
    Ok(Shards { links, handles, access_log })
}

fn serve(
    runtime: &Runtime,
    control: &Arc<Control>,
    handles: &[ShardHandle],
    signals: Signals,
    admin: OpenOne,
    level: LogLevel,
) -> Result<(), Failure> {
    let loopback = matches!(&admin.bound, Address::Tcp(address) if address.ip().to_canonical().is_loopback());
    let router = admin::router(Admin { control: Arc::clone(control), level, loopback });
    tracing::info!(admin = %admin.bound, "admin port");
    for (name, bound) in &control.view().bound {
        tracing::info!(listener = %name, address = %bound, "listening");
    }
    runtime.block_on(async {
        tokio::select! {
            ended = admin::serve::serve(admin.socket, &admin.bound, router) => {
                // It ends only when the socket can't be used at all.
                ended.map_err(|error| Failure::failed("admin port", error))
            }
            ended = control_loop(control, handles, signals) => ended,
        }
    })
}

/// Waits for signals, phases and the clock, until the end.
async fn control_loop(
    control: &Arc<Control>,
    handles: &[ShardHandle],
    mut signals: Signals,
) -> Result<(), Failure> {
    let hangup = Arc::new(Notify::new());
    let watching = tokio::spawn(watch(Arc::clone(control), Arc::clone(&hangup)));
    let mut phases = control.phases();
    let mut chores = tokio::time::interval(CHORES);
    control.advance(Phase::Serving);
    notify::ready();
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => {
                    if !control.drain(Duration::ZERO) {
                        tracing::warn!("told to stop again: stopping at once");
                        control.advance(Phase::Stopping);
                    }
                }
                Asked::Reload => {
                    if let Some(log) = &*control.access_log() {
                        log.reopen();
                    }
                    hangup.notify_one();
                }
            },
            _ = phases.changed() => match control.phase() {
                Phase::Draining { closes, deadline } => {
                    watching.abort();
                    tokio::spawn(drain(Arc::clone(control), closes, deadline));
                }
                Phase::Stopping => return Ok(()),
                Phase::Starting | Phase::Serving => {}
            },
            _ = chores.tick() => {
                if let Some(shard) = handles.iter().position(ShardHandle::is_finished) {
                    return Err(Failure::Failed(format!("shard {shard} ended")));
                }
                if control.try_writer().is_some_and(|writer| writer.publisher.has_retired()) {
                    let control = Arc::clone(control);
                    tokio::task::spawn_blocking(move || control.writer().publisher.collect());
                }
            }
        }
    }
}

/// Reloads when the file changed or `hangup` asks; signals that come faster than reloads count once.
async fn watch(control: Arc<Control>, hangup: Arc<Notify>) {
    let mut watch = FileWatch::start(vec![control.file.clone()]);
    let mut tls = FileWatch::start(control.tls().files());
    loop {
        let cause = tokio::select! {
            () = watch.changed() => Cause::File,
            () = hangup.notified() => Cause::Signal,
            () = tls.changed() => {
                reload::refresh(&control).await;
                continue;
            }
        };
        // What came of it is said in the log, the metrics and /ready.
        let _ = reload::reload(&control, cause).await;
        let files = control.tls().files();
        if files != tls.paths() {
            tls = FileWatch::start(files);
        }
    }
}

/// Accepts until `closes`, then lets requests finish until `deadline`, then has the process stopped.
async fn drain(control: Arc<Control>, closes: Instant, deadline: Instant) {
    notify::stopping();
    tracing::info!(connections = connections(&control), "draining");
    tokio::time::sleep_until(closes.into()).await;
    let left = deadline.saturating_duration_since(Instant::now());
    let deadline_nanos = clock::now().after(left).nanos();
    let publisher = Arc::clone(&control);
    let told = tokio::task::spawn_blocking(move || publisher.writer().publisher.drain(deadline_nanos)).await;
    if let Ok(Err(stuck)) = told {
        tracing::error!(?stuck, "a shard does not take messages");
    }
    // Twice in a row: a connection being handed from shard to shard is in neither for a moment.
    let mut quiet = 0;
    while quiet < 2 && Instant::now() < deadline + DRAIN_EXTRA {
        tokio::time::sleep(DRAIN_LOOK).await;
        let empty = control.links.iter().all(|link| link.inbox.is_empty());
        quiet = if empty && connections(&control) == 0 { quiet + 1 } else { 0 };
    }
    match connections(&control) {
        0 => tracing::info!("drained"),
        left => tracing::warn!(connections = left, "stopping at the drain's deadline"),
    }
    control.advance(Phase::Stopping);
}

fn connections(control: &Control) -> u64 {
    control.links.iter().map(|link| link.stats.connections_active.get()).sum()
}

/// Ends the shards, then the access log with what they left in it.
fn stop(control: &Control, handles: Vec<ShardHandle>) {
    for link in &control.links {
        // A full inbox belongs to a shard that is stuck: it ends with the process.
        let _ = link.send(ShardMessage::Stop);
    }
    let began = Instant::now();
    for handle in handles {
        while !handle.is_finished() && began.elapsed() < STOP_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        if handle.is_finished() {
            handle.join();
        }
    }
    if let Some(log) = control.access_log().take()
        && !log.stop(LOG_MAX)
    {
        tracing::warn!("the access log could not be written to its end in time");
    }
}
