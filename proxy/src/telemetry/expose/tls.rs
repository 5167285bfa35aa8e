//! TLS connections in the exposition: handshakes, who handles records, keys.

use pinion_core::telemetry::tls::{TLS_VERSIONS, TlsPlace, TlsSide, TlsStats};
use pinion_core::telemetry::{ShardStats, names};
use pinion_core::tls::reason::TlsReason;

use super::Page;

/// Writes the families of TLS connections.
pub(super) fn tls(page: &mut Page, shards: &[&ShardStats]) {
    handshakes(page, shards);
    connections(page, shards);
}

fn sum(shards: &[&ShardStats], of: impl Fn(&TlsStats) -> u64) -> u64 {
    shards.iter().map(|shard| of(&shard.tls)).sum()
}

fn handshakes(page: &mut Page, shards: &[&ShardStats]) {
    page.head(&names::TLS_HANDSHAKES);
    for side in TlsSide::ALL {
        for (version, label) in TLS_VERSIONS.into_iter().enumerate() {
            for (resumed, word) in ["false", "true"].into_iter().enumerate() {
                let count = sum(shards, |tls| tls.handshakes[side as usize][version][resumed].get());
                page.sample(&names::TLS_HANDSHAKES, &[side.label(), label, word], count);
            }
        }
    }
    page.head(&names::TLS_HANDSHAKE_FAILURES);
    for side in TlsSide::ALL {
        for reason in TlsReason::all() {
            let count = sum(shards, |tls| tls.failures[side as usize][reason.index()].get());
            page.sample(&names::TLS_HANDSHAKE_FAILURES, &[side.label(), reason.label()], count);
        }
    }
    page.head(&names::TLS_HANDSHAKE_DURATION);
    for side in TlsSide::ALL {
        let parts: Vec<_> = shards.iter().map(|shard| &shard.tls.duration[side as usize]).collect();
        page.histogram(&names::TLS_HANDSHAKE_DURATION, side.label(), &parts);
    }
    page.single(&names::TLS_HANDSHAKES_ACTIVE, &[], sum(shards, |tls| tls.handshaking.get()));
    page.single(&names::TLS_HANDSHAKES_WAITING, &[], sum(shards, |tls| tls.waiting.get()));
}

fn connections(page: &mut Page, shards: &[&ShardStats]) {
    page.head(&names::TLS_CONNECTIONS_ACTIVE);
    for place in TlsPlace::ALL {
        let count = sum(shards, |tls| tls.connections[place as usize].get());
        page.sample(&names::TLS_CONNECTIONS_ACTIVE, &place.labels(), count);
    }
    page.head(&names::TLS_KERNEL_CONNECTIONS);
    page.sample(&names::TLS_KERNEL_CONNECTIONS, &["handed"], sum(shards, |tls| tls.kernel_total.get()));
    page.sample(&names::TLS_KERNEL_CONNECTIONS, &["lost"], sum(shards, |tls| tls.kernel_lost.get()));
    page.head(&names::TLS_KERNEL_KEY_UPDATES);
    for (way, label) in ["received", "sent"].into_iter().enumerate() {
        let count = sum(shards, |tls| tls.key_updates[way].get());
        page.sample(&names::TLS_KERNEL_KEY_UPDATES, &[label], count);
    }
    page.single(&names::TLS_TRUNCATIONS, &[], sum(shards, |tls| tls.truncated.get()));
    page.single(&names::TLS_KEYS_EXHAUSTED, &[], sum(shards, |tls| tls.keys_exhausted.get()));
}
