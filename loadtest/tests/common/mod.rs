//! Starts the program for the tests and speaks raw bytes to it.

#![allow(unreachable_pub, dead_code, reason = "each test program compiles this file and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Every driver: each test of traffic runs on both.
pub const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

/// A running origin.
pub struct Origin {
    child: Child,
    /// `127.0.0.1:PORT`, of the first address.
    pub address: String,
    /// What it announced.
    pub announced: String,
    /// Kept open: an origin that can't announce all its addresses ends.
    _stdout: BufReader<ChildStdout>,
}

impl Origin {
    /// Starts one on a free port with this driver.
    pub fn start(driver: &str, options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", driver, options)
    }

    /// Starts one at `listen`.
    pub fn start_at(listen: &str, driver: &str, options: &[&str]) -> Self {
        Self::run(driver, &[&["--listen", listen], options].concat())
    }

    /// Starts one with these options; the first address it announces is its own.
    pub fn run(driver: &str, options: &[&str]) -> Self {
        let mut child =
            program(&["origin", "--driver", driver]).args(options).stdout(Stdio::piped()).spawn().unwrap();
        let mut announced = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut announced).unwrap();
        assert!(
            announced.contains(&format!("({driver})")),
            "not on the driver that was asked for: {announced}"
        );
        let address = announced.split("listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Origin { child, address, announced, _stdout: stdout }
    }

    /// A connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends raw bytes, half-closes, and gives everything that comes back.
    pub fn exchange(&self, bytes: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs the program.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion-load"));
    command.args(arguments);
    command
}
