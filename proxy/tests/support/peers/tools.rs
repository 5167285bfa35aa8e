//! Programs and libraries of others that a test uses if they are installed. A test without its tool says so with
//! `SKIPPED:` and its reason, and returns.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// What a program that ended by itself said.
#[derive(Debug)]
pub struct Said {
    /// `None` after a signal, or if it took too long and was killed.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Its standard output, if it succeeded.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert_eq!(self.status, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        &self.stdout
    }
}

/// Where a program is, by the search path.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Where a program is; says that the test is skipped if it is nowhere.
pub fn need(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        println!("SKIPPED: no {name}");
    }
    found
}

/// Python with these modules; says that the test is skipped without them.
pub fn python(modules: &[&str]) -> Option<PathBuf> {
    let python = need("python3")?;
    let missing = modules.iter().find(|module| {
        let mut command = Command::new(&python);
        command.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
        !command.status().is_ok_and(|status| status.success())
    });
    let Some(module) = missing else { return Some(python) };
    println!("SKIPPED: Python has no module {module}");
    None
}

/// Node with these modules; says that the test is skipped without them.
pub fn node(modules: &[&str]) -> Option<PathBuf> {
    let node = need("node")?;
    let missing = modules.iter().find(|module| {
        let mut command = Command::new(&node);
        command.args(["-e", &format!("require('{module}')")]).stderr(Stdio::null());
        !command.status().is_ok_and(|status| status.success())
    });
    let Some(module) = missing else { return Some(node) };
    println!("SKIPPED: Node has no module {module}");
    None
}

/// A script of `tests/clients/scripts`.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/scripts").join(name)
}

/// Reads to the end in a thread of its own: a pipe that nobody reads stops who writes.
fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a program to its end, for `patience` at most.
pub fn run(command: &mut Command, patience: Duration) -> Said {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = collect(child.stdout.take().expect("piped"));
    let err = collect(child.stderr.take().expect("piped"));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("waitable") {
            Some(status) => break status.code(),
            None if start.elapsed() > patience => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => sleep(Duration::from_millis(10)),
        }
    };
    Said { status, stdout: out.join().expect("read"), stderr: err.join().expect("read") }
}
