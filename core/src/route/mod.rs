//! Where a request goes: routes, how one is found, and why another one was not.
//!
//! - [`RouteSpec`]: a route with its conditions, as the configuration gives it ([`matcher`]);
//! - [`Precedence`]: which of two matching routes wins, a total order ([`order`]);
//! - [`conflicts`]: ties and routes that can't be reached ([`conflict`]);
//! - [`RouteTable`]: finds the winner without looking at all of them ([`table`], the hot path);
//! - [`explain()`]: the decision with its reasons, for people and programs ([`mod@explain`]).
//!
//! Not here: reading configuration (`config`), choosing an endpoint (`balance`).

pub use conflict::{Conflict, conflicts};
pub use explain::{Explanation, Question, QuestionError, explain};
pub use matcher::{HostMatch, NamedMatch, PathMatch, Pattern, PatternError, RouteSpec, ValueMatch};
pub use order::Precedence;
pub use scratch::MatchScratch;
pub use table::RouteTable;

use crate::fault::Fault;
use crate::http::HeaderEdits;
use crate::http::edits::Line;
use crate::http::grpc::{Code, Codes, Methods};
use crate::id::{ClusterIndex, RouteId, RouteIndex};
use std::time::Duration;

pub mod conflict;
pub mod explain;
pub mod matcher;
pub mod order;
mod scratch;
pub mod table;

/// What happens to a request, once it is known that this route takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Outlives snapshots, as long as the name stays.
    pub id: RouteId,
    /// The place in [`RouteTable::routes`].
    pub index: RouteIndex,
    /// Given, or derived from the conditions; unique.
    pub name: Box<str>,
    /// Who answers.
    pub action: Action,
    /// CONNECT requests become tunnels to the cluster; else they are refused.
    pub connect: bool,
    /// From the request's first byte to the last one of the answer; never for tunnels.
    pub timeout: Option<Duration>,
    /// Whether and when the request is tried again.
    pub retry: Option<Retry>,
    /// What is done for gRPC.
    pub grpc: Grpc,
    /// Changes to the head that the upstream gets.
    pub request_headers: HeaderEdits,
    /// Changes to the head that the client gets.
    pub response_headers: HeaderEdits,
}

/// Who answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One cluster.
    Cluster(ClusterIndex),
    /// One of several clusters, by weight.
    Split(Split),
    /// The proxy itself.
    Direct(DirectResponse),
}

/// Clusters with relative weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Each cluster with the sum of the weights up to and including its own; never empty, sums ascend.
    parts: Box<[(u64, ClusterIndex)]>,
}

impl Split {
    /// A split over `parts`, leaving out those of weight zero; `None` when nothing is left.
    pub fn new(parts: impl IntoIterator<Item = (ClusterIndex, u32)>) -> Option<Self> {
        let mut sum = 0u64;
        let parts: Box<[_]> = parts
            .into_iter()
            .filter(|&(_, weight)| weight > 0)
            .map(|(cluster, weight)| {
                sum += u64::from(weight);
                (sum, cluster)
            })
            .collect();
        (!parts.is_empty()).then_some(Split { parts })
    }

    /// The cluster for one request, given a uniformly random number.
    pub fn pick(&self, random: u64) -> ClusterIndex {
        // The high half of random × total is uniform in 0..total, with a bias below total / 2^64.
        let point = ((u128::from(random) * u128::from(self.total())) >> 64) as u64;
        let place = self.parts.partition_point(|&(sum, _)| sum <= point);
        self.parts[place.min(self.parts.len() - 1)].1
    }

    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.parts.last().map_or(0, |&(sum, _)| sum)
    }

    /// Every cluster with its own weight.
    pub fn parts(&self) -> impl Iterator<Item = (ClusterIndex, u64)> + '_ {
        let mut before = 0;
        self.parts.iter().map(move |&(sum, cluster)| (cluster, sum - std::mem::replace(&mut before, sum)))
    }
}

/// An answer of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// Header fields, names in lower case, framing fields excluded.
    pub headers: Box<[Line]>,
    /// The body; empty for 204, 205 and 304.
    pub body: Box<[u8]>,
}

/// What a route does for gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// gRPC-Web is translated.
    pub web: bool,
    /// Methods that are counted one by one.
    pub methods: Methods,
}

