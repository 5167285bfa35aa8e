//! The access log's thread: takes records from the shards' rings, writes lines, and survives its disk.
//!
//! ```text
//!            records                      none
//!   drain ─────────────▶ wait 5 ms   drain ───▶ wait twice as long, up to 25 ms; without end while off
//!     ▲                      │                      │
//!     └──────────────────────┴── a command, or the time is over
//! ```
//!
//! Invariants:
//! - the thread holds no lock and shards never wait for it: a stalled disk or pipe means full rings,
//!   which are counted drops;
//! - a failed write loses its lines, counted, and ends nothing; a line that was cut by it is ended before
//!   the next one, so that every later line stands alone;
//! - lines of one shard are in order; those of several shards may interleave by some milliseconds.
//!
//! Not here: the rings' shard side ([`super::access`]), how a line looks ([`super::line`]).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pinion_core::limits::{LOG_BATCH_BYTES, LOG_COMMANDS_MAX};
use pinion_core::telemetry::counters::Counter;
use pinion_core::telemetry::record::{RECORD_BYTES_MAX, decode, record_bytes};
use pinion_core::telemetry::stats::ShardStats;
use rtrb::Consumer;

use super::access::{AccessSink, ring};
use super::line::{self, LogFormat};

/// The wait after a round that found records: a shard at 100,000 requests a second fills a sixth of its
/// ring in it.
const WAIT_MIN: Duration = Duration::from_millis(5);
/// The longest wait: a shard at 100,000 requests a second that begins from silence fills four fifths.
const WAIT_MAX: Duration = Duration::from_millis(25);
/// Ring bytes taken and given back at once; the largest record fits.
const STEP_BYTES: usize = 64 * 1024;
/// How long a write may find its pipe full before its lines are given up.
const STALL: Duration = Duration::from_secs(1);
/// How much the writer yields to the shards when CPUs are scarce.
const NICE: i32 = 5;

const _: () = assert!(RECORD_BYTES_MAX <= STEP_BYTES);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// The program's standard output.
    Stdout,
    /// A file, appended to and made if missing.
    File(PathBuf),
}

/// What the access log should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// How lines look.
    pub(crate) format: LogFormat,
    /// Where they go.
    pub(crate) target: LogTarget,
}

/// What became of records that reached the writer; written by its thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct LogStats {
    /// Records whose line was written.
    pub(crate) written: Counter,
    /// Records lost because their write failed.
    pub(crate) lost: Counter,
    /// Writes and reopenings that failed.
    pub(crate) errors: Counter,
}

/// The access log's thread, seen from the control thread.
#[derive(Debug)]
pub(crate) struct AccessLog {
    enabled: Arc<AtomicBool>,
    commands: SyncSender<Command>,
    thread: JoinHandle<()>,
    stats: Arc<LogStats>,
}

/// What the control thread tells the writer; hanging up means "write what there is, and end".
enum Command {
    /// Write there from now on, or nowhere.
    Use(Option<Output>),
    /// Open the file anew: it was renamed or removed.
    Reopen,
}

