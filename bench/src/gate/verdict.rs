//! The verdict on each measure: better, same, worse, or can't tell and how many rounds it would take.
//!
//! ```text
//!               -threshold          no change          +threshold
//! ───── better ─────┼────────────────────┼────────────────────┼───── worse ─────▶ candidate / base
//!                   │        [──same──]  │                    │   [──worse──]
//!                   │                    │       [──can't tell───]
//! ```
//!
//! - **worse**: the change is real (the test's chance, corrected by Holm for all measures of the gate, is
//!   at most the error rate; and it stands out of what same-against-same shows) *and* matters: the
//!   estimate is at or above the threshold. **better** likewise.
//! - **same**: the whole interval lies within the threshold. It is a finding, not the lack of one.
//! - **can't tell** otherwise.
//!
//! Counted measures have no distribution to speak of: the counts of one program must agree within half
//! the threshold, and then the ratio decides.
//!
//! Without any difference, the chance of a single "worse" in a whole gate is at most the error rate.

use serde::{Deserialize, Serialize};

use super::measure::Measure;
use super::run::Series;
use super::statistics::{self, Comparison};
use crate::quantile::quantile;

/// What came of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Better,
    Same,
    Worse,
    CantTell,
}

impl Verdict {
    /// How tables call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Same => "same",
            Verdict::Worse => "worse",
            Verdict::CantTell => "can't tell",
        }
    }
}

/// What was found about one measure in one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finding {
    pub(crate) measure: Measure,
    /// The figure of all runs of each side.
    pub(crate) base: f64,
    pub(crate) candidate: f64,
    /// Candidate / base, as the paired rounds say; 1 without rounds.
    pub(crate) ratio: f64,
    /// Its interval of 95 % confidence, if there are enough rounds for one.
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// The change that matters, as a share.
    pub(crate) threshold: f64,
    /// How far the same program differs from itself: one standard deviation, as a share. For a counted
    /// measure, how far apart its counts are.
    pub(crate) spread: f64,
    /// Rounds that were compared; several were merged into one where `merged` is above 1.
    pub(crate) rounds: usize,
    pub(crate) merged: usize,
    /// The chance of such a result without a difference, corrected for the number of measures: of one
    /// that is higher, and of one that is lower.
    pub(crate) p_worse: Option<f64>,
    pub(crate) p_better: Option<f64>,
    pub(crate) verdict: Verdict,
    /// What more it would take, if it can't be told.
    pub(crate) more_rounds: Option<u64>,
    /// Whether the verdict counts, or is only shown.
    pub(crate) judged: bool,
    /// Base and candidate of each round.
    pub(crate) series: Vec<[f64; 2]>,
}

/// More rounds than that are not counted: the change is then too close to the threshold.
pub(crate) const MORE_ROUNDS_MAX: f64 = 10_000.0;

/// A measure's figures before the verdict.
pub(crate) struct Figures {
    pub(crate) measure: Measure,
    pub(crate) threshold: f64,
    pub(crate) judged: bool,
    pub(crate) series: Series,
}

/// Judges all noisy measures of a gate together. `alpha` is the chance that a gate without any difference
/// says "worse" of anything.
pub(crate) fn judge(figures: Vec<Figures>, alpha: f64) -> Vec<Finding> {
    let compared: Vec<(Comparison, f64)> = figures
        .iter()
        .map(|figures| {
            let same = logs(&figures.series.same);
            (statistics::compare(&logs(&figures.series.rounds)), statistics::spread(&same))
        })
        .collect();
    let family: Vec<usize> = (0..figures.len()).filter(|&at| figures[at].judged).collect();
    let corrected = |chance: fn(&Comparison) -> f64| {
        let chances: Vec<f64> = family.iter().map(|&at| chance(&compared[at].0)).collect();
        let mut all: Vec<Option<f64>> = vec![None; figures.len()];
        family.iter().zip(statistics::holm(&chances)).for_each(|(&at, chance)| all[at] = Some(chance));
        all
    };
    let (worse, better) = (corrected(|c| c.p_higher), corrected(|c| c.p_lower));
    let tests = family.len().max(1) as f64;
    let found = figures.into_iter().zip(compared).zip(worse.into_iter().zip(better));
    found
        .map(|((figures, (comparison, spread)), (p_worse, p_better))| {
            let noise = Noise { spread, alpha, tests };
            // Those that are not judged are shown with the verdict they would have by themselves.
            let chances = [p_worse.unwrap_or(comparison.p_higher), p_better.unwrap_or(comparison.p_lower)];
            let room = figures.threshold.ln_1p();
            let rounds = figures.series.rounds.len();
            let verdict = decide(&comparison, chances, &noise, rounds, room);
            // Without same-against-same nothing is known of the noise.
            let more_rounds = (verdict == Verdict::CantTell && !figures.series.same.is_empty())
                .then(|| rounds_run_more(&comparison, &noise, room, &figures.series))
                .filter(|&more| more <= MORE_ROUNDS_MAX)
                .map(|more| more.ceil() as u64);
            let finite = |log: f64| log.is_finite().then(|| log.exp());
            let [base, candidate] = figures.series.overall;
            Finding {
                measure: figures.measure,
                base,
                candidate,
                ratio: comparison.center.exp(),
                low: finite(comparison.low),
                high: finite(comparison.high),
                threshold: figures.threshold,
                spread: spread.exp_m1(),
                rounds,
                merged: figures.series.merged,
                p_worse,
                p_better,
                verdict,
                more_rounds,
                judged: figures.judged,
                series: figures.series.rounds,
            }
        })
        .collect()
}

