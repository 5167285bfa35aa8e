//! Every output from one run whose numbers are known.

use std::time::Duration;

use super::*;
use crate::client::failure::Failure;
use crate::client::wire::Answer;
use crate::measure::{Measure, Stamp};
use crate::report::outcome::Load;
use crate::result::{Certified, Report};

const MILLI: u64 = 1_000_000;

/// 1000 requests in ten seconds: two time out after 3 s, 8 are answered with 503 after 2 s, the others with
/// 200 after 990 ms, 989 ms … 1 ms. Each was sent a millisecond after it was due.
pub(crate) fn sample() -> Outcome {
    let mut measure = Measure::new(100 * MILLI, 2);
    for request in 0..1000_u64 {
        let due = request * 10 * MILLI;
        let stamp = Stamp { due, sent: due + MILLI };
        measure.on_sent(due, 50_000);
        let answer = |status| Answer { status, content_bytes: 10, ..Answer::default() };
        let target = (request % 2) as usize;
        match request {
            0 | 1 => measure.on_failure(due + 3_000 * MILLI, Some(stamp), due, target, Failure::Timeout),
            2..10 => measure.on_answer(due + 2_000 * MILLI, stamp, target, &answer(503)),
            _ => measure.on_answer(due + (1000 - request) * MILLI, stamp, target, &answer(200)),
        }
    }
    (measure.bytes_in, measure.bytes_out, measure.connects) = (100_000, 50_000, 64);
    measure.connect_times.saturating_record(200_000);
    measure.count(Some("v1".to_owned()));
    Outcome {
        command: "pinion-load --rate 100 'http://127.0.0.1:1/a b'".to_owned(),
        target: "http://127.0.0.1:1/".to_owned(),
        target_names: vec!["browse".to_owned(), "buy <now>".to_owned()],
        load: Load {
            rate: "100/s".to_owned(),
            is_open: true,
            arrivals: "constant".to_owned(),
            connections: 64,
            threads: 1,
            duration: Duration::from_secs(10),
            warmup: Duration::ZERO,
            is_limited: false,
        },
        seed: 7,
        started: "2026-11-20T09:00:01.5Z".to_owned(),
        counted_header: Some("x-served-by".to_owned()),
        machine: machine::machine("epoll"),
        measure,
        certificate: Certified { valid: true, reasons: Vec::new() },
        ended: Ended::Planned,
        agents: Vec::new(),
    }
}

#[test]
fn the_summary_has_every_part_once() {
    let text = text::render(&sample().report());
    for line in [
        "load         open loop, 100/s, constant arrivals, 64 connections, 10 s",
        "certified    yes: this program kept up",
        "answered     998 (99.8/s)",
        "errors       10 (1.000 % of the requests)",
        "received     0.100 MB (0.010 MB/s)",
        "connections  64 opened, median 200 µs, at most 200 µs",
        "200  990",
        "503  8",
        "timeout  2",
        "v1  1",
        "lateness of this program: median 50.0 µs, 99 % within 50.0 µs, at most 50.0 µs",
    ] {
        assert_eq!(text.lines().filter(|&found| found == line).count(), 1, "{line}\n{text}");
    }
    // The first is the latency, the second the service time.
    let p99: Vec<&str> = text.lines().filter(|line| line.starts_with("p99  ")).collect();
    assert_eq!(p99, ["p99  990 ms", "p99  989 ms"], "{text}");
    assert!(text.lines().any(|line| line.starts_with("  p99 ") && line.contains("990 ms   ")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("  buy <now>")), "{text}");
    assert!(!text.contains("agents") && !text.contains("handshakes") && !text.contains("assertions"));
}

#[test]
fn a_run_that_is_not_certified_says_so_in_every_output() {
    let mut outcome = sample();
    outcome.certificate = Certified {
        valid: false,
        reasons: vec!["the generator was <late>".to_owned(), "the CPU was taken".to_owned()],
    };
    let report = outcome.report();
    let text = text::render(&report);
    assert!(
        text.contains("\nINVALID      the generator was <late>\nINVALID      the CPU was taken\n"),
        "{text}"
    );
    assert!(!text.contains("certified    yes"));
    let html = html::render(&report);
    assert!(html.contains("INVALID") && html.contains("the generator was &lt;late&gt;"));
    assert!(report.json().contains("\"valid\": false"));
}

