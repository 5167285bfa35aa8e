//! Proof that the numbers are right: against servers whose answer queueing theory or arithmetic knows, and
//! against other programs.
//!
//! What a busy machine adds is bounded by what the run itself says of its lateness; what chance adds is bounded
//! by how far simulated runs of the same length scatter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{DRIVERS, Origin, program};
use pinion_load::random::Random;
use serde_json::Value;

/// What the machine may add at most beside the lateness that the run admits, in seconds: origin and generator
/// share few CPUs with the other tests.
const MACHINE: f64 = 0.060;

/// A run: its report and its requests.
struct Run {
    report: Value,
    /// Due, sent and done of each request, in seconds.
    requests: Vec<[f64; 3]>,
}

impl Run {
    fn new(options: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = program(&["--quiet", "--json", "-", "--samples"])
            .arg(file.path())
            .args(options)
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(report["failed"], 0, "{report:#}");
        Run { report, requests: read(file.path()) }
    }

    fn latency(&self, percentile: &str) -> f64 {
        self.report["latency"]["percentiles_nanos"][percentile].as_f64().unwrap() / 1e9
    }

    fn mean(&self) -> f64 {
        self.report["latency"]["mean_nanos"].as_f64().unwrap() / 1e9
    }

    /// How late the generator itself was, by its own account.
    fn lateness(&self) -> f64 {
        let lateness = self.report["lateness"]["percentiles_nanos"]["p99.9"].as_f64().unwrap();
        let stalls = self.report["stalls"]["percentiles_nanos"]["p99.9"].as_f64().unwrap();
        (lateness + stalls) / 1e9
    }
}

fn read(path: &Path) -> Vec<[f64; 3]> {
    let text = std::fs::read_to_string(path).unwrap();
    let number = |word: &str| word.parse::<f64>().unwrap() / 1e9;
    text.lines()
        .skip(1)
        .map(|line| {
            let words: Vec<&str> = line.split(',').collect();
            [number(words[0]), number(words[1]), number(words[2])]
        })
        .collect()
}

