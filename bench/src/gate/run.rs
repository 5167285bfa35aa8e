//! The rounds of a scenario: pairs of runs in alternating order, and what becomes of them for each measure.
//!
//! ```text
//! run     1  2   3  4   5  6   7  8         A base, B candidate
//!         A  B   B  A   A  B   B  A   …
//! round   └1─┘   └2─┘   └3─┘   └4─┘         what changed: B against A
//! same       └──┘   └──┘   └──┘             same against same: B against B, A against A
//! ```
//!
//! Each side goes first as often as the other, so that a machine that grows slower or faster meets both.
//! The runs between which a round ends are the same program twice in a row: an A/A comparison on this
//! machine, in these minutes, that costs nothing.
//!
//! A percentile needs requests beyond it. Where a run has too few, the histograms of several rounds are
//! merged into one: exactly, as if they had been one longer run.

use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::count::{self, Counter};
use super::measure::Measure;
use super::sample::{self, Sample};
use super::scenario::Scenario;
use super::side::Side;
use super::stage::Setting;
use crate::Problem;
use crate::quantile::quantile;
use crate::signals::Stop;

/// Requests beyond a percentile that make it worth the name.
const BEYOND_MIN: f64 = 20.0;

/// What the runs of one scenario found, in the order in which they ran: A B, B A, …
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) samples: Vec<Sample>,
    /// Counted measures, with the counts of base and of candidate.
    pub(crate) counts: Vec<(Measure, [Vec<f64>; 2])>,
    /// Counted measures that this machine can't count.
    pub(crate) missing: Vec<Measure>,
}

/// The figures of one measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// Base and candidate of each round, or of several merged ones.
    pub(crate) rounds: Vec<[f64; 2]>,
    /// The same program twice in a row.
    pub(crate) same: Vec<[f64; 2]>,
    /// How many rounds were merged into one.
    pub(crate) merged: usize,
    /// The share of rounds that could be used.
    pub(crate) sound: f64,
    /// The figure of all runs of a side: the percentile of all requests, else the median.
    pub(crate) overall: [f64; 2],
}

/// What a whole gate has in common.
pub(crate) struct Gate<'a> {
    pub(crate) setting: &'a Setting<'a>,
    /// Base and candidate.
    pub(crate) sides: &'a [Side; 2],
    pub(crate) counter: Counter,
    pub(crate) stop: &'a Stop,
    /// Where the generator's reports are kept, if they are.
    pub(crate) keep: Option<&'a Path>,
    /// When to stop measuring.
    pub(crate) deadline: Instant,
    /// Whether to leave the noisy or the counted measures out.
    pub(crate) timed: bool,
    pub(crate) counted: bool,
}

/// The side of the n-th run: A B B A A B B A.
fn side_of(run: usize) -> usize {
    usize::from(matches!(run % 4, 1 | 2))
}

impl Gate<'_> {
    /// Runs a scenario's rounds, unless time is up.
    ///
    /// # Errors
    /// A side fails twice in one place.
    pub(crate) fn run(&self, scenario: &Scenario, rounds: u32) -> Result<Runs, Problem> {
        let mut runs = Runs::default();
        if self.counted {
            self.count(scenario, &mut runs)?;
        }
        if !self.timed {
            return Ok(runs);
        }
        for round in 0..rounds as usize {
            if self.is_over() {
                // Whole turns of A B B A only.
                runs.samples.truncate(runs.samples.len() / 4 * 4);
                break;
            }
            for run in [2 * round, 2 * round + 1] {
                let side = &self.sides[side_of(run)];
                // A busy machine may starve a program once.
                let sample = sample::run(self.setting, side, scenario)
                    .or_else(|problem| {
                        eprintln!("{}: {}: {problem}; again", scenario.name, side.label);
                        sample::run(self.setting, side, scenario)
                    })
                    .map_err(|e| format!("{}: {}: {e}", scenario.name, side.label))?;
                runs.samples.push(sample);
                self.keep(scenario, run)?;
            }
            eprintln!("{:<24} round {:>3} of {rounds}  {}", scenario.name, round + 1, runs.last_round());
        }
        Ok(runs)
    }

    /// Keeps the generator's report of a run, if that is wanted and it made one.
    fn keep(&self, scenario: &Scenario, run: usize) -> Result<(), Problem> {
        let report = self.setting.folder.join(sample::REPORT);
        let Some(folder) = self.keep.filter(|_| report.is_file()) else { return Ok(()) };
        let side = ["base", "candidate"][side_of(run)];
        let kept = folder.join(format!("{}-{:03}-{side}.json", scenario.name, run + 1));
        std::fs::copy(&report, &kept).map(drop).map_err(|e| format!("can't write {}: {e}", kept.display()))
    }

    fn is_over(&self) -> bool {
        self.stop.is_set() || Instant::now() >= self.deadline
    }

    fn count(&self, scenario: &Scenario, runs: &mut Runs) -> Result<(), Problem> {
        let Some(how) = &scenario.count else { return Ok(()) };
        for &measure in scenario.judge.keys().filter(|measure| measure.is_counted()) {
            let mut counts = [Vec::new(), Vec::new()];
            for run in 0..2 * how.repeats as usize {
                let side = side_of(run);
                let count =
                    count::per_request(self.setting, self.counter, &self.sides[side], scenario, how, measure)
                        .map_err(|e| format!("{}: counting {}: {e}", scenario.name, measure.label()))?;
                let Some(count) = count else { break };
                eprintln!(
                    "{:<24} {:<10} {} {}",
                    scenario.name,
                    ["base", "candidate"][side],
                    measure.show(count),
                    measure.label()
                );
                counts[side].push(count);
            }
            if counts[1].is_empty() {
                runs.missing.push(measure);
            } else {
                runs.counts.push((measure, counts));
            }
        }
        Ok(())
    }
}

