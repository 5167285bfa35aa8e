//! The families of HTTP/2 connections, summed over shards.

use pinion_core::http::h2::Flood;
use pinion_core::telemetry::names::{self, Family};
use pinion_core::telemetry::stats::ShardStats;
use pinion_core::telemetry::{Http2Stats, Side};

use super::Page;

/// Picks one total of a side.
type Of = fn(&Http2Stats) -> u64;

/// Writes all of them.
pub(super) fn http2(page: &mut Page, shards: &[&ShardStats]) {
    let sum = |side: Side, of: &dyn Fn(&Http2Stats) -> u64| {
        shards.iter().map(|shard| of(&shard.http2[side as usize])).sum::<u64>()
    };
    let by_side: [(&Family, Of); 5] = [
        (&names::HTTP2_CONNECTIONS, |stats| stats.connections_total.get()),
        (&names::HTTP2_CONNECTIONS_ACTIVE, |stats| stats.connections_active.get()),
        (&names::HTTP2_STREAMS, |stats| stats.streams_total.get()),
        (&names::HTTP2_STREAMS_ACTIVE, |stats| stats.streams_active.get()),
        (&names::HTTP2_PINGS_FAILED, |stats| stats.pings_failed.get()),
    ];
    for (family, of) in by_side {
        page.head(family);
        for side in Side::ALL {
            page.sample(family, &[side.label()], sum(side, &of));
        }
    }
    let both_ways: [(&Family, Of, Of); 2] = [
        (&names::HTTP2_RESETS, |stats| stats.resets_received.get(), |stats| stats.resets_sent.get()),
        (&names::HTTP2_GOAWAYS, |stats| stats.goaways_received.get(), |stats| stats.goaways_sent.get()),
    ];
    for (family, received, sent) in both_ways {
        page.head(family);
        for side in Side::ALL {
            page.sample(family, &[side.label(), "received"], sum(side, &received));
            page.sample(family, &[side.label(), "sent"], sum(side, &sent));
        }
    }
    page.head(&names::HTTP2_FLOODS);
    for side in Side::ALL {
        for &flood in Flood::ALL {
            let floods = sum(side, &|stats: &Http2Stats| stats.floods[flood as usize].get());
            page.sample(&names::HTTP2_FLOODS, &[side.label(), flood.label()], floods);
        }
    }
}
