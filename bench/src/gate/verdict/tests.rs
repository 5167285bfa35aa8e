//! Verdicts on recorded same-against-same rounds, plain and with planted changes.
//!
//! `bench/tests/data/aa-*.jsonl` are records of `pinion-bench gate --calibrate`. Whatever is planted is
//! planted into one side of real rounds, so that the noise is a real machine's.

use pinion_load::random::Random;

use super::*;
use crate::gate::calibrate;
use crate::gate::report::Report;

/// The error rate of the tests: that of the program.
const ALPHA: f64 = 0.01;

fn figures(rounds: Vec<[f64; 2]>, same: Vec<[f64; 2]>, threshold: f64) -> Figures {
    let series = Series { rounds, same, merged: 1, overall: [1.0; 2] };
    Figures { measure: Measure::Cpu, threshold, judged: true, series }
}

fn verdict_of(figures: Figures) -> Finding {
    judge(vec![figures], ALPHA).remove(0)
}

/// Rounds whose candidate is `factor` as high, with a regular noise of some share.
fn rounds(count: usize, factor: f64, noise: f64) -> Vec<[f64; 2]> {
    let wave = |at: usize| 1.0 + noise * ((at * 7 % 11) as f64 / 5.0 - 1.0);
    (0..count).map(|at| [100.0 * wave(at), 100.0 * factor * wave(at + 3)]).collect()
}

#[test]
fn the_four_verdicts() {
    let same = || rounds(16, 1.0, 0.01);
    #[rustfmt::skip]
    let rows = [
        ("a clear rise", rounds(16, 1.05, 0.01), Verdict::Worse),
        ("a clear fall", rounds(16, 0.95, 0.01), Verdict::Better),
        ("nothing", rounds(16, 1.0, 0.01), Verdict::Same),
        ("real, but too small to matter", rounds(16, 1.01, 0.001), Verdict::Same),
        ("too few rounds to know", rounds(4, 1.05, 0.01), Verdict::CantTell),
        ("no rounds", vec![], Verdict::CantTell),
        ("too noisy", rounds(16, 1.0, 0.3), Verdict::CantTell),
    ];
    for (name, rounds, expected) in rows {
        let finding = verdict_of(figures(rounds, same(), 0.03));
        assert_eq!(finding.verdict, expected, "{name}: {finding:?}");
        assert_eq!(finding.more_rounds.is_some(), expected == Verdict::CantTell, "{name}: {finding:?}");
    }
}

#[test]
fn a_change_must_stand_out_of_what_the_same_program_shows() {
    let restless = (0..15).map(|at| if at % 2 == 0 { [1.0, 1.4] } else { [1.4, 1.0] }).collect();
    let finding = verdict_of(figures(rounds(16, 1.05, 0.01), restless, 0.03));
    assert_eq!(finding.verdict, Verdict::CantTell, "{finding:?}");
}

#[test]
fn many_measures_make_each_test_stricter() {
    let seven = || figures(rounds(8, 1.05, 0.01), rounds(7, 1.0, 0.01), 0.03);
    assert_eq!(verdict_of(seven()).verdict, Verdict::Worse);
    // Eight rounds have a chance of 1 in 256 at best: not enough for one of forty measures.
    let all =
        judge((0..40).map(|_| figures(rounds(8, 1.0, 0.01), vec![], 0.03)).chain([seven()]).collect(), ALPHA);
    let last = &all[40];
    assert_eq!((last.verdict, last.more_rounds), (Verdict::CantTell, Some(4)), "{last:?}");
    // Those that are not judged take no part.
    let shown = (0..40).map(|_| Figures { judged: false, ..figures(rounds(8, 1.0, 0.01), vec![], 0.03) });
    let all = judge(shown.chain([seven()]).collect(), ALPHA);
    assert_eq!((all[40].verdict, all[0].p_worse), (Verdict::Worse, None));
}

#[test]
fn counts_must_agree_with_themselves_before_they_are_compared() {
    let judge = |base: &[f64], candidate: &[f64]| {
        judge_counts(Measure::Instructions, &[base.to_vec(), candidate.to_vec()], 0.01).verdict
    };
    assert_eq!(judge(&[12_000.0, 12_010.0], &[12_005.0, 12_020.0]), Verdict::Same);
    assert_eq!(judge(&[12_000.0, 12_010.0], &[12_150.0, 12_140.0]), Verdict::Worse);
    assert_eq!(judge(&[12_000.0, 12_010.0], &[11_850.0, 11_840.0]), Verdict::Better);
    assert_eq!(judge(&[12_000.0, 12_100.0], &[12_150.0, 12_140.0]), Verdict::CantTell);
    assert_eq!(judge(&[0.0], &[1.0]), Verdict::CantTell);
}