/// What is known of a measure's noise, and how strict to be.
struct Noise {
    /// Of one round's logarithm, from same-against-same.
    spread: f64,
    alpha: f64,
    /// Tests of the whole gate.
    tests: f64,
}

fn decide(comparison: &Comparison, chances: [f64; 2], noise: &Noise, rounds: usize, room: f64) -> Verdict {
    // What the same program's runs alone would explain.
    let explained =
        statistics::normal_quantile(1.0 - noise.alpha) * noise.spread / (rounds.max(1) as f64).sqrt();
    let [p_worse, p_better] = chances;
    let center = comparison.center;
    if p_worse <= noise.alpha && center >= room && center > explained {
        Verdict::Worse
    } else if p_better <= noise.alpha && center <= -room && center < -explained {
        Verdict::Better
    } else if -room < comparison.low && comparison.high < room {
        Verdict::Same
    } else {
        Verdict::CantTell
    }
}

/// How many rounds more would settle it, from the spread of same-against-same.
fn more_rounds(comparison: &Comparison, noise: &Noise, rounds: usize, room: f64) -> f64 {
    let have = rounds as f64;
    // Fewer than these can't pass the test however loud they are: it may have to be passed against all
    // the others.
    let least = statistics::rounds_for_chance(noise.alpha / noise.tests);
    let needed = statistics::rounds_needed(noise.spread, room).max(least);
    if needed > have {
        return needed - have;
    }
    // There are enough for a clear case, so this is none: the estimate is near the threshold, or the
    // candidate's rounds vary more than the same program's. Then the interval itself says what it takes,
    // shrinking with the root of the number.
    let width = (comparison.high - comparison.low) / 2.0;
    let distance = (room - comparison.center.abs()).abs();
    let needed = if width.is_finite() { have * (width / distance).powi(2) } else { 2.0 * have };
    (needed - have).max(1.0)
}

/// The same in rounds to be run, of which several may make one and some may be of no use.
fn rounds_run_more(comparison: &Comparison, noise: &Noise, room: f64, series: &Series) -> f64 {
    let more = more_rounds(comparison, noise, series.rounds.len(), room);
    more * series.merged as f64 / series.sound.max(0.01)
}

/// The logarithms of the second over the first; pairs without figures are left out.
fn logs(pairs: &[[f64; 2]]) -> Vec<f64> {
    pairs.iter().map(|[first, second]| (second / first).ln()).filter(|log| log.is_finite()).collect()
}

/// Judges a counted measure.
pub(crate) fn judge_counts(
    measure: Measure,
    counts: &[Vec<f64>; 2],
    threshold: f64,
    judged: bool,
) -> Finding {
    let [base, candidate] = counts.each_ref().map(|counts| quantile(counts.clone(), 0.5).unwrap_or(0.0));
    let range = |counts: &Vec<f64>| {
        let most = counts.iter().copied().fold(f64::MIN, f64::max);
        let least = counts.iter().copied().fold(f64::MAX, f64::min);
        most / least - 1.0
    };
    let spread = counts.iter().map(range).fold(0.0, f64::max);
    let ratio = candidate / base;
    let verdict = match ratio.ln() {
        _ if spread > threshold / 2.0 || !ratio.is_finite() => Verdict::CantTell,
        change if change >= threshold.ln_1p() => Verdict::Worse,
        change if change <= -threshold.ln_1p() => Verdict::Better,
        _ => Verdict::Same,
    };
    let pair = |(base, candidate): (&f64, &f64)| [*base, *candidate];
    Finding {
        measure,
        base,
        candidate,
        ratio,
        low: None,
        high: None,
        threshold,
        spread,
        rounds: counts[0].len(),
        merged: 1,
        p_worse: None,
        p_better: None,
        verdict,
        more_rounds: None,
        judged,
        series: counts[0].iter().zip(&counts[1]).map(pair).collect(),
    }
}

#[cfg(test)]
mod tests;