impl Runs {
    /// How many pairs of runs there are.
    pub(crate) fn rounds(&self) -> usize {
        self.samples.len() / 2
    }

    /// Requests without a proper answer, and all, of each side.
    pub(crate) fn errors(&self) -> [(u64, u64); 2] {
        let mut sums = [(0, 0); 2];
        for (run, sample) in self.samples.iter().enumerate() {
            let (errors, all) = &mut sums[side_of(run)];
            *errors += sample.errors;
            *all += sample.answered + sample.errors;
        }
        sums
    }

    /// Why latencies are in doubt, and in how many runs.
    pub(crate) fn doubts(&self) -> (usize, Option<&str>) {
        let mut doubts = self.samples.iter().filter_map(|sample| sample.doubt.as_deref());
        let first = doubts.next();
        (usize::from(first.is_some()) + doubts.count(), first)
    }

    /// A measure's figures; `None` if not every run has it. Latencies that the generator does not vouch
    /// for are left out, with their whole round.
    pub(crate) fn series(&self, measure: Measure) -> Option<Series> {
        let Some(share) = measure.quantile() else { return self.plain(measure) };
        let histograms: Option<Vec<&Histogram<u64>>> =
            self.samples.iter().map(|sample| sample.latency.as_ref()).collect();
        let Some(histograms) = histograms.filter(|histograms| !histograms.is_empty()) else {
            return self.plain(measure);
        };
        let fewest = histograms.iter().map(|histogram| histogram.len()).min().unwrap_or(0);
        let merged = merged_rounds(fewest, share);
        let value = |runs: &[usize]| {
            let mut all = histograms[runs[0]].clone();
            for &run in &runs[1..] {
                // They have the same form: both are the generator's.
                let _ = all.add(histograms[run]);
            }
            all.value_at_quantile(share) as f64
        };
        let sound = |run: &usize| self.samples[*run].doubt.is_none();
        let groups = |mut pairs: Vec<[usize; 2]>| -> Vec<[f64; 2]> {
            pairs.retain(|pair| pair.iter().all(sound));
            let sides = |group: &[[usize; 2]]| {
                [0, 1].map(|side| value(&group.iter().map(|pair| pair[side]).collect::<Vec<_>>()))
            };
            pairs.chunks_exact(merged).map(sides).collect()
        };
        let of_side = |side| {
            let all = (0..histograms.len()).filter(|&run| side_of(run) == side);
            let sound: Vec<usize> = all.clone().filter(sound).collect();
            value(&if sound.is_empty() { all.collect() } else { sound })
        };
        let usable = self.pairs().iter().filter(|pair| pair.iter().all(sound)).count();
        Some(Series {
            rounds: groups(self.pairs()),
            same: groups(self.same_pairs()),
            merged,
            sound: usable as f64 / self.rounds().max(1) as f64,
            overall: [of_side(0), of_side(1)],
        })
    }

    fn plain(&self, measure: Measure) -> Option<Series> {
        let values: Option<Vec<f64>> =
            self.samples.iter().map(|sample| sample.values.get(&measure).copied()).collect();
        let values = values.filter(|values| !values.is_empty())?;
        let of = |pairs: Vec<[usize; 2]>| pairs.into_iter().map(|pair| pair.map(|run| values[run])).collect();
        let of_side = |side| {
            let runs = (0..values.len()).filter(|&run| side_of(run) == side);
            quantile(runs.map(|run| values[run]).collect(), 0.5).unwrap_or(0.0)
        };
        let overall = [of_side(0), of_side(1)];
        Some(Series { rounds: of(self.pairs()), same: of(self.same_pairs()), merged: 1, sound: 1.0, overall })
    }

