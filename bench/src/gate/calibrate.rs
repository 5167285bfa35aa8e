//! A/A: what this machine makes of a comparison of a program with itself.
//!
//! From the rounds of such a gate many others are drawn: rounds with repetition, base and candidate of
//! each exchanged by a coin. There is no difference in them by construction, but all the noise of the
//! machine. The share of them that says "worse" of anything is the false-alarm rate, to be compared with
//! the stated one.

use std::path::Path;

use pinion_load::random::Random;

use super::measure::Measure;
use super::record;
use super::report::{Calibration, Outcome};
use super::run::Series;
use super::verdict::{self, Figures, Verdict};
use crate::Problem;

/// The share of drawn gates that say "worse" of anything.
pub(crate) fn false_alarms(outcomes: &[Outcome], alpha: f64, gates: u32, seed: u64) -> f64 {
    let mut random = Random::seeded(seed);
    let alarms = (0..gates).filter(|_| {
        let figures: Vec<Figures> = outcomes.iter().flat_map(|o| drawn(o, &mut random)).collect();
        verdict::judge(figures, alpha).iter().any(|finding| finding.verdict == Verdict::Worse)
    });
    alarms.count() as f64 / f64::from(gates.max(1))
}

/// A gate drawn from an outcome's rounds. The same rounds, in the same order, for all its measures, which
/// go together in truth too.
fn drawn(outcome: &Outcome, random: &mut Random) -> Vec<Figures> {
    let draws: Vec<(f64, bool)> =
        (0..outcome.rounds).map(|_| (random.unit(), random.bits() >> 63 == 1)).collect();
    let timed = outcome.findings.iter().filter(|f| !f.measure.is_counted() && !f.series.is_empty());
    timed
        .map(|finding| {
            let rounds: Vec<[f64; 2]> = draws[..finding.series.len().min(draws.len())]
                .iter()
                .map(|&(place, swapped)| {
                    let [a, b] = finding.series[(place * finding.series.len() as f64) as usize];
                    if swapped { [b, a] } else { [a, b] }
                })
                .collect();
            // The order of a pair of the same program means nothing.
            let same = rounds.clone();
            let series = Series { rounds, same, merged: finding.merged, sound: 1.0, overall: [0.0; 2] };
            Figures { measure: finding.measure, threshold: finding.threshold, judged: true, series }
        })
        .collect()
}

/// The A/A pairs of a record's last gate, which must have compared a program with itself.
///
/// # Errors
/// The file can't be read, is empty, or compared two programs.
pub(crate) fn read(file: &Path) -> Result<Calibration, Problem> {
    let reports = record::read(file)?;
    let report = reports.last().ok_or_else(|| format!("{} is empty", file.display()))?;
    if report.base != report.candidate {
        return Err(format!("the last gate of {} is no calibration: its sides differ", file.display()));
    }
    let all = report.scenarios.iter().flat_map(|outcome| {
        let timed = outcome.findings.iter().filter(|f| !f.measure.is_counted() && f.merged == 1);
        let key = |measure: Measure| (outcome.scenario.clone(), measure);
        timed.map(move |finding| (key(finding.measure), finding.series.clone()))
    });
    Ok(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> std::path::PathBuf {
        let here =
            std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        Path::new(&here).join(name)
    }

    #[test]
    fn only_a_program_against_itself_is_a_calibration() {
        let calibration = read(&data("tests/data/aa-saturated.jsonl")).unwrap();
        let rounds = &calibration[&("http1-saturated".to_owned(), Measure::Cpu)];
        assert_eq!(rounds.len(), 40);
        assert!(read(&data("runs/planted-cpu.jsonl")).unwrap_err().contains("sides differ"));
        assert!(read(&data("tests/data/none.jsonl")).is_err());
    }
}