/// The percentile of values, by nearest rank.
fn percentile(values: &[f64], percentile: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percentile / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Lindley's recursion: how long each request is in a queue with one server.
fn sojourns(arrivals: &[f64], mut service: impl FnMut() -> f64) -> Vec<f64> {
    let mut free = 0.0_f64;
    arrivals
        .iter()
        .map(|&arrival| {
            free = free.max(arrival) + service();
            free - arrival
        })
        .collect()
}

/// How far a percentile scatters between simulated runs of `seconds` with `rate` Poisson arrivals a second:
/// its standard deviation.
fn scatter(
    seconds: f64,
    rate: f64,
    service: impl Fn(&mut Random) -> f64,
    value: impl Fn(&[f64]) -> f64,
) -> f64 {
    let values: Vec<f64> = (0..300)
        .map(|seed| {
            let mut random = Random::seeded(seed + 1000);
            let mut arrivals = Vec::new();
            let mut at = random.exponential() / rate;
            while at < seconds {
                arrivals.push(at);
                at += random.exponential() / rate;
            }
            value(&sojourns(&arrivals, || service(&mut random)))
        })
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn check_between(what: &str, value: f64, low: f64, high: f64, run: &Run) {
    assert!(
        (low..=high).contains(&value),
        "{what}: {value} is not in {low}..{high}\n{:#}",
        run.report["latency"]
    );
}

/// A server that stands still from 1 s to 1.5 s. Of 1,500 requests in 3 s, the 250 that were due meanwhile wait
/// until its end: latencies from 500 ms evenly down to nothing.
#[test]
fn a_stall_gives_the_percentiles_that_arithmetic_gives() {
    for driver in DRIVERS {
        let origin = Origin::start("epoll", &["--stall", "1s:500ms"]);
        let url = format!("http://{}/", origin.address);
        let run = Run::new(&[
            "--rate",
            "500",
            "--duration",
            "3s",
            "--connections",
            "400",
            "--driver",
            driver,
            &url,
        ]);
        assert_eq!(run.requests.len(), 1500);
        for (name, share) in [("p90", 0.10), ("p95", 0.05), ("p99", 0.01)] {
            // The share of all requests that waited longer than t is (0.5 - t) / 3.
            let expected = 0.5 - 3.0 * share;
            let high = expected + run.lateness() + MACHINE;
            check_between(name, run.latency(name), expected - 0.015, high, &run);
        }
        check_between("max", run.latency("max"), 0.49, 0.5 + run.lateness() + MACHINE, &run);
    }
}

/// Poisson arrivals at a server that takes 20 ms for each: M/D/1 at 60 %. The arrivals of this run give the
/// latency of each request exactly; the mean is that of Pollaczek and Khinchine within its scatter.
#[test]
fn a_queue_with_constant_service_times_is_measured_as_m_d_1() {
    let (service, rate, seconds) = (0.020, 30.0, 12.0);
    let origin = Origin::start("epoll", &["--service-time", "20ms", "--workers", "1"]);
    let url = format!("http://{}/", origin.address);
    let run = Run::new(&[
        "--rate",
        "30",
        "--duration",
        "12s",
        "--arrivals",
        "poisson",
        "--connections",
        "100",
        "--seed",
        "5",
        &url,
    ]);
    let due: Vec<f64> = run.requests.iter().map(|request| request[0]).collect();
    let exact = sojourns(&due, || service);
    for (name, share) in [("p50", 50.0), ("p75", 75.0), ("p90", 90.0), ("p99", 99.0)] {
        let expected = percentile(&exact, share);
        let high = expected * 1.01 + run.lateness() + MACHINE;
        check_between(name, run.latency(name), expected * 0.99 - 0.002, high, &run);
    }
    let load = rate * service;
    let analytic = service + load * service / (2.0 * (1.0 - load));
    let error = 4.0 * scatter(seconds, rate, |_| service, |all| all.iter().sum::<f64>() / all.len() as f64);
    check_between("mean", run.mean(), analytic - error, analytic + error + run.lateness() + MACHINE, &run);
}

/// Poisson arrivals at a server with exponential service times: M/M/1, whose latencies are exponential with
/// the rate by which service is faster than arrivals.
#[test]
fn a_queue_with_exponential_service_times_is_measured_as_m_m_1() {
    let (mean, rate, seconds) = (0.010, 50.0, 12.0);
    let origin = Origin::start("epoll", &["--service-time", "exp:10ms", "--workers", "1", "--seed", "9"]);
    let url = format!("http://{}/", origin.address);
    let run = Run::new(&[
        "--rate",
        "50",
        "--duration",
        "12s",
        "--arrivals",
        "poisson",
        "--connections",
        "200",
        "--seed",
        "6",
        &url,
    ]);
    let spare = 1.0 / mean - rate;
    for (name, share) in [("p50", 50.0_f64), ("p90", 90.0), ("p99", 99.0)] {
        let analytic = -(1.0 - share / 100.0).ln() / spare;
        let service = |random: &mut Random| mean * random.exponential();
        let error = 4.0 * scatter(seconds, rate, service, |all| percentile(all, share));
        let high = analytic + error + run.lateness() + MACHINE;
        check_between(name, run.latency(name), (analytic - error).max(0.0), high, &run);
    }
}

/// How far the gaps between the sends of a run are from exponential ones, as a share of the distance that a true
/// Poisson process exceeds once in a thousand times: Kolmogorov and Smirnov.
fn distance_from_poisson(run: &Run, rate: f64) -> f64 {
    let mut sent: Vec<f64> = run.requests.iter().map(|request| request[1]).collect();
    sent.sort_by(f64::total_cmp);
    let mut gaps: Vec<f64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let count = gaps.len() as f64;
    let distance = gaps
        .iter()
        .enumerate()
        .map(|(index, gap)| {
            let expected = 1.0 - (-gap * rate).exp();
            (expected - index as f64 / count).abs().max(((index + 1) as f64 / count - expected).abs())
        })
        .fold(0.0, f64::max);
    distance / (1.95 / count.sqrt())
}

/// The times at which requests were really sent are those of a Poisson process. A run whose generator did not
/// get its CPU says nothing about that: it is made again.
#[test]
fn the_gaps_between_sends_are_exponential() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    for driver in DRIVERS {
        let options = ["--rate", "100", "--duration", "6s", "--driver", driver, &url];
        let mut distances = Vec::new();
        for seed in ["1", "2", "3", "4", "5", "6"] {
            let run = Run::new(&[&options[..], &["--arrivals", "poisson", "--seed", seed]].concat());
            distances.push(distance_from_poisson(&run, 100.0));
            if run.report["certified"]["valid"] == true {
                break;
            }
        }
        assert!(distances.iter().any(|&distance| distance < 1.0), "{driver}: {distances:?}");
    }
    // The same test finds evenly spaced sends out.
    let run = Run::new(&["--rate", "100", "--duration", "2s", &url]);
    assert!(distance_from_poisson(&run, 100.0) > 1.5);
}

/// Latency begins when a request is due, and nothing is sent before.
#[test]
fn nothing_is_sent_before_it_is_due() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let run = Run::new(&["--rate", "0..400", "--duration", "2s", "--threads", "2", &url]);
    assert_eq!(run.requests.len(), 400);
    assert!(run.requests.iter().all(|[due, sent, done]| due <= sent && sent <= done));
    // A quarter of a ramp's requests is due in its first half.
    let early = run.requests.iter().filter(|request| request[0] < 1.0).count();
    assert_eq!(early, 100);
}

