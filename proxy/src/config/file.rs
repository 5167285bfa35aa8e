//! The configuration file: read whole, and watched for changes, as other files are.
//!
//! ```text
//!   directory event ─┐
//!                    ├─▶ fingerprint differs? ─▶ unchanged for SETTLED? ─▶ "changed"
//!   every POLL ──────┘        no: wait                no: look again
//! ```
//!
//! Invariants:
//! - the directory is watched, not the file: editors and deployment tools replace the file by renaming
//!   another over it, and Kubernetes swaps a symbolic link beside it;
//! - a missed event costs at most [`POLL`]: the file is also looked at from time to time, because events
//!   don't exist on every file system;
//! - a file that is being written is left alone until it has not changed for [`SETTLED`].
//!
//! Not here: what is done about a change (`config::reload`).

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use pinion_core::config::{Ids, Problems, Snapshot, compile};
use tokio::sync::Notify;

/// The largest configuration file that is read, in bytes: about 100,000 routes.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often the file is looked at without an event.
const POLL: Duration = Duration::from_secs(2);
/// How long a file must not change before it is read: an editor's save takes a few milliseconds.
const SETTLED: Duration = Duration::from_millis(100);

/// Why a configuration can't be used.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file can't be read.
    Unreadable(PathBuf, io::Error),
    /// The text has problems.
    Problems(Problems),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            LoadError::Problems(problems) => problems.fmt(f),
        }
    }
}

/// The text of `path`. Refused when it is not UTF-8 or larger than [`FILE_BYTES_MAX`].
pub(crate) fn read(path: &Path) -> Result<String, LoadError> {
    let unreadable = |error| LoadError::Unreadable(path.to_owned(), error);
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 MiB");
        return Err(LoadError::Unreadable(path.to_owned(), error));
    }
    Ok(text)
}

/// Compiles the text of `path`. Relative paths in it start at the file's folder.
pub(crate) fn compile_text(
    text: &str,
    path: &Path,
    ids: &mut Ids,
    generation: u64,
    previous: Option<&Snapshot>,
) -> Result<Snapshot, LoadError> {
    let name = path.display().to_string();
    compile(text, &name, &folder(path), ids, generation, previous).map_err(LoadError::Problems)
}

/// Reads and compiles `path` on its own, for commands that serve nothing.
pub(crate) fn load(path: &Path) -> Result<Snapshot, LoadError> {
    compile_text(&read(path)?, path, &mut Ids::default(), 1, None)
}

/// The folder that relative paths of the file start at, absolute where the system can say it.
fn folder(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// What tells one state of the file from another; `None` while there is none.
pub(crate) type Fingerprint = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Looks through symbolic links: a swapped link is another file.
pub(crate) fn fingerprint(path: &Path) -> Fingerprint {
    let found = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.size(), modified.0, modified.1, changed.0, changed.1))
}

/// Tells when one of some files has changed.
pub(crate) struct FileWatch {
    paths: Vec<PathBuf>,
    seen: Vec<Fingerprint>,
    events: Arc<Notify>,
    /// Stops when dropped; `None` where the system offers no events.
    _watcher: Option<RecommendedWatcher>,
}

impl FileWatch {
    /// Watches `paths` from now on. Without file events (said in the log) changes are found by looking.
    pub(crate) fn start(paths: Vec<PathBuf>) -> Self {
        let events = Arc::new(Notify::new());
        let seen = look(&paths);
        let watcher = watcher(&paths, Arc::clone(&events))
            .inspect_err(|error| tracing::warn!(%error, "no file events: files are looked at every 2 s"))
            .ok();
        FileWatch { paths, seen, events, _watcher: watcher }
    }

    /// The files, as they were given.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Waits until a file differs from what it was at the last answer, and all have settled. Cancel safe.
    /// Without files it waits for ever.
    pub(crate) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let _ = tokio::time::timeout(POLL, self.events.notified()).await;
            let mut now = look(&self.paths);
            if now == self.seen {
                continue;
            }
            loop {
                tokio::time::sleep(SETTLED).await;
                let later = look(&self.paths);
                if later == now {
                    break;
                }
                now = later;
            }
            // A file that is gone for the moment is no change: its successor will be.
            let mut changed = false;
            for (seen, now) in self.seen.iter_mut().zip(now).filter(|(_, now)| now.is_some()) {
                changed |= *seen != now;
                *seen = now;
            }
            if changed {
                return;
            }
        }
    }
}

fn look(paths: &[PathBuf]) -> Vec<Fingerprint> {
    paths.iter().map(|path| fingerprint(path)).collect()
}

fn watcher(paths: &[PathBuf], events: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let names: HashSet<_> =
        paths.iter().map(|path| path.file_name().map(OsStr::to_owned).unwrap_or_default()).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error may have swallowed events.
        if event.map_or(true, |event| matters(&event, &names)) {
            events.notify_one();
        }
    })?;
    let folders: BTreeSet<PathBuf> = paths.iter().map(|path| folder(path)).collect();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Whether a file called one of `names` may have changed. Reading is no change, and a neighbour that is
/// written to (a log, say) is none either; one that is renamed may be the link that a file is found through.
fn matters(event: &Event, names: &HashSet<OsString>) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sees(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    async fn sees_nothing(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(SETTLED * 4, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn sees_writes_renames_and_swapped_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("v1")).unwrap();
        std::fs::write(at("v1/pinion.toml"), "one").unwrap();
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/pinion.toml", at("pinion.toml")).unwrap();
        let mut watch = FileWatch::start(vec![at("pinion.toml")]);
        assert!(sees_nothing(&mut watch).await, "nothing happened yet");

        // As Kubernetes updates a mounted ConfigMap.
        std::fs::create_dir(at("v2")).unwrap();
        std::fs::write(at("v2/pinion.toml"), "two").unwrap();
        std::os::unix::fs::symlink("v2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(sees(&mut watch).await, "swapped link");

        std::fs::write(at("new"), "three").unwrap();
        std::fs::rename(at("new"), at("pinion.toml")).unwrap();
        assert!(sees(&mut watch).await, "renamed over");

        std::fs::write(at("pinion.toml"), "four").unwrap();
        assert!(sees(&mut watch).await, "written in place");
        std::fs::write(at("other"), "noise").unwrap();
        assert!(sees_nothing(&mut watch).await, "another file");

        std::fs::remove_file(at("pinion.toml")).unwrap();
        assert!(sees_nothing(&mut watch).await, "gone for the moment");
        std::fs::write(at("pinion.toml"), "five").unwrap();
        assert!(sees(&mut watch).await, "back");
    }

    #[test]
    fn a_busy_neighbour_wakes_nobody() {
        use notify::event::{AccessKind, CreateKind, DataChange, RenameMode};
        let names = HashSet::from([OsString::from("pinion.toml")]);
        let event = |kind, file: &str| Event::new(kind).add_path(Path::new("/etc/pinion").join(file));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (event, expected) in [
            (event(written, "pinion.toml"), true),
            (event(written, "access.log"), false),
            (event(EventKind::Access(AccessKind::Any), "pinion.toml"), false),
            (event(renamed, "..data"), true),
            (event(EventKind::Create(CreateKind::Any), "..data"), true),
            (Event::new(EventKind::Other), true),
        ] {
            assert_eq!(matters(&event, &names), expected, "{event:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_text_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(matches!(read(&path), Err(LoadError::Unreadable(..))));
        std::fs::write(&path, [0xFF, 0xFE]).unwrap();
        assert!(matches!(read(&path), Err(LoadError::Unreadable(..))));
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap(), "text");
    }
}
