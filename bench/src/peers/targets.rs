//! What Pinion's cost is to be at most, as a share of each peer's: the design's targets.
//!
//! `must` is what a comparison has to find, `goal` what is aimed at. Cases without a row have no target: their
//! ratios are shown and judged by nobody.

use super::address::Transport;
use super::plan::{Case, Section};
use super::subject::Subject;
use super::traffic::Traffic;

/// An upper bound of a ratio of costs, and a better one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) must: f64,
    pub(super) goal: Option<f64>,
}

/// Subjects with what must be met and what is aimed at, 0 for nothing.
type Rows = &'static [(Subject, f64, f64)];

const SATURATED: Rows = &[
    (Subject::Haproxy, 0.87, 0.72),
    (Subject::Nginx, 0.93, 0.77),
    (Subject::Pingora, 0.55, 0.45),
    (Subject::Envoy, 0.37, 0.30),
];
const MANY: Rows = &[
    (Subject::Haproxy, 0.78, 0.65),
    (Subject::Nginx, 0.85, 0.71),
    (Subject::Pingora, 0.46, 0.38),
    (Subject::Envoy, 0.28, 0.23),
];
const ONE: Rows = &[
    (Subject::Haproxy, 0.87, 0.79),
    (Subject::Nginx, 1.0, 0.91),
    (Subject::Pingora, 0.77, 0.70),
    (Subject::Envoy, 0.57, 0.51),
];
const MIDDLE: Rows = &[
    (Subject::Haproxy, 0.75, 0.0),
    (Subject::Nginx, 0.88, 0.0),
    (Subject::Pingora, 0.50, 0.0),
    (Subject::Envoy, 0.45, 0.0),
];
const LARGE: Rows = &[
    (Subject::Haproxy, 0.50, 0.0),
    (Subject::Nginx, 0.75, 0.0),
    (Subject::Pingora, 0.55, 0.0),
    (Subject::Envoy, 0.50, 0.0),
];
const UNIX: Rows = &[(Subject::Haproxy, 0.72, 0.0), (Subject::Nginx, 0.77, 0.0), (Subject::Envoy, 0.27, 0.0)];
const HTTP2: Rows = &[(Subject::Haproxy, 1.0, 0.45), (Subject::Envoy, 0.70, 0.32)];
const HTTP2_TO_HTTP1: Rows =
    &[(Subject::Haproxy, 0.8, 0.0), (Subject::Nginx, 0.47, 0.0), (Subject::Envoy, 0.36, 0.0)];

/// The target of a case against a peer.
pub(super) fn target(case: Case, peer: Subject) -> Option<Target> {
    let rows = match (case.section, case.transport, case.bytes, case.connections) {
        (Section::Lockstep, Transport::Tcp, 100, 1) => ONE,
        (Section::Lockstep, Transport::Tcp, 100, 64) => SATURATED,
        (Section::Lockstep, Transport::Tcp, 100, 128) => MANY,
        (Section::Lockstep, Transport::Tcp, 10_240, _) => MIDDLE,
        (Section::Lockstep, Transport::Tcp, 1_048_576, _) => LARGE,
        (Section::Lockstep, Transport::Unix, 100, 64) => UNIX,
        (Section::Transports, _, _, 4) if case.streams == 32 => match case.traffic {
            Traffic::Http2 => HTTP2,
            Traffic::Http2ToHttp1 => HTTP2_TO_HTTP1,
            _ => &[],
        },
        _ => &[],
    };
    let row = rows.iter().find(|(subject, ..)| *subject == peer);
    row.map(|&(_, must, goal)| Target { must, goal: Some(goal).filter(|goal| *goal > 0.0) })
}

impl Target {
    /// `0.83 (0.93 / 0.77)`; a ratio above what it must be is marked.
    pub(super) fn judge(self, ratio: f64) -> String {
        let mark = if ratio > self.must { " ✗" } else { "" };
        let goal = self.goal.map_or(String::new(), |goal| format!(" / {goal:.2}"));
        format!("{ratio:.2}{mark} ({:.2}{goal})", self.must)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_beside_their_targets() {
        let case = |traffic, streams| Case {
            section: Section::Transports,
            bytes: 100,
            connections: 4,
            streams,
            traffic,
            transport: Transport::Tcp,
            rate: 0,
        };
        let http2 = target(case(Traffic::Http2, 32), Subject::Haproxy).unwrap();
        assert_eq!(http2.judge(0.5), "0.50 (1.00 / 0.45)");
        assert_eq!(http2.judge(1.01), "1.01 ✗ (1.00 / 0.45)");
        let to_http1 = target(case(Traffic::Http2ToHttp1, 32), Subject::Nginx).unwrap();
        assert_eq!(to_http1.judge(0.4), "0.40 (0.47)");
        assert_eq!(target(case(Traffic::Http2, 1), Subject::Haproxy), None);
        assert_eq!(target(case(Traffic::Http2, 32), Subject::Floor), None);
    }
}
