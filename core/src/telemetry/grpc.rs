//! The totals of one shard's gRPC requests, for one method of a route.

use super::counters::Counter;
use crate::http::grpc::Code;

/// What one shard did for one method of a route, or for all that are not listed.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct GrpcStats {
    /// Requests by their status, by [`Code::number`]; the last place is for those that ended without one.
    pub responses: [Counter; Code::COUNT + 1],
}

impl GrpcStats {
    /// The label of the last place.
    pub const NONE: &'static str = "none";

    /// Counts one finished request.
    #[inline]
    pub fn finished(&self, code: Option<Code>) {
        self.responses[code.map_or(Code::COUNT, |code| usize::from(code.number()))].inc();
    }

    /// The places that were counted, with their labels.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        Code::ALL.iter().map(|code| code.label()).chain([GrpcStats::NONE])
    }
}

impl Default for GrpcStats {
    fn default() -> Self {
        GrpcStats { responses: [const { Counter::new() }; Code::COUNT + 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_a_place_and_a_label() {
        let stats = GrpcStats::default();
        stats.finished(Some(Code::UNAVAILABLE));
        stats.finished(None);
        stats.finished(None);
        let counts: Vec<_> = GrpcStats::labels().zip(stats.responses.iter().map(Counter::get)).collect();
        assert_eq!(counts[14], ("unavailable", 1));
        assert_eq!(counts[Code::COUNT], ("none", 2));
        assert_eq!(counts.len(), Code::COUNT + 1);
    }
}
