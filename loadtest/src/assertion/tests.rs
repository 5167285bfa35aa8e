//! Assertions as users write them, against a run whose numbers are known.

use super::*;
use crate::report::tests::sample;

fn parse(text: &str) -> Assertion {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The sample: 990 answers with status 200 in 1 to 990 ms, 8 with 503 in 2 s, two time-outs of 3 s.
#[test]
fn assertions_are_checked_against_the_run() {
    let report = sample().report();
    let check = |text: &str, holds: bool, found: &str| {
        let asserted = parse(text).check(&report);
        assert_eq!((asserted.holds, asserted.found.as_str()), (holds, found), "{text}");
        assert_eq!(asserted.assertion, text);
    };
    check("p50 < 501ms", true, "500 ms");
    check("p50 <= 499ms", false, "500 ms");
    check("p99>980ms", true, "990 ms");
    check("max >= 3s", true, "3.00 s");
    check("mean < 1s", true, "513 ms");
    check("service_max < 3.1s", true, "3.00 s");
    check("service_p50 < p0.4ms".replace("p0.4ms", "1us").as_str(), false, "499 ms");
    check("errors = 10", true, "10");
    check("errors==10", true, "10");
    check("errors != 10", false, "10");
    check("failed = 2", true, "2");
    check("timeout = 2", true, "2");
    check("reset = 0", true, "0");
    check("5xx < 9", true, "8");
    check("503 > 8", false, "8");
    check("4xx = 0", true, "0");
    check("sent = 1000", true, "1000");
    check("answered >= 998", true, "998");
    check("error_rate <= 1%", true, "1.0000 %");
    check("error_rate < 0.9 %", false, "1.0000 %");
    check("rate > 90/s", true, "99.8/s");
    check("bytes < 10kB", true, "9980 bytes");
    check("bytes_in > 1MiB", false, "100000 bytes");
}

#[test]
fn what_is_not_an_assertion_is_told_why() {
    let check = |text: &str, hint: &str| {
        let error = text.parse::<Assertion>().unwrap_err();
        assert!(error.contains(hint), "{text}: {error}");
    };
    check("", "compares nothing");
    check("p99", "write for example");
    check("p99 5ms", "compares nothing");
    check("p99 ! 5ms", "compares nothing");
    check("p99 < 5", "needs a unit");
    check("p99 < 5 apples", "not a unit of time");
    check("p101 < 5ms", "nothing to assert upon");
    check("speed < 5ms", "error_rate");
    check("errors = none", "not a number");
    check("errors = -1", "not a number");
    check("errors = nan", "not a number");
    check("error_rate < 1", "needs its unit");
    check("6xx = 0", "nothing to assert upon");
    check("700 = 0", "nothing to assert upon");
    check("bytes > 5 parsecs", "not a unit of size");
}

#[test]
fn what_was_not_measured_does_not_hold() {
    let mut outcome = sample();
    outcome.measure = crate::measure::Measure::new(1_000_000_000, 1);
    let report = outcome.report();
    for text in ["p99 < 5h", "service_mean >= 0", "error_rate < 100%"] {
        let asserted = parse(text).check(&report);
        assert_eq!((asserted.holds, asserted.found.as_str()), (false, "nothing measured"), "{text}");
    }
}

#[test]
fn failures_say_which_and_uncertified_runs_fail_them_all() {
    let mut outcome = sample();
    let mut report = outcome.report();
    assert!(failures(&report).is_empty());
    report.assertions = ["errors = 0", "p50 < 1s"].map(|text| parse(text).check(&report)).to_vec();
    assert_eq!(failures(&report), ["assertion failed: errors = 0 (it is 10)"]);
    outcome.certificate.valid = false;
    outcome.certificate.reasons = vec!["it was late".to_owned()];
    report = outcome.report();
    assert!(failures(&report).is_empty(), "nothing was asserted");
    report.assertions = vec![parse("p50 < 1s").check(&report)];
    let lines = failures(&report);
    assert!(lines.len() == 1 && lines[0].ends_with("not certified: it was late"), "{lines:?}");
}
