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
    let series = Series { rounds, same, merged: 1, sound: 1.0, overall: [1.0; 2] };
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
fn rounds_that_are_of_no_use_are_asked_for_besides() {
    let mut all = figures(rounds(8, 1.0, 0.3), rounds(7, 1.0, 0.3), 0.03);
    let more = |figures: &Figures| {
        verdict_of(Figures { series: figures.series.clone(), ..*figures }).more_rounds.unwrap() as f64
    };
    let plain = more(&all);
    (all.series.merged, all.series.sound) = (2, 0.5);
    assert!((more(&all) / plain - 4.0).abs() < 0.2);
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
    // Eight rounds have a chance of 1 in 256 at best; one of 41 measures needs 1 in 4,100, thirteen rounds.
    let all =
        judge((0..40).map(|_| figures(rounds(8, 1.0, 0.01), vec![], 0.03)).chain([seven()]).collect(), ALPHA);
    let last = &all[40];
    assert_eq!((last.verdict, last.more_rounds), (Verdict::CantTell, Some(5)), "{last:?}");
    // Those that are not judged take no part.
    let shown = (0..40).map(|_| Figures { judged: false, ..figures(rounds(8, 1.0, 0.01), vec![], 0.03) });
    let all = judge(shown.chain([seven()]).collect(), ALPHA);
    assert_eq!((all[40].verdict, all[0].p_worse), (Verdict::Worse, None));
}

#[test]
fn counts_must_agree_with_themselves_before_they_are_compared() {
    let judge = |base: &[f64], candidate: &[f64]| {
        judge_counts(Measure::Instructions, &[base.to_vec(), candidate.to_vec()], 0.01, true).verdict
    };
    assert_eq!(judge(&[12_000.0, 12_010.0], &[12_005.0, 12_020.0]), Verdict::Same);
    assert_eq!(judge(&[12_000.0, 12_010.0], &[12_150.0, 12_140.0]), Verdict::Worse);
    assert_eq!(judge(&[12_000.0, 12_010.0], &[11_850.0, 11_840.0]), Verdict::Better);
    assert_eq!(judge(&[12_000.0, 12_100.0], &[12_150.0, 12_140.0]), Verdict::CantTell);
    assert_eq!(judge(&[0.0], &[1.0]), Verdict::CantTell);
}

/// The calibrations that are kept for these tests.
fn recorded(name: &str) -> Report {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let file = std::path::Path::new(&here).join("tests/data").join(name);
    crate::gate::record::read(&file).unwrap().pop().unwrap()
}

/// The rounds of one measure of a calibration.
fn recorded_rounds(name: &str, scenario: &str, measure: Measure) -> Vec<[f64; 2]> {
    let report = recorded(name);
    let outcome = report.scenarios.iter().find(|outcome| outcome.scenario == scenario).unwrap();
    outcome.findings.iter().find(|finding| finding.measure == measure).unwrap().series.clone()
}

/// Rounds drawn from recorded ones, the two runs of each exchanged by a coin, the candidate of each
/// `factor` as high; and as many more of the same program.
fn drawn(recorded: &[[f64; 2]], rounds: usize, factor: f64, threshold: f64, random: &mut Random) -> Figures {
    let mut draw = |factor: f64| {
        let [a, b] = recorded[(random.unit() * recorded.len() as f64) as usize];
        if random.bits() >> 63 == 1 { [a, b * factor] } else { [b, a * factor] }
    };
    let same = (1..rounds).map(|_| draw(1.0)).collect();
    figures((0..rounds).map(|_| draw(factor)).collect(), same, threshold)
}

/// How often drawn gates end with each verdict: better, same, worse, can't tell.
fn verdicts(gates: usize, mut gate: impl FnMut() -> Figures) -> [f64; 4] {
    let mut counts = [0.0; 4];
    for _ in 0..gates {
        counts[verdict_of(gate()).verdict as usize] += 1.0 / gates as f64;
    }
    counts
}

#[test]
fn false_alarms_stay_below_the_stated_rate() {
    for name in ["aa-saturated.jsonl", "aa-small.jsonl"] {
        let report = recorded(name);
        let gates = 1000;
        let alarms = calibrate::false_alarms(&report.scenarios, ALPHA, gates, 5);
        // Three standard deviations of a fair count of that many.
        let chance = 3.0 * (ALPHA * (1.0 - ALPHA) / f64::from(gates)).sqrt();
        assert!(alarms <= ALPHA + chance, "{name}: {alarms}");
    }
}

#[test]
fn a_planted_five_percent_of_cpu_time_is_caught() {
    let recorded = recorded_rounds("aa-saturated.jsonl", "http1-saturated", Measure::Cpu);
    let mut random = Random::seeded(17);
    let [better, _, worse, _] = verdicts(400, || drawn(&recorded, 40, 1.05, 0.02, &mut random));
    assert!(worse > 0.9 && better == 0.0, "{worse} {better}");
    let [better, same, worse, _] = verdicts(400, || drawn(&recorded, 40, 1.0, 0.02, &mut random));
    assert!(same > 0.5 && worse < 0.02 && better < 0.02, "{same} {worse} {better}");
}

