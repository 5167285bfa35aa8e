//! The result for a pull request: a verdict, a table, and what one must know to read it.

use std::fmt::Write as _;

use super::report::{Outcome, Report};
use super::verdict::{Finding, Verdict};

/// The whole text.
pub(crate) fn render(report: &Report) -> String {
    let mut out = format!("## Gate: {}\n\n", headline(report));
    // INVARIANT: writing to a string does not fail.
    let _ = writeln!(out, "{} against base {}", report.candidate.label, report.base.label);
    if let Some(note) = &report.note {
        let _ = writeln!(out, "\n{note}");
    }
    for outcome in &report.scenarios {
        out.push_str(&scenario(outcome));
    }
    let _ = write!(
        out,
        "\nRatios are candidate / base over paired rounds, with the interval of 95 % confidence. **worse** and \
         **better** are real (a chance of at most {} that a gate without any difference says worse of anything) \
         and reach the threshold; **same** means that the interval lies within it. *Itself* is how far the same \
         program differs from itself on this machine. (In brackets: shown, not judged.)\n\n\
         Machine: {}. Instructions: {}. Started {}.\n",
        report.alpha, report.machine, report.counter, report.started
    );
    out
}

fn headline(report: &Report) -> String {
    let findings: Vec<&Finding> = report.scenarios.iter().flat_map(|outcome| &outcome.findings).collect();
    let count = |verdict| findings.iter().filter(|f| f.judged && f.verdict == verdict).count();
    let mut parts = Vec::new();
    for verdict in [Verdict::Worse, Verdict::Better, Verdict::Same, Verdict::CantTell] {
        if count(verdict) > 0 {
            parts.push(format!("{} {}", count(verdict), verdict.label()));
        }
    }
    let failing = report.scenarios.iter().filter(|outcome| outcome.has_new_errors()).count();
    if failing > 0 {
        parts.push(format!("requests fail in {failing}"));
    }
    if parts.is_empty() {
        parts.push("nothing was judged".to_owned());
    }
    format!("{} ({})", report.verdict.label(), parts.join(", "))
}

fn scenario(outcome: &Outcome) -> String {
    let mut out = format!("\n### {}", outcome.scenario);
    if outcome.rounds > 0 {
        let _ = write!(out, ", {} rounds", outcome.rounds);
    }
    out.push_str("\n\n");
    if !outcome.findings.is_empty() {
        out.push_str("| measure | base | candidate | ratio | threshold | itself | verdict |\n");
        out.push_str("|---|---|---|---|---|---|---|\n");
        outcome.findings.iter().for_each(|finding| out.push_str(&row(finding)));
    }
    for measure in &outcome.missing {
        let _ = writeln!(out, "\nNot measured: {}; this machine has no means to.", measure.label());
    }
    if outcome.doubted > 0 {
        let reason = outcome.doubt.as_deref().unwrap_or_default();
        let _ = writeln!(
            out,
            "\nThe load generator does not vouch for the latencies of {} of {} runs, which are left out: {reason}.",
            outcome.doubted,
            2 * outcome.rounds
        );
    }
    for (side, (errors, all)) in ["base", "candidate"].iter().zip(outcome.errors) {
        if errors > 0 {
            let _ = writeln!(out, "\n**{errors} of {all} requests failed at the {side}.**");
        }
    }
    out
}

fn row(finding: &Finding) -> String {
    let show = |value| finding.measure.show(value);
    let percent = |share: f64| format!("{:+.1} %", share * 100.0);
    let change = if finding.rounds == 0 { "-".to_owned() } else { percent(finding.ratio - 1.0) };
    let interval = match (finding.low, finding.high) {
        (Some(low), Some(high)) => format!(" ({} … {})", percent(low - 1.0), percent(high - 1.0)),
        _ => String::new(),
    };
    let verdict = match (finding.verdict, finding.more_rounds) {
        (Verdict::CantTell, _) if finding.rounds == 0 => "can't tell, no sound round".to_owned(),
        (Verdict::CantTell, Some(more)) => format!("can't tell, needs about {more} more rounds"),
        (Verdict::CantTell, None) if finding.measure.is_counted() => {
            "can't tell, its counts differ".to_owned()
        }
        (Verdict::CantTell, None) => "can't tell, and more rounds hardly would".to_owned(),
        (Verdict::Same, _) => "same".to_owned(),
        (verdict, _) => format!("**{}**", verdict.label()),
    };
    format!(
        "| {} | {} | {} | {}{interval} | {:.1} % | {} | {} |\n",
        finding.measure.label(),
        show(finding.base),
        show(finding.candidate),
        change,
        finding.threshold * 100.0,
        if finding.rounds == 0 { "-".to_owned() } else { format!("{:.1} %", finding.spread * 100.0) },
        if finding.judged { verdict } else { format!("({verdict})") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::measure::Measure;

    fn finding(verdict: Verdict, rounds: usize, more_rounds: Option<u64>, judged: bool) -> Finding {
        Finding {
            measure: Measure::Cpu,
            base: 10_000.0,
            candidate: 10_500.0,
            ratio: 1.05,
            low: Some(1.04),
            high: Some(1.06),
            threshold: 0.03,
            spread: 0.012,
            rounds,
            merged: 1,
            p_worse: None,
            p_better: None,
            verdict,
            more_rounds,
            judged,
            series: Vec::new(),
        }
    }

    #[test]
    fn each_verdict_reads_as_what_it_is() {
        let worse = row(&finding(Verdict::Worse, 16, None, true));
        let expected = "| CPU per request | 10.0 µs | 10.5 µs | +5.0 % (+4.0 % … +6.0 %) | 3.0 % | 1.2 % | **worse** |\n";
        assert_eq!(worse, expected);
        let verdict = |finding: Finding| {
            let row = row(&finding);
            row.trim_end_matches(" |\n").rsplit("| ").next().unwrap_or_default().to_owned()
        };
        assert_eq!(verdict(finding(Verdict::Same, 16, None, true)), "same");
        assert_eq!(verdict(finding(Verdict::Better, 16, None, false)), "(**better**)");
        assert_eq!(
            verdict(finding(Verdict::CantTell, 16, Some(40), true)),
            "can't tell, needs about 40 more rounds"
        );
        assert_eq!(
            verdict(finding(Verdict::CantTell, 16, None, true)),
            "can't tell, and more rounds hardly would"
        );
        assert_eq!(verdict(finding(Verdict::CantTell, 0, Some(9), true)), "can't tell, no sound round");
    }

    #[test]
    fn a_scenario_says_what_is_missing_in_doubt_and_lost() {
        let outcome = Outcome {
            scenario: "small".to_owned(),
            rounds: 8,
            errors: [(0, 100), (3, 100)],
            doubted: 2,
            doubt: Some("it came late".to_owned()),
            missing: vec![Measure::Instructions],
            findings: Vec::new(),
        };
        let text = scenario(&outcome);
        for part in [
            "### small, 8 rounds",
            "Not measured: instructions per request",
            "of 2 of 16 runs, which are left out: it came late.",
            "**3 of 100 requests failed at the candidate.**",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("at the base"), "{text}");
    }
}