/// When a request is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first, at least 1.
    pub attempts: u32,
    /// What asks for another try.
    pub on: RetryOn,
}

/// What asks for another try; the names are Envoy's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection could be made: `connect-failure`.
    pub connect_failure: bool,
    /// The upstream refused the stream before working on it: `refused-stream`.
    pub refused_stream: bool,
    /// The upstream did not answer at all (closed, reset, timed out): `reset`.
    pub reset: bool,
    /// Any status from 500 on, or no answer at all: `5xx`.
    pub server_error: bool,
    /// 502, 503 or 504: `gateway-error`.
    pub gateway_error: bool,
    /// These statuses: `retriable-status-codes`.
    pub statuses: Box<[u16]>,
    /// gRPC's statuses: `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`.
    pub grpc: Codes,
}

impl RetryOn {
    /// Whether a response of this status asks for another try.
    pub fn status(&self, status: u16) -> bool {
        (self.server_error && (500..600).contains(&status))
            || (self.gateway_error && (502..=504).contains(&status))
            || self.statuses.contains(&status)
    }

    /// Whether a gRPC response that has nothing but this status asks for another try.
    pub fn grpc_status(&self, code: Code) -> bool {
        self.grpc.has(code)
    }

    /// Whether a try that ended with `fault` asks for another one. Whether the request may be sent again
    /// is another question, which the exchange answers.
    pub fn fault(&self, fault: Fault) -> bool {
        match fault {
            Fault::ConnectLocal | Fault::ConnectFailed | Fault::ConnectTimeout | Fault::UpstreamTls => {
                self.connect_failure || self.server_error
            }
            Fault::StreamRefused => self.refused_stream || self.reset || self.server_error,
            Fault::StaleConnection
            | Fault::UpstreamClosed
            | Fault::UpstreamReset
            | Fault::FirstByteTimeout => self.reset || self.server_error,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_follows_its_weights() {
        let split = Split::new([(ClusterIndex(0), 90), (ClusterIndex(1), 0), (ClusterIndex(2), 10)]).unwrap();
        assert_eq!(split.total(), 100);
        assert_eq!(split.parts().collect::<Vec<_>>(), [(ClusterIndex(0), 90), (ClusterIndex(2), 10)]);
        let mut counts = [0u32; 3];
        for step in 0..1000u64 {
            counts[split.pick(step * (u64::MAX / 1000)).index()] += 1;
        }
        assert!(counts[0].abs_diff(900) <= 1 && counts[1] == 0, "{counts:?}");
        assert_eq!(split.pick(0), ClusterIndex(0));
        assert_eq!(split.pick(u64::MAX), ClusterIndex(2));
        assert_eq!(Split::new([(ClusterIndex(0), 0)]), None);
    }

    #[test]
    fn weights_do_not_overflow() {
        let split = Split::new((0..1000).map(|cluster| (ClusterIndex(cluster), u32::MAX))).unwrap();
        assert_eq!(split.pick(u64::MAX), ClusterIndex(999));
    }

    #[test]
    fn retry_conditions() {
        let only = |set: fn(&mut RetryOn)| {
            let mut on = RetryOn::default();
            set(&mut on);
            on
        };
        let server_error = only(|on| on.server_error = true);
        assert!(server_error.status(500) && server_error.status(599) && !server_error.status(499));
        assert!(
            server_error.fault(Fault::UpstreamTls)
                && server_error.fault(Fault::ConnectFailed)
                && server_error.fault(Fault::UpstreamClosed)
        );
        let gateway = only(|on| on.gateway_error = true);
        assert!(!gateway.status(500) && gateway.status(502) && gateway.status(504) && !gateway.status(505));
        assert!(!gateway.fault(Fault::ConnectFailed));
        let grpc = only(|on| on.grpc.add(Code::UNAVAILABLE));
        assert!(
            grpc.grpc_status(Code::UNAVAILABLE) && !grpc.grpc_status(Code::INTERNAL) && !grpc.status(503)
        );
        let listed = only(|on| on.statuses = [409].into());
        assert!(listed.status(409) && !listed.status(503));
        let reset = only(|on| on.reset = true);
        assert!(reset.fault(Fault::FirstByteTimeout) && !reset.fault(Fault::ConnectTimeout));
        assert!(!reset.fault(Fault::UpstreamMalformed));
    }
}
