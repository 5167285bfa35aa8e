//! The writer against files, a full disk, a closed pipe, rotation, and rings that wrap.

use std::fs;

use pinion_core::telemetry::record::AccessEntry;
use serde_json::Value;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(path: &Path) -> LogSettings {
    LogSettings { format: LogFormat::Json, target: LogTarget::File(path.to_owned()) }
}

fn shards(count: usize) -> Vec<Arc<ShardStats>> {
    (0..count).map(|_| Arc::default()).collect()
}

fn entry(path: &str) -> AccessEntry<'_> {
    AccessEntry { method: b"GET", path: path.as_bytes(), status: 200, ..AccessEntry::default() }
}

/// The paths in a log, each line checked to be JSON.
fn paths(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_shard_is_written_and_stop_flushes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (log, mut sinks) = AccessLog::start(Some(&settings(&file)), &shards(3)).unwrap();
    for n in 0..5_000 {
        let path = format!("/{n}");
        assert!(sinks[n % 3].push(&entry(&path)));
    }
    let stats = Arc::clone(&log.stats);
    assert!(log.stop(PATIENCE));
    let mut numbers: Vec<usize> = paths(&file).iter().map(|path| path[1..].parse().unwrap()).collect();
    for shard in 0..3 {
        let of_shard: Vec<_> = numbers.iter().copied().filter(|n| n % 3 == shard).collect();
        assert!(of_shard.is_sorted(), "lines of one shard are in order");
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..5_000));
    assert_eq!((stats.written.get(), stats.lost.get(), stats.errors.get()), (5_000, 0, 0));
}

#[test]
fn records_across_the_rings_end_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let stats = shards(1);
    let (log, mut sinks) = AccessLog::start(Some(&settings(&file)), &stats).unwrap();
    // Several times the ring's size, in lengths that have nothing in common with it.
    let long = "x".repeat(997);
    let mut pushed = 0;
    for n in 0..4_000 {
        let path = format!("/{n}/{}", &long[..n % 997]);
        eventually("room in the ring", || sinks[0].push(&entry(&path)));
        pushed += 1;
    }
    assert!(log.stop(PATIENCE));
    let paths = paths(&file);
    assert_eq!(paths.len(), pushed);
    for (n, path) in paths.iter().enumerate() {
        assert_eq!(path.split('/').nth(1), Some(n.to_string().as_str()));
        assert_eq!(path.split('/').nth(2).map(str::len), Some(n % 997));
    }
}

#[test]
fn rotation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let old = folder.path().join("access.log.1");
    let (log, mut sinks) = AccessLog::start(Some(&settings(&file)), &shards(1)).unwrap();
    assert!(sinks[0].push(&entry("/before")));
    eventually("the first line", || log.stats().written.get() == 1);
    fs::rename(&file, &old).unwrap();
    assert!(sinks[0].push(&entry("/between")));
    eventually("the second line", || log.stats().written.get() == 2);
    log.reopen();
    eventually("the new file", || file.exists());
    assert!(sinks[0].push(&entry("/after")));
    assert!(log.stop(PATIENCE));
    assert_eq!(paths(&old), ["/before", "/between"]);
    assert_eq!(paths(&file), ["/after"]);
}

#[test]
fn a_failed_reopening_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("logs");
    fs::create_dir(&inner).unwrap();
    let (log, mut sinks) = AccessLog::start(Some(&settings(&inner.join("access.log"))), &shards(1)).unwrap();
    let moved = folder.path().join("moved");
    fs::rename(&inner, &moved).unwrap();
    log.reopen();
    eventually("the error", || log.stats().errors.get() == 1);
    assert!(sinks[0].push(&entry("/kept")));
    assert!(log.stop(PATIENCE));
    assert_eq!(paths(&moved.join("access.log")), ["/kept"]);
}

#[test]
fn a_full_disk_is_survived_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (log, mut sinks) = AccessLog::start(Some(&settings(Path::new("/dev/full"))), &shards(1)).unwrap();
    for _ in 0..10 {
        assert!(sinks[0].push(&entry("/lost")));
    }
    eventually("the losses", || log.stats().lost.get() == 10);
    assert!(log.stats().errors.get() >= 1);
    let file = folder.path().join("access.log");
    log.apply(Some(&settings(&file))).unwrap();
    eventually("the line", || sinks[0].push(&entry("/kept")) && log.stats().written.get() > 0);
    assert!(log.stop(PATIENCE));
    let paths = paths(&file);
    assert!(!paths.is_empty() && paths.iter().all(|path| path == "/kept"), "{paths:?}");
}