/// Latencies of recorded runs, one run a line: `MICROSECONDS:REQUESTS …`, in steps of 2 %. Two lines are a
/// round of one program.
fn recorded_latencies() -> Vec<Vec<(f64, f64)>> {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let text =
        std::fs::read_to_string(std::path::Path::new(&here).join("tests/data/aa-latency.txt")).unwrap();
    let count = |word: &str| {
        let (micros, requests) = word.split_once(':').unwrap();
        (micros.parse().unwrap(), requests.parse().unwrap())
    };
    text.lines().map(|line| line.split(' ').map(count).collect()).collect()
}

/// The p99 of latencies of which a share has a delay planted on it.
fn p99(latencies: &[(f64, f64)], share: f64, delay: f64) -> f64 {
    let delayed = latencies.iter().map(|&(micros, requests)| (micros + delay, requests * share));
    let mut all: Vec<(f64, f64)> =
        latencies.iter().map(|&(micros, requests)| (micros, requests * (1.0 - share))).collect();
    all.extend(delayed);
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut beyond = 0.01 * all.iter().map(|(_, requests)| requests).sum::<f64>();
    let reaches = |&&(_, requests): &&(f64, f64)| {
        beyond -= requests;
        beyond <= 0.0
    };
    all.iter().find(reaches).unwrap().0
}

#[test]
fn a_delay_on_a_share_of_requests_that_adds_a_fifth_to_p99_is_caught() {
    let runs = recorded_latencies();
    let plain: Vec<f64> = runs.iter().map(|run| p99(run, 0.0, 0.0)).collect();
    let pairs = |values: &[f64]| values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect::<Vec<_>>();
    let typical = statistics::compare(&logs(&plain.iter().map(|&value| [1.0, value]).collect::<Vec<_>>()));
    // On one request in fifty, as long as it takes: the p99 of a typical run becomes 1.2 times as high.
    let mut delay = 0.0;
    let ratio = |delay: f64| {
        let grown: Vec<[f64; 2]> =
            runs.iter().zip(&plain).map(|(run, &p)| [p, p99(run, 0.02, delay)]).collect();
        statistics::compare(&logs(&grown)).center.exp()
    };
    while ratio(delay) < 1.2 {
        delay += typical.center.exp() / 50.0;
    }
    let planted: Vec<f64> = runs.iter().map(|run| p99(run, 0.02, delay)).collect();
    let (plain, planted) = (pairs(&plain), pairs(&planted));
    let threshold = 0.10;
    let needed = statistics::rounds_needed(statistics::spread(&logs(&plain)), f64::ln_1p(threshold));
    let rounds = (needed as usize).clamp(16, 120);
    let mut random = Random::seeded(29);
    let mut gate = |is_planted: bool| {
        let mut draw = |is_planted: bool| {
            let at = (random.unit() * plain.len() as f64) as usize;
            let first = usize::from(random.bits() >> 63 == 1);
            [plain[at][first], if is_planted { planted[at][1 - first] } else { plain[at][1 - first] }]
        };
        let same = (1..rounds).map(|_| draw(false)).collect();
        figures((0..rounds).map(|_| draw(is_planted)).collect(), same, threshold)
    };
    let [better, same, worse, _] = verdicts(40, || gate(true));
    assert!(worse > 0.8 && same + better < 0.05, "{rounds} rounds: {worse} {same} {better}");
    let [better, _, worse, _] = verdicts(40, || gate(false));
    assert!(worse < 0.06 && better < 0.06, "{rounds} rounds: {worse} {better}");
}

#[test]
fn what_is_too_noisy_can_not_be_told_and_the_rounds_it_names_suffice() {
    let values: Vec<f64> = recorded_latencies().iter().map(|run| p99(run, 0.0, 0.0)).collect();
    let recorded: Vec<[f64; 2]> = values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    let mut random = Random::seeded(23);
    let rounds = 8;
    // Whatever the machine's noise was: a threshold for which some fifty rounds are needed.
    let room = statistics::spread(&logs(&recorded)) / 2.0;
    let threshold = room.exp_m1();
    let mut needed: Vec<f64> = Vec::new();
    for _ in 0..100 {
        let finding = verdict_of(drawn(&recorded, rounds, 1.0, threshold, &mut random));
        if finding.verdict == Verdict::CantTell {
            needed.push(finding.more_rounds.map_or(MORE_ROUNDS_MAX, |more| more as f64) + rounds as f64);
        }
    }
    assert!(needed.len() > 90, "{} of 100 can't be told", needed.len());
    needed.sort_by(f64::total_cmp);
    let needed = statistics::median(&needed) as usize;
    let [_, enough, worse, _] = verdicts(100, || drawn(&recorded, needed, 1.0, threshold, &mut random));
    let [_, too_few, ..] = verdicts(100, || drawn(&recorded, needed / 3, 1.0, threshold, &mut random));
    assert!(enough > 0.6 && too_few < 0.5 && worse < 0.05, "{needed}: {enough}, a third: {too_few}, {worse}");
}
