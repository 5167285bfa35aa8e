//! Child processes that end with this one.
//!
//! Invariants: a child is in a process group of its own, so that Ctrl-C at the terminal reaches only
//! this program, which ends its children in order; a child that is dropped is dead.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Problem;

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Where its output goes.
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to a file in `folder`.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, Problem> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) = output.map_err(|e| format!("can't write {}: {e}", log.display()))?;
        let spawned = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = spawned.map_err(|e| format!("can't start {name} ({}): {e}", command_line(command)))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far, at most the last 2,000 characters.
    pub(crate) fn output(&self) -> String {
        let text =
            std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let skip = text.chars().count().saturating_sub(2000);
        text.chars().skip(skip).collect()
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// It has ended; its last words are in the text.
    pub(crate) fn check(&mut self) -> Result<(), Problem> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended: {status}\n{}", self.name, self.output())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Whether it has ended with status 0.
    ///
    /// # Errors
    /// It has ended with another status; its last words are in the text.
    pub(crate) fn has_succeeded(&mut self) -> Result<bool, Problem> {
        match self.child.try_wait() {
            Ok(None) => Ok(false),
            Ok(Some(status)) if status.success() => Ok(true),
            Ok(Some(_)) | Err(_) => self.check().map(|()| false),
        }
    }

    /// Waits until `ready` holds.
    ///
    /// # Errors
    /// The program ended, or it took longer than `patience`.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + patience;
        loop {
            self.check()?;
            if ready() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("{} is not {what} after {patience:?}\n{}", self.name, self.output()));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends it with SIGTERM and waits.
    ///
    /// # Errors
    /// It did not end within `patience` (and was killed), or not with status 0.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<(), Problem> {
        self.check()?;
        self.signal(Signal::TERM);
        match self.wait(patience) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{} stopped with {status}\n{}", self.name, self.output())),
            None => Err(format!("{} did not stop within {patience:?} and was killed", self.name)),
        }
    }

    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) {
        // A process that is gone already needs no signal.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // First kindly: some programs have children of their own, which a kill would orphan.
            self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(2)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// A command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_dead_and_its_end_is_told_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start("sleeper", Command::new("sleep").arg("60"), folder.path()).unwrap();
        let id = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());

        let mut speaker = Process::start(
            "speaker",
            Command::new("sh").args(["-c", "echo last words; exit 3"]),
            folder.path(),
        )
        .unwrap();
        let told = speaker.wait_until("ready", Duration::from_secs(10), || false).unwrap_err();
        assert!(told.contains("last words") && told.contains('3'), "{told}");
    }

    #[test]
    fn stopping_asks_for_status_zero() {
        let folder = tempfile::tempdir().unwrap();
        let start = |script: &str| {
            let mut process =
                Process::start("shell", Command::new("sh").args(["-c", script]), folder.path()).unwrap();
            let log = folder.path().join("shell.log");
            process
                .wait_until("up", Duration::from_secs(10), || {
                    std::fs::read(&log).is_ok_and(|b| !b.is_empty())
                })
                .unwrap();
            process
        };
        let orderly = start("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done");
        assert_eq!(orderly.stop(Duration::from_secs(10)), Ok(()));
        let failing = start("trap 'exit 1' TERM; echo up; while :; do sleep 0.05; done");
        assert!(failing.stop(Duration::from_secs(10)).is_err());
        let deaf = start("trap '' TERM; echo up; while :; do sleep 0.05; done");
        assert!(deaf.stop(Duration::from_millis(200)).unwrap_err().contains("killed"));
    }
}
