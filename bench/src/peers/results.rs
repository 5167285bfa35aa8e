//! What was found: samples of figures, by case and subject.

use std::fmt;

use super::plan::Case;
use super::subject::Subject;
use crate::units::show_nanos;

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// CPU time of the proxy per request, in nanoseconds.
    Cpu,
    /// Ticks in the proxy's own code during the measurement.
    UserTicks,
    /// Ticks in the kernel for the proxy during the measurement.
    SystemTicks,
    /// System calls of the proxy per request.
    SystemCalls,
    /// From the first request of a batch out to its last answer in, in nanoseconds: the median.
    RoundTrip,
    /// Requests answered in a second.
    PerSecond,
    /// Share of its CPU that the proxy used, in hundredths.
    CpuUsed,
    /// Latency in nanoseconds, from the due time in an open loop: half were faster.
    P50,
    /// 99 % were faster.
    P99,
    /// 99.9 % were faster.
    P999,
    /// 1 if the load generator did not certify the run (it was late itself, or the machine was), or could not
    /// send everything; else 0.
    Uncertified,
    /// Private bytes before any connection.
    IdleBytes,
    /// Private bytes for each idle connection.
    ConnectionBytes,
}

impl Figure {
    /// The name in JSON, with the unit.
    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::Cpu => "cpu_nanos_per_request",
            Figure::UserTicks => "user_ticks",
            Figure::SystemTicks => "system_ticks",
            Figure::SystemCalls => "system_calls_per_request",
            Figure::RoundTrip => "round_trip_p50_nanos",
            Figure::PerSecond => "requests_per_second",
            Figure::CpuUsed => "cpu_used_percent",
            Figure::P50 => "latency_p50_nanos",
            Figure::P99 => "latency_p99_nanos",
            Figure::P999 => "latency_p99_9_nanos",
            Figure::Uncertified => "uncertified",
            Figure::IdleBytes => "idle_bytes",
            Figure::ConnectionBytes => "connection_bytes",
        }
    }
}

/// What one measurement found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample(pub(super) Vec<(Figure, f64)>);

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        for &(figure, value) in &self.0 {
            words.extend(match figure {
                Figure::Cpu => Some(format!("{:.2} µs CPU", value / 1e3)),
                Figure::SystemCalls => Some(format!("{value:.2} system calls")),
                Figure::RoundTrip => Some(format!("round trip {}", show_nanos(value))),
                Figure::PerSecond => Some(format!("{value:.0}/s")),
                Figure::CpuUsed => Some(format!("{value:.0} % of the CPU")),
                Figure::P50 => Some(format!("p50 {}", show_nanos(value))),
                Figure::P99 => Some(format!("p99 {}", show_nanos(value))),
                Figure::IdleBytes => Some(format!("{:.0} KiB", value / 1024.0)),
                Figure::ConnectionBytes => Some(format!("{value:.0} B a connection")),
                Figure::Uncertified if value > 0.0 => Some("not certified".to_owned()),
                Figure::UserTicks | Figure::SystemTicks | Figure::P999 | Figure::Uncertified => None,
            });
        }
        f.write_str(&words.join(", "))
    }
}

/// What was found about one subject in one case.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) subject: Subject,
    pub(super) samples: Vec<Sample>,
}

impl Row {
    /// All values of a figure, in the order they were found.
    pub(super) fn values(&self, figure: Figure) -> Vec<f64> {
        let all = self.samples.iter().flat_map(|sample| &sample.0);
        all.filter(|(found, _)| *found == figure).map(|&(_, value)| value).collect()
    }

    /// A quantile of a figure, between the two nearest values in proportion.
    pub(super) fn quantile(&self, figure: Figure, quantile: f64) -> Option<f64> {
        crate::quantile::quantile(self.values(figure), quantile)
    }

    /// The figure to compare of costs: disturbance only ever adds to them.
    pub(super) fn first_quartile(&self, figure: Figure) -> Option<f64> {
        self.quantile(figure, 0.25)
    }

    /// The middle of a figure.
    pub(super) fn median(&self, figure: Figure) -> Option<f64> {
        self.quantile(figure, 0.5)
    }

    /// How far the values lie apart: the range between the quartiles as a share of the median.
    pub(super) fn spread(&self, figure: Figure) -> Option<f64> {
        let range = self.quantile(figure, 0.75)? - self.quantile(figure, 0.25)?;
        Some(range / self.median(figure)?).filter(|spread| spread.is_finite())
    }

    /// The share of CPU time that was spent in the proxy's own code, over all samples: one alone has too
    /// few ticks.
    pub(super) fn user_share(&self) -> Option<f64> {
        let sum = |figure| self.values(figure).iter().sum::<f64>();
        let (user, system) = (sum(Figure::UserTicks), sum(Figure::SystemTicks));
        Some(user / (user + system)).filter(|share| share.is_finite())
    }

    /// How often it was measured.
    pub(super) fn runs(&self) -> usize {
        self.samples.iter().filter(|sample| sample.0.iter().any(|(f, _)| *f != Figure::SystemCalls)).count()
    }
}

/// The whole comparison.
#[derive(Default)]
pub(super) struct Results {
    pub(super) rows: Vec<Row>,
    /// What failed, as sentences.
    pub(super) failures: Vec<String>,
    /// Time was over, or the user ended it, before everything was measured.
    pub(super) ended_early: bool,
    /// How often each subject was to be measured in each case.
    pub(super) repeats: u32,
}

impl Results {
    /// What was found in one case.
    pub(super) fn row(&self, case: Case, subject: Subject) -> Option<&Row> {
        self.rows.iter().find(|row| row.case == case && row.subject == subject)
    }

    /// The cases that were measured and that `wanted` picks, in their order.
    pub(super) fn cases(&self, wanted: impl Fn(&Case) -> bool) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for row in &self.rows {
            if wanted(&row.case) && !cases.contains(&row.case) {
                cases.push(row.case);
            }
        }
        cases
    }

    /// The subjects that were measured, in the order of the tables.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        let measured = |subject: &Subject| self.rows.iter().any(|row| row.subject == *subject);
        Subject::ALL.into_iter().filter(measured).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::address::Transport;
    use crate::peers::plan::Section;
    use crate::peers::traffic::Traffic;

    #[test]
    fn shares_come_from_the_ticks_of_all_samples() {
        let case = Case {
            section: Section::Lockstep,
            bytes: 100,
            connections: 1,
            streams: 1,
            traffic: Traffic::Http1,
            transport: Transport::Tcp,
            rate: 0,
        };
        let sample = |user, system| Sample(vec![(Figure::UserTicks, user), (Figure::SystemTicks, system)]);
        let row = |samples| Row { case, subject: Subject::Nginx, samples };
        assert_eq!(row(vec![sample(1.0, 3.0), sample(0.0, 4.0)]).user_share(), Some(0.125));
        assert_eq!(row(vec![sample(0.0, 0.0)]).user_share(), None);
        assert_eq!(row(vec![]).spread(Figure::Cpu), None);
    }
}
