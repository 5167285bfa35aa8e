//! Starting a shard's thread: pinning, its driver, its first tasks.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::link::ShardLink;
use super::{Peers, Shard, chores, inbox};
use crate::boot::cpu;
use crate::net::wake::Counter;
use crate::net::{self, Driver, reactor};
use crate::telemetry::access::AccessSink;

/// What a shard's thread needs to begin.
pub(crate) struct ShardStart {
    /// The shared side, with the first tables in it.
    pub(crate) link: Arc<ShardLink>,
    /// All shards' links.
    pub(crate) peers: Peers,
    /// The driver to run.
    pub(crate) driver: Driver,
    /// Where its access log records go.
    pub(crate) access: AccessSink,
    /// The seed of its randomness.
    pub(crate) seed: u64,
}

/// A running shard.
pub(crate) struct ShardHandle {
    thread: JoinHandle<()>,
}

impl ShardHandle {
    /// Whether the thread has ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread to end.
    pub(crate) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a shard's thread panicked");
        }
    }
}

/// Starts the shard's thread; returns once it serves.
///
/// # Errors
///
/// When the thread or its driver can't be made.
pub(crate) fn start(settings: ShardStart) -> io::Result<ShardHandle> {
    let (report, started) = sync_channel(1);
    let name = format!("pinion-shard-{}", settings.link.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || thread(settings, report))?;
    match started.recv() {
        Ok(Ok(())) => Ok(ShardHandle { thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the shard's thread ended before it served")),
    }
}

fn thread(settings: ShardStart, report: SyncSender<io::Result<()>>) {
    if let Some(cpu) = settings.link.cpu
        && let Err(error) = cpu::pin(cpu)
    {
        tracing::warn!(shard = settings.link.index, cpu, %error, "can't pin the shard to its CPU");
    }
    if let Err(error) = reactor::start(settings.driver) {
        let _ = report.send(Err(error));
        return;
    }
    if let Err(error) = reactor::run(serve(settings, report)) {
        tracing::error!(%error, "the shard's driver failed");
    }
}

async fn serve(settings: ShardStart, report: SyncSender<io::Result<()>>) {
    let link = settings.link;
    let made = waker(&link.wake).and_then(|wake| {
        let shard = Shard::new(link, settings.peers, settings.driver, settings.access, settings.seed)?;
        Ok((wake, shard))
    });
    let (wake, shard) = match made {
        Ok(made) => made,
        Err(error) => {
            let _ = report.send(Err(error));
            return;
        }
    };
    let slots = shard.slots.clone();
    net::spawn(async move {
        if let Err(error) = slots.run().await {
            tracing::error!(%error, "the shard's timer failed");
        }
    });
    net::spawn(chores::run(shard.clone()));
    let _ = report.send(Ok(()));
    inbox::run(Rc::clone(&shard), wake).await;
}

fn waker(wake: &OwnedFd) -> io::Result<Counter> {
    Counter::new(wake.try_clone()?)
}
