//! Starts the real `pinion` for a test, asks it things, and cleans up after it.
//!
//! ```text
//!   for driver in support::drivers() {
//!       let pinion = Pinion::with(driver).proxy("drain = \"2s\"").config(TEXT).start();
//!       … traffic to pinion.address("web") …
//!       assert_eq!(pinion.metrics().value("pinion_requests_total", &[("listener", "web")]), 1.0);
//!   }
//! ```
//!
//! Invariants:
//! - a started process is ready, and runs on the driver that was asked for (`pinion_driver_info`);
//! - it is killed when the handle goes; when the test failed, what it said on stderr is shown;
//! - tests of one machine don't meet: the admin port is a Unix socket in a folder of the test's own, and
//!   [`free_address`] gives each test process a loopback address of its own.
//!
//! Not here: clients and upstreams for traffic.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's help fails by panicking"
)]

pub mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a loaded machine, short enough to see a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How shards wait for sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    /// The word of the configuration and of `pinion_driver_info`.
    pub fn label(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// Both drivers; epoll alone, said loudly, where the kernel has no ring for us. With `CI=true` that is a
/// failure: a skipped test must not look like a passed one.
pub fn drivers() -> Vec<Driver> {
    match io_uring::IoUring::new(8) {
        Ok(_) => vec![Driver::IoUring, Driver::Epoll],
        Err(error) => {
            let allowed = std::env::var_os("PINION_WITHOUT_IO_URING").is_some();
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(allowed || !ci, "no io_uring on this machine: {error}");
            eprintln!("SKIPPED: the io_uring half of this test: {error}");
            vec![Driver::Epoll]
        }
    }
}

/// Bytes that differ from place to place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect()
}

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").stdin(Stdio::null());
    command
}