#[test]
fn the_report_is_read_again_without_loss() {
    let outcome = sample();
    let report = outcome.report();
    let read = Report::parse(&report.json()).unwrap();
    assert_eq!(read.latency.histogram(), outcome.measure.latency);
    assert_eq!(read.service_time.histogram(), outcome.measure.service);
    assert_eq!(read.interval_counts(), outcome.measure.intervals.counts());
    assert_eq!(read.targets[1].latency.histogram(), outcome.measure.targets[1].latency);
    assert_eq!(read.latency.percentile(97.3), Some(outcome.measure.latency.value_at_percentile(97.3)));
    assert_eq!((read.started.as_str(), read.format, read.seed), ("2026-11-20T09:00:01.5Z", 1, 7));
    assert_eq!(read.confidence.keys().collect::<Vec<_>>(), ["p50", "p75", "p90", "p95", "p99"]);
    let p50 = read.confidence["p50"];
    assert!(p50.low <= 500e6 && p50.high >= 500e6 && p50.level == 0.95, "{p50:?}");
}

#[test]
fn what_is_not_a_report_is_told_why() {
    let check = |text: &str, hint: &str| {
        let error = Report::parse(text).unwrap_err().to_string();
        assert!(error.contains(hint), "{text}: {error}");
    };
    let report = sample().report().json();
    check("", "not a report");
    check("[1]", "not a report");
    check("{}", "not a report of pinion-load");
    check(r#"{"program": "pinion-load 0.1.0"}"#, "older");
    check(&report.replace("\"format\": 1", "\"format\": 2"), "format 2");
    check(&report.replace("\"sent\"", "\"gone\""), "not a whole report");
    let hdr = report.split("\"hdr\": \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    check(&report.replacen(&hdr, "!", 1), "not base64");
    check(&report.replacen(&hdr, "AAAA", 1), "can't be decoded");
    let missing = Report::read("no such file").unwrap_err().to_string();
    assert!(missing.starts_with("no such file: "), "{missing}");
}

#[test]
fn the_percentile_distribution_is_that_of_the_histogram() {
    let report = sample().report();
    let text = hdr_files::percentiles(&report);
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(2)
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
        .collect();
    let histogram = report.latency.histogram();
    for row in &rows {
        let below = histogram.count_between(0, (row[0] * 1e6).round() as u64);
        assert_eq!(below as f64, row[2], "{row:?}");
        assert!(row[2] / 1000.0 + 1e-9 >= row[1], "{row:?}");
        assert_eq!(row.len(), if row[1] < 1.0 { 4 } else { 3 });
    }
    let last = rows.last().unwrap();
    assert_eq!((last[1], last[2]), (1.0, 1000.0));
    assert!(
        text.contains("Total count    =         1000]") && text.contains("SubBuckets     =         2048]"),
        "{text}"
    );
}

#[test]
fn the_interval_log_holds_every_interval() {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let outcome = sample();
    let log = hdr_files::intervals(&outcome.report()).unwrap();
    let mut all = crate::measure::histogram();
    let mut count = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            use base64::Engine as _;
            assert_eq!(interval.start_timestamp(), Duration::from_millis(100 * count));
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let mut decoder = hdrhistogram::serialization::Deserializer::new();
            all.add(decoder.deserialize::<u64, _>(&mut bytes.as_slice()).unwrap()).unwrap();
            count += 1;
        }
    }
    assert_eq!(all, outcome.measure.latency);
    assert_eq!(count as usize, outcome.measure.intervals.list().len());
    assert!(String::from_utf8_lossy(&log).contains("#[StartTime: 1795165201.500 (seconds since epoch)]"));
}

#[test]
fn the_page_shows_every_plot_and_nothing_raw() {
    let html = html::render(&sample().report());
    for part in
        ["Latency by percentile", "Latency over time", "Rate over time", "In flight", "buy &lt;now&gt;"]
    {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("buy <now>") && html.matches("<svg ").count() >= 5);
    // A run of nothing is a page as well.
    let mut outcome = sample();
    outcome.measure = Measure::new(MILLI, 1);
    assert!(html::render(&outcome.report()).contains("nothing measured"));
}
