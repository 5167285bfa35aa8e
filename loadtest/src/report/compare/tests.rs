//! A slower run is called slower, the same run the same.

use super::*;
use crate::measure::Measure;
use crate::random::Random;
use crate::report::tests::sample;

/// A run of 10 s whose latencies are exponential with this mean.
fn run(name: &str, seed: u64, mean: f64) -> Named {
    let mut random = Random::seeded(seed);
    let mut outcome = sample();
    outcome.measure = Measure::new(100_000_000, 1);
    for request in 0..10_000_u64 {
        let due = request * 1_000_000;
        let stamp = crate::measure::Stamp { due, sent: due };
        let answer = crate::client::wire::Answer { status: 200, ..Default::default() };
        outcome.measure.on_sent(due, 0);
        outcome.measure.on_answer(due + (mean * random.exponential()) as u64, stamp, 0, &answer);
    }
    let report = outcome.report();
    let counts = report.interval_counts();
    Named { name: name.to_owned(), report, counts }
}

fn verdicts(reports: &[Named]) -> Vec<String> {
    let text = percentiles(reports).text("");
    text.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_slower_run_is_called_slower_and_the_same_the_same() {
    let lines = verdicts(&[run("before", 1, 1e6), run("after", 2, 1.3e6), run("again", 3, 1e6)]);
    assert_eq!(lines.len(), 3 * PERCENTILES.len());
    let of = |name: &str| -> Vec<&String> {
        lines.iter().filter(|line| line.split_whitespace().any(|word| word == name)).collect()
    };
    // p50 to p99 have enough requests beyond them; the larger ones can't all be told.
    for line in &of("after")[..5] {
        assert!(line.ends_with("slower"), "{line}");
    }
    let noise = of("again")[..5].iter().filter(|line| line.ends_with("within the noise")).count();
    assert!(noise >= 4, "{lines:#?}");
    assert!(of("after")[7].ends_with("can't tell"), "the largest value: {}", of("after")[7]);
    assert!(of("before").iter().all(|line| !line.ends_with("noise")));
    let lines = verdicts(&[run("before", 1, 1.3e6), run("after", 2, 1e6)]);
    assert!(lines[1].ends_with("faster"), "{}", lines[1]);
}

#[test]
fn doubts_are_told() {
    let mut other = run("b", 2, 1e6);
    assert!(warnings(&[run("a", 1, 1e6), run("c", 3, 1e6)]).is_empty());
    other.report.certified.valid = false;
    other.report.certified.reasons = vec!["late".to_owned()];
    other.report.rate = "5/s".to_owned();
    other.report.machine.cpu = "another".to_owned();
    let lines = warnings(&[run("a", 1, 1e6), other]);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "INVALID      b: late");
}

#[test]
fn names_are_short_unless_they_are_the_same() {
    let names = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
    assert_eq!(names(&["runs/a.json", "runs/b.json"]), ["a", "b"]);
    assert_eq!(names(&["a/x.json", "b/x.json"]), ["a/x.json", "b/x.json"]);
}