/// What a command that ends by itself said.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Said {
    let output = program().args(args).output().expect("the program starts");
    Said {
        status: output.status.code().expect("an exit status"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A TCP address that nothing listens on: the IP is this process's own, the port was just free and has not been given
/// to another test of this process, which would share it silently.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let pid = std::process::id().to_be_bytes();
    let ip = IpAddr::V4(Ipv4Addr::new(127, 64 | (pid[1] & 0x3F), pid[2], pid[3].clamp(1, 254)));
    loop {
        let address = TcpListener::bind((ip, 0)).expect("a free port").local_addr().expect("an address");
        if GIVEN.lock().unwrap().insert(address.port()) {
            return address;
        }
    }
}

/// What is to be started.
pub struct Builder {
    driver: Driver,
    admin: Option<String>,
    proxy: String,
    text: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    descriptors: Option<u32>,
    folder: TempDir,
}

impl Builder {
    /// Another admin address than the socket, for [`Builder::spawn`]: the handle's own requests won't work.
    pub fn admin(mut self, address: &str) -> Self {
        self.admin = Some(address.to_owned());
        self
    }

    /// More lines for the `[proxy]` table. `admin` and `driver` are there already.
    pub fn proxy(mut self, lines: &str) -> Self {
        self.proxy.push_str(lines);
        self.proxy.push('\n');
        self
    }

    /// The rest of the configuration. `{folder}` in it is replaced by the test's folder.
    pub fn config(mut self, text: &str) -> Self {
        self.text = text.to_owned();
        self
    }

    /// One more argument after `run --config FILE`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// One more environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the process have at most so many descriptors.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// The folder that the process will use.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the process and waits until it is ready on the right driver.
    pub fn start(self) -> Pinion {
        let mut pinion = self.spawn();
        pinion.wait_ready();
        let driver = pinion.driver.label();
        assert_eq!(
            pinion.metrics().value("pinion_driver_info", &[("driver", driver)]),
            1.0,
            "the process runs on another driver than the test asked for"
        );
        pinion
    }

    /// Starts the process only.
    pub fn spawn(self) -> Pinion {
        let Builder { driver, admin, proxy, text, args, envs, descriptors, folder } = self;
        let socket = folder.path().join("admin.sock");
        let mut pinion = Pinion {
            config: folder.path().join("pinion.toml"),
            admin_address: admin.unwrap_or_else(|| format!("unix:{}", socket.display())),
            admin: socket,
            folder,
            driver,
            proxy,
            child: None,
            stderr: Arc::default(),
        };
        pinion.write(&text);
        let mut command = program();
        if let Some(most) = descriptors {
            let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
            command = Command::new("sh");
            command.args(["-c", &limited, env!("CARGO_BIN_EXE_pinion")]);
        }
        command.args(["run", "--config"]).arg(&pinion.config).args(args).envs(envs);
        // A file: a pipe that nobody reads would fill up and stop the access log.
        let stdout = std::fs::File::create(pinion.folder.path().join("stdout")).expect("a file");
        let mut child = command.stderr(Stdio::piped()).stdout(stdout).spawn().expect("the program starts");
        collect(child.stderr.take().expect("piped"), Arc::clone(&pinion.stderr));
        pinion.child = Some(child);
        pinion
    }
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}

/// A running process.
pub struct Pinion {
    folder: TempDir,
    config: PathBuf,
    admin: PathBuf,
    admin_address: String,
    driver: Driver,
    proxy: String,
    child: Option<Child>,
    stderr: Arc<Mutex<String>>,
}

impl Pinion {
    /// Begins to describe a process on `driver`.
    pub fn with(driver: Driver) -> Builder {
        let folder = tempfile::tempdir().expect("a folder");
        Builder {
            driver,
            admin: None,
            proxy: String::new(),
            text: String::new(),
            args: vec![],
            envs: vec![],
            descriptors: None,
            folder,
        }
    }

    /// The driver it was started with.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The folder of the configuration file.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The admin port's socket file.
    pub fn admin_socket(&self) -> &Path {
        &self.admin
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    /// The bytes of memory that are the process's own and were written to.
    pub fn private_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).expect("a process");
        let line =
            text.lines().find(|line| line.starts_with("Private_Dirty:")).expect("a line of the kernel's");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// What the process wrote to standard output so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stdout")).expect("a file")
    }

    /// The whole configuration text for the part after `[proxy]`.
    pub fn text(&self, text: &str) -> String {
        let head = format!(
            "[proxy]\nadmin = \"{}\"\ndriver = \"{}\"\n{}\n",
            self.admin_address,
            self.driver.label(),
            self.proxy
        );
        (head + text).replace("{folder}", &self.folder.path().display().to_string())
    }

    /// Replaces the configuration by renaming, as a deployment tool would. The process will notice; to be
    /// sure when, call [`Pinion::reload`].
    pub fn write(&self, text: &str) {
        self.write_whole(&self.text(text));
    }

    /// Replaces the file by exactly this text.
    pub fn write_whole(&self, text: &str) {
        let new = self.folder.path().join("pinion.toml.new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &self.config).expect("renamed");
    }

    /// `POST /reload`.
    pub fn reload(&self) -> Answer {
        self.post("/reload")
    }

    /// `GET` on the admin port.
    pub fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// `POST` without a body on the admin port.
    pub fn post(&self, target: &str) -> Answer {
        self.ask(&format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    /// Any bytes to the admin port; the answer is read to the end of the connection.
    pub fn ask(&self, request: &str) -> Answer {
        self.try_ask(request).unwrap_or_else(|error| panic!("admin port: {error}\n{}", self.stderr()))
    }

    fn try_ask(&self, request: &str) -> std::io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.admin)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A refusal may come, and the connection end, before all is written.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes);
        match (Answer::parse(&bytes), ended) {
            (Some(answer), _) => Ok(answer),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(std::io::Error::other(format!("no answer: {bytes:?}"))),
        }
    }

    /// The address that the listener is bound to.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let page = self.get("/listeners").json();
        let found = page["listeners"].as_array().expect("a list").iter().find(|one| one["name"] == listener);
        let bound = found.and_then(|one| one["bound"].as_str());
        bound.unwrap_or_else(|| panic!("no listener `{listener}`: {page}")).parse().expect("a TCP address")
    }

    /// All metrics now.
    pub fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// All metrics now; `None` if the admin port is gone.
    pub fn try_metrics(&self) -> Option<Metrics> {
        let answer = self.try_ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        answer.ok().filter(|answer| answer.status == 200).map(|answer| Metrics::parse(&answer.body))
    }

    /// What the process said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until stderr contains `text`.
    pub fn wait_stderr(&self, text: &str) {
        eventually(&format!("`{text}` on stderr"), || self.stderr().contains(text));
    }

    /// Waits until `/ready` says 200.
    pub fn wait_ready(&mut self) {
        let request = "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let start = Instant::now();
        while !self.try_ask(request).is_ok_and(|answer| answer.status == 200) {
            if let Some(status) = self.child.as_mut().expect("started").try_wait().expect("waitable") {
                panic!("the process ended before it was ready: {status}");
            }
            assert!(start.elapsed() < PATIENCE, "not ready in time");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until every shard serves from `generation` or a later one.
    pub fn wait_generation(&self, generation: u64) {
        eventually(&format!("generation {generation}"), || {
            let page = self.get("/config").json();
            let adopted = page["adopted"].as_array().expect("a list");
            adopted.iter().all(|of| of.as_u64().is_some_and(|of| of >= generation))
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id");
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().expect("started").try_wait().expect("waitable") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the process did not end in time");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Pinion {
    fn drop(&mut self) {
        let mut ended = "still running".to_owned();
        if let Some(child) = &mut self.child {
            if let Ok(Some(status)) = child.try_wait() {
                ended = status.to_string();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            // The collecting thread needs a moment for the last lines.
            sleep(Duration::from_millis(50));
            eprintln!("--- pinion ({}), {ended}, said:\n{}---", self.driver.label(), self.stderr());
        }
    }
}

/// An answer of the admin port.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8(bytes.to_vec()).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let field = |line: &str| {
            Some((line.split_once(':')?.0.to_ascii_lowercase(), line.split_once(':')?.1.trim().to_owned()))
        };
        Some(Answer { status, headers: lines.filter_map(field).collect(), body: body.to_owned() })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// One scrape.
#[derive(Debug)]
pub struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(samples.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect())
    }

    /// The sum of all samples of `name` whose labels include `labels`; 0 when there are none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
        };
        self.0.iter().filter(|(found, of, _)| found == name && has(of)).map(|(_, _, value)| value).sum()
    }

    /// The values that a label of `name` has.
    pub fn labels(&self, name: &str, label: &str) -> Vec<String> {
        let of_name = self.0.iter().filter(|(found, ..)| found == name);
        let mut values: Vec<_> = of_name.filter_map(|(_, labels, _)| labels.get(label).cloned()).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Whether there is a sample of that name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, ..)| found == name)
    }
}

fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    // Label values of tests hold neither commas nor quotes.
    let labels = labels.strip_suffix('}')?.split(',').filter(|label| !label.is_empty());
    let label = |label: &str| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    Some((name.to_owned(), labels.map(label).collect::<Option<_>>()?, value.parse().ok()?))
}

/// Looks again until `holds`, at most [`PATIENCE`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(5));
    }
}