impl AccessLog {
    /// Starts the writer and makes a sink for each shard. `None` keeps the log off until
    /// [`apply`](Self::apply).
    ///
    /// # Errors
    /// The file can't be opened, or the thread can't be started.
    pub(crate) fn start(
        settings: Option<&LogSettings>,
        shards: &[Arc<ShardStats>],
    ) -> io::Result<(AccessLog, Vec<AccessSink>)> {
        let output = settings.map(Output::open).transpose()?;
        let enabled = Arc::new(AtomicBool::new(output.is_some()));
        let (sinks, rings): (Vec<_>, Vec<_>) =
            shards.iter().map(|stats| ring(Arc::clone(&enabled), Arc::clone(stats))).unzip();
        let stats = Arc::new(LogStats::default());
        let writer = Writer::new(rings, output, Arc::clone(&stats));
        let (commands, receiver) = sync_channel(LOG_COMMANDS_MAX);
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver))?;
        Ok((AccessLog { enabled, commands, thread, stats }, sinks))
    }

    /// Puts other settings in force, within [`WAIT_MAX`] if no write hangs; until then records go where
    /// they went.
    ///
    /// # Errors
    /// The file can't be opened, or the writer hangs in a write: the old settings stay.
    pub(crate) fn apply(&self, settings: Option<&LogSettings>) -> io::Result<()> {
        let output = settings.map(Output::open).transpose()?;
        let on = output.is_some();
        self.commands.try_send(Command::Use(output)).map_err(|_| io::Error::from(ErrorKind::WouldBlock))?;
        self.enabled.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the file anew, for log rotation; nothing to do for standard output. A failure is counted and
    /// logged, and the old file stays in use.
    pub(crate) fn reopen(&self) {
        // A full queue holds a command to reopen already, or the writer hangs in the file to be left.
        let _ = self.commands.try_send(Command::Reopen);
    }

    /// What became of records that reached the writer.
    pub(crate) fn stats(&self) -> &LogStats {
        &self.stats
    }

    /// Writes what is in the rings, then ends the thread. `false`: it still hangs in a write after
    /// `wait` and is left behind. Shards must have stopped pushing.
    pub(crate) fn stop(self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        drop(self.commands);
        while !self.thread.is_finished() {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().is_ok()
    }
}

/// An open log.
#[derive(Debug)]
struct Output {
    format: LogFormat,
    file: File,
    /// The path to open again; none for standard output.
    path: Option<PathBuf>,
    /// The last write ended inside a line.
    torn: bool,
    /// The last write failed; it was said once.
    failing: bool,
}

impl Output {
    fn open(settings: &LogSettings) -> io::Result<Output> {
        let (file, path) = match &settings.target {
            LogTarget::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            LogTarget::File(path) => (append_to(path)?, Some(path.clone())),
        };
        Ok(Output { format: settings.format, file, path, torn: false, failing: false })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = append_to(path)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes `batch`, whole lines, as far as possible.
    ///
    /// # Errors
    /// How many bytes were written, and why no more were.
    fn write(&mut self, batch: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            write_all(&mut self.file, b"\n").map_err(|(_, error)| (0, error))?;
            self.torn = false;
        }
        write_all(&mut self.file, batch).inspect_err(|(written, _)| {
            self.torn = !matches!(batch[..*written].last(), None | Some(b'\n'));
        })
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Writes all of `bytes`, or says how many it could write. A pipe that is full and must not block (its
/// reader made it so) is waited for, up to [`STALL`].
fn write_all(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    let mut stalled = Duration::ZERO;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(n) => {
                written += n;
                stalled = Duration::ZERO;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && stalled < STALL => {
                thread::sleep(WAIT_MIN);
                stalled += WAIT_MIN;
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// The thread's own state.
struct Writer {
    rings: Vec<Consumer<u8>>,
    batch: Batch,
    /// A record that lies across its ring's end, put together.
    scratch: Vec<u8>,
}

/// Lines on their way out.
struct Batch {
    output: Option<Output>,
    bytes: Vec<u8>,
    lines: u64,
    stats: Arc<LogStats>,
}

impl Writer {
    fn new(rings: Vec<Consumer<u8>>, output: Option<Output>, stats: Arc<LogStats>) -> Self {
        let batch = Batch { output, bytes: Vec::new(), lines: 0, stats };
        Writer { rings, batch, scratch: Vec::new() }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        // A refusal means that this thread competes with shards as an equal, no more.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        let mut wait = WAIT_MIN;
        loop {
            wait = if self.drain() { WAIT_MIN } else { (wait * 2).min(WAIT_MAX) };
            let command = match &self.batch.output {
                Some(_) => commands.recv_timeout(wait),
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if !matches!(command, Err(RecvTimeoutError::Timeout)) {
                self.drain();
            }
            match command {
                Ok(Command::Use(output)) => self.batch.output = output,
                Ok(Command::Reopen) => self.batch.reopen(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes what the rings hold now; whether there was anything. While the log is off, rings are left
    /// alone: what is in them was pushed as it was switched off or on, and belongs to the next file.
    fn drain(&mut self) -> bool {
        let mut any = false;
        if self.batch.output.is_none() {
            return any;
        }
        for ring in &mut self.rings {
            let mut left = ring.slots();
            any |= left > 0;
            while left > 0 {
                let Ok(chunk) = ring.read_chunk(left.min(STEP_BYTES)) else { break };
                let (front, back) = chunk.as_slices();
                let taken = self.batch.take(front, back, &mut self.scratch);
                debug_assert!(taken > 0, "a ring holds whole records");
                // A chunk that begins with no record can't come from `push`; it is given up, not read forever.
                let taken = if taken == 0 { chunk.len() } else { taken };
                chunk.commit(taken);
                left = left.saturating_sub(taken);
            }
        }
        self.batch.flush();
        any
    }
}

impl Batch {
    /// Formats the whole records in `front` followed by `back`; how many bytes they were.
    fn take(&mut self, front: &[u8], back: &[u8], scratch: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while let Some(record) = record_at(front, back, at, scratch) {
            at += record.len();
            match (&self.output, decode(record)) {
                (Some(output), Some(record)) => {
                    line::append(&mut self.bytes, output.format, &record);
                    self.lines += 1;
                }
                _ => self.stats.lost.inc(),
            }
            if self.bytes.len() >= LOG_BATCH_BYTES {
                self.flush();
            }
        }
        at
    }

    /// Writes the lines gathered so far, or counts them as lost.
    fn flush(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let Some(output) = self.output.as_mut().filter(|_| lines > 0) else { return };
        let result = output.write(&self.bytes);
        let was_failing = std::mem::replace(&mut output.failing, result.is_err());
        match result {
            Ok(()) => {
                self.stats.written.add(lines);
                if was_failing {
                    tracing::info!("the access log is written again");
                }
            }
            Err((bytes, error)) => {
                let written = self.bytes[..bytes].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.stats.written.add(written);
                self.stats.lost.add(lines.saturating_sub(written));
                self.stats.errors.inc();
                if !was_failing {
                    tracing::warn!(%error, "the access log can't be written; records are dropped");
                }
            }
        }
        self.bytes.clear();
    }

    fn reopen(&mut self) {
        if let Some(Err(error)) = self.output.as_mut().map(Output::reopen) {
            self.stats.errors.inc();
            tracing::warn!(%error, "the access log can't be opened anew; the old file stays in use");
        }
    }
}

/// The whole record at `at` of `front` followed by `back`; `None` if none is whole there.
fn record_at<'a>(front: &'a [u8], back: &'a [u8], at: usize, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let available = (front.len() + back.len()).saturating_sub(at);
    let byte = |at: usize| front.get(at).or_else(|| back.get(at - front.len())).copied();
    let head = [byte(at)?, byte(at + 1)?, byte(at + 2)?, byte(at + 3)?];
    let bytes = record_bytes(head).filter(|bytes| *bytes <= available)?;
    if at >= front.len() {
        let at = at - front.len();
        return back.get(at..at + bytes);
    }
    if let Some(record) = front.get(at..at + bytes) {
        return Some(record);
    }
    let first = &front[at..];
    scratch.clear();
    scratch.extend_from_slice(first);
    scratch.extend_from_slice(&back[..bytes - first.len()]);
    Some(scratch)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