#[test]
fn a_closed_pipe_is_survived() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let stats = Arc::new(LogStats::default());
    let mut batch = batch(File::from(std::os::fd::OwnedFd::from(writer)), &stats);
    for _ in 0..2 {
        give(&mut batch, "/lost");
        batch.flush();
    }
    assert_eq!((stats.written.get(), stats.lost.get(), stats.errors.get()), (0, 2, 2));
}

/// A pipe that takes one page and must not block stands for a disk that becomes full inside a line.
#[test]
fn a_line_cut_by_an_error_is_ended_before_the_next() {
    let (mut reader, writer) = io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4_096).unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let stats = Arc::new(LogStats::default());
    let mut batch = batch(File::from(std::os::fd::OwnedFd::from(writer)), &stats);
    let long = "y".repeat(1_900);
    (0..4).for_each(|_| give(&mut batch, &long));
    // Writing makes no progress beyond the pipe's page: after STALL the rest is lost.
    batch.bytes.resize(batch.bytes.len().max(4_096 + 1), b' ');
    batch.flush();
    let whole = stats.written.get();
    assert!((1..4).contains(&whole) && whole + stats.lost.get() == 4, "{stats:?}");
    let mut page = [0; 4_096];
    let n = io::Read::read(&mut reader, &mut page).unwrap();
    let mut text = String::from_utf8(page[..n].to_vec()).unwrap();
    assert!(!text.ends_with('\n'));
    give(&mut batch, "/next");
    batch.flush();
    drop(batch);
    io::Read::read_to_string(&mut reader, &mut text).unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["path"], "/next");
    assert_eq!(stats.written.get(), whole + 1);
}

fn batch(file: File, stats: &Arc<LogStats>) -> Batch {
    let output = Output { format: LogFormat::Json, file, path: None, torn: false, failing: false };
    Batch { output: Some(output), bytes: Vec::new(), lines: 0, stats: Arc::clone(stats) }
}

fn give(batch: &mut Batch, path: &str) {
    let mut record = Vec::new();
    entry(path).encode(&mut record);
    assert_eq!(batch.take(&record, &[], &mut Vec::new()), record.len());
}

#[test]
fn the_log_can_be_switched_off_and_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (log, mut sinks) = AccessLog::start(None, &shards(1)).unwrap();
    assert!(!sinks[0].enabled());
    log.apply(Some(&settings(&file))).unwrap();
    assert!(sinks[0].enabled());
    assert!(sinks[0].push(&entry("/on")));
    eventually("the line", || log.stats().written.get() == 1);
    log.apply(None).unwrap();
    assert!(!sinks[0].enabled());
    let missing = settings(&folder.path().join("no/such/folder"));
    assert!(log.apply(Some(&missing)).is_err());
    assert!(!sinks[0].enabled());
    assert!(AccessLog::start(Some(&missing), &shards(1)).is_err());
    assert!(log.stop(PATIENCE));
    assert_eq!(paths(&file), ["/on"]);
}

#[test]
fn an_idle_writer_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _sinks) = AccessLog::start(Some(&settings(&folder.path().join("a"))), &shards(2)).unwrap();
    let schedstat = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let of_writer = tasks.filter(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "access-log")
        });
        // CPU nanoseconds of every writer in this test process; other tests' writers only add to it.
        let spent = of_writer.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    // The least of several half seconds: other tests' writers may work in some of them.
    let spent = (0..6).map(|_| {
        let before = schedstat();
        thread::sleep(Duration::from_millis(500));
        schedstat().saturating_sub(before)
    });
    let least = spent.min().unwrap();
    assert!(least < 50_000_000, "an idle writer used {least} ns of CPU in half a second");
    assert!(log.stop(PATIENCE));
}

#[test]
fn a_hanging_write_does_not_hold_up_the_end() {
    let (reader, writer) = io::pipe().unwrap();
    let stats = Arc::new(LogStats::default());
    let enabled = Arc::new(AtomicBool::new(true));
    let (mut sink, consumer) = ring(Arc::clone(&enabled), Arc::default());
    let output = Output {
        format: LogFormat::Json,
        file: File::from(std::os::fd::OwnedFd::from(writer)),
        path: None,
        torn: false,
        failing: false,
    };
    // More than a pipe holds; nobody reads.
    let long = "z".repeat(2_000);
    (0..400).for_each(|_| assert!(sink.push(&entry(&long))));
    let writer = Writer::new(vec![consumer], Some(output), Arc::clone(&stats));
    let (commands, receiver) = sync_channel(LOG_COMMANDS_MAX);
    let thread = thread::spawn(move || writer.run(&receiver));
    let log = AccessLog { enabled, commands, thread, stats };
    assert!(!log.stop(Duration::from_millis(100)));
    drop(reader);
}