/// Whether a program is installed.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// The number before `unit` on the line that begins with `label`.
fn figure(text: &str, label: &str) -> f64 {
    let line = text.lines().find(|line| line.trim_start().starts_with(label));
    let words = line.unwrap_or_else(|| panic!("no {label} in {text}"));
    let word = words.trim_start().trim_start_matches(label).split_whitespace().next().unwrap();
    word.trim_end_matches([',', 's']).parse().unwrap()
}

/// A server that serves 400 requests a second, asked in a closed loop by this program and by others: all must
/// find that number.
#[test]
fn other_programs_find_the_same_throughput() {
    let origin = Origin::start("epoll", &["--service-time", "2500us", "--workers", "1"]);
    let url = format!("http://{}/", origin.address);
    let ours = |http: &str| {
        let run =
            Run::new(&["--rate", "max", "--connections", "8", "--duration", "3s", "--http", http, &url]);
        run.report["answered_per_second"].as_f64().unwrap()
    };
    let check = |name: &str, ours: f64, theirs: f64| {
        eprintln!("{name}: {theirs:.0}/s, ours: {ours:.0}/s");
        assert!((0.75..1.33).contains(&(ours / theirs)), "{name}: {theirs}/s, ours: {ours}/s");
        assert!(ours < 410.0, "more than the server serves: {ours}");
    };
    if has("wrk") {
        let output = Command::new("wrk").args(["-t1", "-c8", "-d3s", &url]).output().unwrap();
        check("wrk", ours("http1"), figure(&String::from_utf8_lossy(&output.stdout), "Requests/sec:"));
    } else {
        println!("SKIPPED: wrk is not installed");
    }
    if has("h2load") {
        let output = Command::new("h2load").args(["-c1", "-m8", "-D3", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace("finished in ", "finished ");
        let line = text.lines().find(|line| line.starts_with("finished ")).unwrap().to_owned();
        let theirs: f64 = line.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        check("h2load", ours("http2"), theirs);
    } else {
        println!("SKIPPED: h2load is not installed");
    }
}
