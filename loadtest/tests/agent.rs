//! Several agents and their leader, each a process: one load, one report, and no way in for others.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use common::{Origin, program};
use pinion_load::result::Report;

/// A running agent.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start(options: &[&str]) -> Self {
        let mut child = program(&["agent", "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("agent listening on ").unwrap().split(' ').next().unwrap().to_owned();
        Agent { child, address }
    }

    /// Ends it, and gives what it wrote to stderr.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a secret, and the path of it.
fn secret(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

const SECRET: &str = "correct horse battery staple";

fn lead(agents: &[&Agent], options: &[&str]) -> Output {
    let addresses: Vec<&str> = agents.iter().map(|agent| agent.address.as_str()).collect();
    program(&["--quiet", "--agents", &addresses.join(",")]).args(options).output().unwrap()
}

/// Starts a leader and waits until the load is under way.
fn start_leading(agents: &[&Agent], options: &[&str]) -> Child {
    let addresses: Vec<&str> = agents.iter().map(|agent| agent.address.as_str()).collect();
    let mut leader = program(&["--agents", &addresses.join(",")])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(leader.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("  in flight ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it sent anything");
    }
    leader.stderr = Some(stderr.into_inner());
    leader
}

fn report(output: &Output) -> Report {
    Report::parse(&text(&output.stdout))
        .unwrap_or_else(|e| panic!("{e}: {} {}", output.status, text(&output.stderr)))
}

#[test]
fn agents_send_one_load_and_their_results_are_one() {
    let (folder, file) = secret(SECRET);
    let body = folder.path().join("body");
    std::fs::write(&body, "x".repeat(3000)).unwrap();
    let body = format!("@{}", body.display());
    let agents = [Agent::start(&["--secret-file", &file]), Agent::start(&["--secret-file", &file])];
    let origin = Origin::start("epoll", &["--delay", "5ms"]);
    let url = format!("http://{}/", origin.address);
    let load =
        ["--secret-file", &file, "--rate", "400", "--duration", "2s", "--connections", "9", "--json", "-"];
    for arrivals in ["constant", "poisson"] {
        let rest = ["--arrivals", arrivals, "-X", "POST", "--body", &body, "--seed", "3", &url];
        let report = report(&lead(&[&agents[0], &agents[1]], &[&load[..], &rest].concat()));
        assert_eq!((report.failed, report.threads, report.seed), (0, 2, 3));
        assert_eq!(report.answered, report.sent);
        let parts: Vec<u64> = report.agents.iter().map(|agent| agent.sent).collect();
        assert_eq!(parts.iter().sum::<u64>(), report.sent);
        match arrivals {
            // Dealt out in turn, nothing twice.
            "constant" => assert_eq!(parts, [400, 400]),
            // Independent of one another: a second agent with the same seed would send at the same times.
            _ => assert!(parts[0] != parts[1] && (700..900).contains(&report.sent), "{parts:?}"),
        }
        assert_eq!(report.latency.count, report.sent);
        assert_eq!(report.agents[0].latency.count, parts[0]);
        assert_eq!(report.connections_opened, 9);
        let due: u64 = report.intervals.iter().map(|interval| interval.sent).sum();
        assert_eq!(due, report.sent);
        // Both sent from the beginning to the end.
        assert!(report.intervals[2].sent > 0 && report.intervals[17].sent > 0);
        assert!(report.agents.iter().all(|agent| agent.clock_error_nanos < 1_000_000_000));
        assert!(report.command.contains(" --agents 127.0.0.1:"), "{}", report.command);
    }
    // The summary has a line for each.
    let options = ["--secret-file", &file, "--rate", "100", "-n", "20", &url];
    let output = lead(&[&agents[0], &agents[1]], &options);
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    for agent in &agents {
        assert!(shown.lines().any(|line| line.starts_with(&format!("  {} ", agent.address))), "{shown}");
    }
}

#[test]
fn agents_get_scenarios_with_their_options() {
    let (folder, file) = secret(SECRET);
    let agents = [Agent::start(&["--secret-file", &file]), Agent::start(&["--secret-file", &file])];
    let origin = Origin::start("epoll", &[]);
    let write = |name: &str, rest: &str| {
        let path = folder.path().join(name);
        let url = format!("http://{}", origin.address);
        let text = format!(
            "rate = \"100\"\nduration = \"1s\"\n[[targets]]\nname = \"one\"\nurl = \"{url}/\"\n\
             [[targets]]\nname = \"two\"\nurl = \"{url}/status/404\"\n{rest}"
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let options = ["--secret-file", &file, "--connections", "4", "--json", "-", "--scenario"];
    let good = write("good", "");
    let report = report(&lead(&[&agents[0], &agents[1]], &[&options[..], &[&good]].concat()));
    assert_eq!((report.sent, report.failed), (100, 0));
    let names: Vec<&str> = report.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(report.target, format!("{good} (2 targets)"), "as the leader knows it");
    assert_eq!(report.targets[0].answered + report.targets[1].answered, 100);
    assert_eq!(
        (report.errors_total, report.statuses["404"]),
        (report.targets[1].answered, report.errors_total)
    );
    // What a scenario names lies on the leader's machine.
    let bad = write("bad", "body_file = \"/etc/hostname\"\n");
    let refused = lead(&[&agents[0]], &[&options[..], &[&bad]].concat());
    assert!(text(&refused.stderr).contains("names files"), "{}", text(&refused.stderr));
}

#[test]
fn without_the_secret_nothing_is_done() {
    let (_folder, file) = secret(SECRET);
    let (_other_folder, other) = secret("incorrect horse battery staple");
    let agent = Agent::start(&["--secret-file", &file]);
    let output = lead(&[&agent], &["--secret-file", &other, "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1));
    let problem = text(&output.stderr);
    assert!(problem.contains(&agent.address) && problem.contains("wrong secret"), "{problem}");

    // Noise does not harm it.
    let mut noise = TcpStream::connect(&agent.address).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    noise.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // The greeting, and the end; it may come as a reset because not everything was read.
    let _ = noise.read_to_end(&mut answer);

    let origin = Origin::start("epoll", &[]);
    let options = ["--secret-file", &file, "--rate", "100", "-n", "10", "--json", "-"];
    let url = format!("http://{}/", origin.address);
    assert_eq!(report(&lead(&[&agent], &[&options[..], &[&url]].concat())).answered, 10);
    let said = agent.end();
    assert!(said.contains("wrong secret") && said.contains("no leader of pinion-load"), "{said}");
}

#[test]
fn an_agent_needs_an_address_and_a_way_to_know_its_leader() {
    let status = |words: &[&str]| program(words).output().unwrap().status.code();
    assert_eq!(status(&["agent"]), Some(2));
    assert_eq!(status(&["agent", "--listen", "127.0.0.1:0"]), Some(2));
    assert_eq!(status(&["agent", "--listen", "127.0.0.1:0", "--tls-certificate", "x"]), Some(2));
    assert_eq!(status(&["--agents", "127.0.0.1:1", "http://a/"]), Some(2));
    let (_folder, file) = secret("short");
    assert_eq!(status(&["agent", "--listen", "127.0.0.1:0", "--secret-file", &file]), Some(2));
}

#[test]
fn a_lost_agent_makes_the_run_invalid() {
    let (_folder, file) = secret(SECRET);
    let (one, mut two) = (Agent::start(&["--secret-file", &file]), Agent::start(&["--secret-file", &file]));
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let options = ["--secret-file", &file, "--rate", "200", "--duration", "5s", "--assert", "failed = 0"];
    let leader = start_leading(&[&one, &two], &[&options[..], &["--json", "-", &url]].concat());
    two.child.kill().unwrap();
    let output = leader.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report = report(&output);
    assert!(!report.certified.valid);
    let reason = format!("agent {} was lost: ", two.address);
    assert!(
        report.certified.reasons.iter().any(|found| found.starts_with(&reason)),
        "{:?}",
        report.certified
    );
    assert_eq!((report.agents.len(), report.agents[0].address.as_str()), (1, one.address.as_str()));
    assert!(report.answered > 0);
    assert!(text(&output.stderr).contains("not certified"), "{}", text(&output.stderr));
}

#[test]
fn an_agent_that_is_told_to_end_ends_its_run_and_says_so() {
    let (_folder, file) = secret(SECRET);
    let mut agent = Agent::start(&["--secret-file", &file]);
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let options = ["--secret-file", &file, "--rate", "100", "--duration", "60s", "--json", "-", &url];
    let leader = start_leading(&[&agent], &options);
    std::process::Command::new("kill").args(["-TERM", &agent.child.id().to_string()]).status().unwrap();
    let report = report(&leader.wait_with_output().unwrap());
    assert!(agent.child.wait().unwrap().success());
    assert!(report.measured_seconds < 50.0 && !report.certified.valid);
    assert!(
        report.certified.reasons.iter().any(|reason| reason.ends_with("was ended early")),
        "{:?}",
        report.certified
    );
}

#[test]
fn an_agent_does_one_run_at_a_time() {
    let (_folder, file) = secret(SECRET);
    let agent = Agent::start(&["--secret-file", &file]);
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let options = ["--secret-file", &file, "--rate", "50", "--duration", "4s", "--json", "-", &url];
    let first = start_leading(&[&agent], &options);
    let second = lead(&[&agent], &["--secret-file", &file, "--duration", "1s", &url]);
    assert!(text(&second.stderr).contains("busy with another run"), "{}", text(&second.stderr));
    let report = report(&first.wait_with_output().unwrap());
    assert_eq!((report.answered, report.failed), (200, 0));
}

#[test]
fn what_an_agent_can_not_do_ends_the_run_with_its_reason() {
    let (_folder, file) = secret(SECRET);
    let agent = Agent::start(&["--secret-file", &file]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = lead(&[&agent], &["--secret-file", &file, "--duration", "1s", &format!("http://{free}/")]);
    assert_eq!(output.status.code(), Some(1));
    let problem = text(&output.stderr);
    assert!(problem.contains(&agent.address) && problem.contains("no connection"), "{problem}");
    let output = lead(&[&agent], &["--secret-file", &file, "--unix", "/run/x.sock", "http://a/"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let output =
        lead(&[&agent, &agent], &["--secret-file", &file, "--connections", "1", "http://127.0.0.1:1/"]);
    assert!(text(&output.stderr).contains("too few"), "{}", text(&output.stderr));
}

#[test]
fn an_interrupted_leader_ends_its_agents_and_reports() {
    let (_folder, file) = secret(SECRET);
    let agent = Agent::start(&["--secret-file", &file]);
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let options = ["--secret-file", &file, "--rate", "100", "--duration", "60s", "--json", "-", &url];
    let leader = start_leading(&[&agent], &options);
    std::process::Command::new("kill").args(["-INT", &leader.id().to_string()]).status().unwrap();
    let output = leader.wait_with_output().unwrap();
    let report = report(&output);
    assert!(
        report.interrupted && report.answered > 20 && report.measured_seconds < 50.0,
        "{:?}",
        report.ended
    );
    // It is free for the next one.
    let options = ["--secret-file", &file, "--rate", "100", "-n", "10", "--json", "-"];
    assert_eq!(self::report(&lead(&[&agent], &[&options[..], &[&url]].concat())).answered, 10);
}

/// A certificate authority in a folder, and a certificate of it for 127.0.0.1.
fn authority(folder: &Path, name: &str) -> [String; 3] {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate().unwrap();
    let own =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&own_key, &issuer).unwrap();
    let contents = [("ca", ca.pem()), ("cert", own.pem()), ("key", own_key.serialize_pem())];
    contents.map(|(kind, content)| {
        let path = folder.join(format!("{name}.{kind}"));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

#[test]
fn certificates_do_as_well_as_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = authority(folder.path(), "ours");
    let [_, wrong_cert, wrong_key] = authority(folder.path(), "theirs");
    let agent = Agent::start(&["--tls-certificate", &cert, "--tls-key", &key, "--client-ca", &ca]);
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let run = |cert: &str, key: &str| {
        let access = ["--agents-ca", &ca, "--agents-cert", cert, "--agents-key", key];
        lead(&[&agent], &[&access[..], &["--rate", "100", "-n", "10", "--json", "-", &url]].concat())
    };
    assert_eq!(report(&run(&cert, &key)).answered, 10);
    let refused = run(&wrong_cert, &wrong_key);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(&agent.address), "{}", text(&refused.stderr));
    assert!(agent.end().contains("TLS: "));
}
