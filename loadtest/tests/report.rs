//! What a run writes, as its readers see it: files that other programs read, and exit statuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Output};

use common::{Origin, program};
use pinion_load::result::Report;

/// Runs the generator against the origin with these options.
fn load(origin: &Origin, options: &[&str]) -> Output {
    program(&["--quiet"]).args(options).arg(format!("http://{}/", origin.address)).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_output_tells_the_same_run() {
    let origin = Origin::start("epoll", &["--delay", "5ms"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html, hgrm, hlog) = (file("r.json"), file("r.html"), file("r.hgrm"), file("r.hlog"));
    let outputs = ["--json", &json, "--html", &html, "--hgrm", &hgrm, "--hlog", &hlog];
    let output = load(
        &origin,
        &[&outputs[..], &["--rate", "200", "--duration", "2s", "-H", "authorization: secret-word"]].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));

    let report = Report::read(&json).unwrap();
    assert_eq!((report.sent, report.answered, report.latency.count), (400, 400, 400));
    assert_eq!(report.latency.histogram().len(), 400);
    assert!(report.latency.percentile(50.0).unwrap() >= 5_000_000);
    let due: u64 = report.interval_counts().iter().map(pinion_load::stats::Counts::total).sum();
    assert_eq!((due, report.intervals.iter().map(|interval| interval.answered).sum::<u64>()), (400, 400));
    assert!(report.command.starts_with("pinion-load --quiet --json ") && report.command.contains("(hidden)"));
    assert!(report.machine.kernel.starts_with("Linux"), "{:?}", report.machine);

    let shown = text(&output.stdout);
    let p99: Vec<&str> = shown.lines().filter(|line| line.starts_with("p99  ")).collect();
    assert_eq!(p99.len(), 2, "{shown}");
    assert!(shown.contains("\nside by side\n"), "{shown}");
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Latency by percentile"));
    let median = p99[0].split_once("  ").unwrap().1;
    assert!(page.contains(median), "{median} is not in the page");
    for secret in [&page, &std::fs::read_to_string(&json).unwrap(), &shown] {
        assert!(!secret.contains("secret-word"));
    }
    assert!(std::fs::read_to_string(&hgrm).unwrap().contains("Total count    =          400]"));
    assert!(std::fs::read_to_string(&hlog).unwrap().starts_with("#[Histogram log format version 1.3]"));
}

/// The Python package `hdrhistogram` reads report and log, and finds the same in our distribution.
#[test]
fn the_public_tools_read_what_is_written() {
    let is_there = Command::new("python3").args(["-c", "import hdrh.histogram, hdrh.log"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no Python package hdrhistogram");
        return;
    }
    let origin = Origin::start("epoll", &["--delay", "exp:3ms"]);
    let folder = tempfile::tempdir().unwrap();
    let [json, hgrm, hlog] = ["r.json", "r.hgrm", "r.hlog"].map(|name| folder.path().join(name));
    let outputs = [("--json", &json), ("--hgrm", &hgrm), ("--hlog", &hlog)];
    let mut options = vec!["--rate", "300", "--duration", "2s", "--arrivals", "poisson"];
    outputs.iter().for_each(|(option, file)| options.extend([option, file.to_str().unwrap()]));
    assert!(load(&origin, &options).status.success());
    let script = r#"
import io, json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
report = json.load(open(sys.argv[1]))
ours = HdrHistogram.decode(report["latency"]["hdr"])
assert ours.get_total_count() == report["latency"]["count"], ours.get_total_count()
total = ours.get_total_count()
# The package rounds a rank where others take the next one: a value lies between its neighbours' ranks.
def check(value, rank):
    low, high = (ours.get_value_at_percentile(min(100.0, 100.0 * (rank + by) / total)) for by in (-1, 1))
    assert low - 1 <= value <= high + 1, (value, rank, low, high)
for name, value in report["latency"]["percentiles_nanos"].items():
    check(value, total * (100.0 if name == "max" else float(name[1:])) / 100.0)
# The interval log, merged, is the whole.
merged = HdrHistogram(1, 3600000000000, 3)
reader, count = HistogramLogReader(sys.argv[3], merged), 0
while True:
    interval = reader.get_next_interval_histogram()
    if interval is None: break
    merged.add(interval); count += 1
assert count == len(report["intervals"]), count
assert merged.get_total_count() == ours.get_total_count()
for at in (1, 50, 90, 99, 100):
    assert merged.get_value_at_percentile(at) == ours.get_value_at_percentile(at)
# The distribution: its rows are those of the same histogram, and its frame that of the package's own.
out = io.BytesIO()
ours.output_percentile_distribution(out, 1000000.0, 5)
theirs, written = out.getvalue().decode().splitlines(), open(sys.argv[2]).read().splitlines()
assert written[0].split() == theirs[0].split(), written[0]
assert [line[:9] for line in written[-3:]] == [line[:9] for line in theirs[-3:]], written[-3:]
rows = [[float(word) for word in line.split()] for line in written[2:-3]]
for row in rows:
    check(row[0] * 1e6, row[2])
assert rows[-1][1:] == [1.0, total], rows[-1]
print("same", len(rows))
"#;
    let output = Command::new("python3").args(["-c", script]).args([json, hgrm, hlog]).output().unwrap();
    assert!(text(&output.stdout).starts_with("same "), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn json_to_stdout_is_the_report_alone() {
    let origin = Origin::start("epoll", &[]);
    let output = load(&origin, &["--json", "-", "--rate", "100", "-n", "20"]);
    let report = Report::parse(&text(&output.stdout)).unwrap();
    assert_eq!((report.answered, report.format), (20, pinion_load::result::FORMAT));
}

#[test]
fn assertions_decide_the_exit_status() {
    let origin = Origin::start("epoll", &["--delay", "5ms", "--status", "503"]);
    let run = |assertions: &[&str]| {
        let mut options = vec!["--rate", "100", "--duration", "1s"];
        assertions.iter().for_each(|assertion| options.extend(["--assert", assertion]));
        load(&origin, &options)
    };
    let output = run(&["p50 < 1ms", "5xx = 0", "failed = 0"]);
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    assert!(problems.contains("assertion failed: p50 < 1ms (it is "), "{problems}");
    assert!(problems.contains("assertion failed: 5xx = 0 (it is 100)"), "{problems}");
    assert!(!problems.contains("failed = 0 "), "{problems}");
    let shown = text(&output.stdout);
    assert!(
        shown.contains("\nFAILED  5xx = 0  (it is 100)\n") && shown.contains("\nholds   failed = 0"),
        "{shown}"
    );

    // A run that is not certified fails whatever it says; on a quiet machine this one passes.
    let output = run(&["5xx = 100", "p50 >= 5ms"]);
    let is_certified = text(&output.stdout).contains("\ncertified    yes");
    assert_eq!(output.status.success(), is_certified, "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr).contains("not certified"), !is_certified);

    let output = run(&["p99 < 5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("needs a unit"), "{}", text(&output.stderr));
}

#[test]
fn progress_is_a_line_a_second_where_there_is_no_terminal() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let output = program(&["--rate", "100", "--duration", "3s", &url]).output().unwrap();
    let lines = text(&output.stderr);
    let first = lines.lines().next().unwrap();
    for part in [" s  ", "/s  in flight ", "  p50 ", "  p99 ", "  p99.9 ", "  errors 0", " s left"] {
        assert!(first.contains(part), "{part}: {lines}");
    }
    assert!((1..=10).contains(&lines.lines().count()), "{lines}");
}

#[test]
fn a_run_ends_once_it_is_sure_enough() {
    let origin = Origin::start("epoll", &["--delay", "20ms"]);
    let options = ["--rate", "300", "--duration", "60s", "--until-ci", "p50:30%", "--json", "-"];
    let report = Report::parse(&text(&load(&origin, &options).stdout)).unwrap();
    assert_eq!((report.ended.as_str(), report.interrupted), ("sure", false));
    assert!(report.measured_seconds < 50.0, "{}", report.measured_seconds);
}

#[test]
fn reports_are_compared_on_stdout_and_as_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (fast, slow, page) = (file("fast.json"), file("slow.json"), file("page.html"));
    for (delay, json) in [("2ms", &fast), ("40ms", &slow)] {
        let origin = Origin::start("epoll", &["--delay", delay]);
        let options = ["--rate", "200", "--duration", "3s", "--connections", "32", "--json", json];
        assert!(load(&origin, &options).status.success());
    }
    let output = program(&["compare", &fast, &slow, "--html", &page]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let row = table.lines().find(|line| line.starts_with("p50 ")).unwrap();
    let next = table.lines().skip_while(|line| *line != row).nth(1).unwrap();
    assert!(next.contains("slow") && next.ends_with("slower"), "{table}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("Load tests compared: fast, slow") && page.contains(">slower<"));

    let output = program(&["compare", &fast, "no-such-file.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no-such-file.json: "), "{}", text(&output.stderr));
    assert_eq!(program(&["compare", &fast]).output().unwrap().status.code(), Some(2));
}

/// Known before anything is sent: an hour later it would be too late.
#[test]
fn outputs_that_can_not_be_written_are_named_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    for (option, path) in [("--html", "no-such-folder/page.html"), ("--json", folder), ("--samples", folder)]
    {
        // Nothing listens there: the files are looked at first.
        let output = program(&[option, path, "http://127.0.0.1:1/"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let problem = text(&output.stderr);
        assert!(problem.contains(&format!("can't write {path}: ")), "{problem}");
    }
    assert_eq!(program(&["--html", "-", "http://127.0.0.1:1/"]).output().unwrap().status.code(), Some(2));
    let knee = ["--find-knee", "p99 < 1s", "--samples", "x.csv", "http://127.0.0.1:1/"];
    assert_eq!(program(&knee).output().unwrap().status.code(), Some(2));
    // The trial leaves nothing behind.
    let kept = format!("{folder}/report.json");
    assert!(!program(&["--json", &kept, "http://127.0.0.1:1/"]).output().unwrap().status.success());
    assert!(!std::path::Path::new(&kept).exists());
}

#[test]
fn an_output_that_fails_keeps_no_other_one_back() {
    let origin = Origin::start("epoll", &[]);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let full = ["--json", "/dev/full", "--samples", "/dev/full", "--html", page.to_str().unwrap()];
    let output = load(&origin, &[&["--rate", "100", "-n", "5"][..], &full].concat());
    assert_eq!(output.status.code(), Some(1));
    let problem = text(&output.stderr);
    assert!(problem.contains("can't write the report: /dev/full: "), "{problem}");
    assert!(problem.contains("can't write the samples to /dev/full: "), "{problem}");
    assert!(text(&output.stdout).contains("answered     5 "), "{}", text(&output.stdout));
    assert!(page.exists());
}

#[test]
fn a_full_or_closed_stdout_is_no_crash() {
    let origin = Origin::start("epoll", &[]);
    let url = format!("http://{}/", origin.address);
    let knee = ["--rate", "20", "--duration", "50ms", "--find-knee", "p50 < 1ns"];
    for options in [&["--rate", "100", "-n", "5"][..], &knee] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = program(&["--quiet", &url]).args(options).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("stdout: "), "{}", text(&output.stderr));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(&["--quiet", &url]).args(options).stdout(writer).output().unwrap();
        assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    }
}