    /// The runs of base and candidate in each round.
    fn pairs(&self) -> Vec<[usize; 2]> {
        let pair = |round: usize| match side_of(2 * round) {
            0 => [2 * round, 2 * round + 1],
            _ => [2 * round + 1, 2 * round],
        };
        (0..self.rounds()).map(pair).collect()
    }

    /// Neighbours of one side.
    fn same_pairs(&self) -> Vec<[usize; 2]> {
        (1..self.rounds()).map(|round| [2 * round - 1, 2 * round]).collect()
    }

    fn last_round(&self) -> String {
        let last = self.pairs().last().copied().unwrap_or([0, 0]);
        let show = |run: usize| {
            let sample = &self.samples[run];
            let cpu = sample.values.get(&Measure::Cpu).map(|&value| Measure::Cpu.show(value));
            let p99 = sample.latency.as_ref().map(|latency| latency.value_at_quantile(0.99) as f64);
            let p99 = p99.map(|p99| Measure::P99.show(p99));
            format!(
                "CPU {} p99 {}{}",
                cpu.as_deref().unwrap_or("-"),
                p99.as_deref().unwrap_or("-"),
                if sample.doubt.is_some() { " (in doubt)" } else { "" }
            )
        };
        format!("base {}, candidate {}", show(last[0]), show(last[1]))
    }
}

/// How many rounds make one figure of a percentile: a power of two, so that merged rounds hold as many
/// of either order.
fn merged_rounds(requests: u64, share: f64) -> usize {
    let beyond = requests as f64 * (1.0 - share);
    let wanted = (BEYOND_MIN / beyond.max(0.01)).ceil().max(1.0);
    (wanted as usize).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64]) -> Runs {
        let sample = |&value: &f64| Sample { values: [(Measure::Cpu, value)].into(), ..Sample::default() };
        Runs { samples: values.iter().map(sample).collect(), ..Runs::default() }
    }

    #[test]
    fn pairs_are_base_and_candidate_whatever_their_order() {
        // A B B A A B: base 1, 4, 5; candidate 2, 3, 6.
        let series = runs(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).series(Measure::Cpu).unwrap();
        assert_eq!(series.rounds, [[1.0, 2.0], [4.0, 3.0], [5.0, 6.0]]);
        assert_eq!(series.same, [[2.0, 3.0], [4.0, 5.0]]);
        assert_eq!(series.overall, [4.0, 3.0]);
        assert_eq!(runs(&[1.0, 2.0]).series(Measure::MemoryIdle), None);
        assert_eq!(Runs::default().series(Measure::Cpu), None);
    }

    #[test]
    fn rounds_are_merged_until_a_percentile_has_requests_beyond_it() {
        // 12,000 requests: 120 beyond p99, 12 beyond p99.9.
        assert_eq!((merged_rounds(12_000, 0.99), merged_rounds(12_000, 0.999)), (1, 2));
        assert_eq!((merged_rounds(600, 0.99), merged_rounds(600, 0.999)), (4, 64));
        let sample = |from: u64| {
            let mut latency = Histogram::new(3).unwrap();
            (from..from + 1000).for_each(|value| latency.record(value).unwrap());
            Sample { latency: Some(latency), ..Sample::default() }
        };
        // Eight runs, A B B A A B B A; 10 beyond p99 in each: pairs of rounds are merged.
        let runs = Runs { samples: [0, 100, 100, 0, 0, 100, 100, 0].map(sample).into(), ..Runs::default() };
        let series = runs.series(Measure::P99).unwrap();
        assert_eq!((series.merged, series.rounds.len(), series.same.len()), (2, 2, 1));
        for [base, candidate] in series.rounds {
            assert!((base - 989.0).abs() < 2.0 && (candidate - 1089.0).abs() < 2.0, "{base} {candidate}");
        }
        assert_eq!(series.same[0][0], series.same[0][1]);
        assert!((series.overall[1] - series.overall[0] - 100.0).abs() < 2.0);
    }

    #[test]
    fn errors_belong_to_their_side() {
        let sample = |errors| Sample { errors, answered: 10, ..Sample::default() };
        let runs = Runs { samples: [1, 2, 4, 8].map(sample).into(), ..Runs::default() };
        assert_eq!(runs.errors(), [(9, 29), (6, 26)]);
    }
}
