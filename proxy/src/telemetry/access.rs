//! The access log's way off the shard: one byte ring for each, filled by [`AccessSink::push`].
//!
//! ```text
//!   shard ── encode ──▶ scratch ── copy ──▶ ring (LOG_RING_BYTES, one producer, one consumer) ──▶ writer
//! ```
//!
//! Invariants:
//! - a record is in the ring whole or not at all;
//! - a full ring is a counted drop, never a wait; nobody wakes anybody (the writer looks by itself);
//! - a shard pushes only while [`AccessSink::enabled`], so that a log that is off costs one load.
//!
//! Not here: formatting and files ([`writer`](super::writer)).
//!
//! HOT: 0 allocations, 0 locks, 0 system calls a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pinion_core::limits::LOG_RING_BYTES;
use pinion_core::telemetry::record::{AccessEntry, RECORD_BYTES_MAX};
use pinion_core::telemetry::stats::ShardStats;
use rtrb::{Consumer, Producer, RingBuffer};

/// A shard's end of the access log.
#[derive(Debug)]
pub(crate) struct AccessSink {
    enabled: Arc<AtomicBool>,
    ring: Producer<u8>,
    scratch: Vec<u8>,
    stats: Arc<ShardStats>,
}

/// Makes a shard's ring: its end and the writer's. Records count as dropped in `stats`.
pub(crate) fn ring(enabled: Arc<AtomicBool>, stats: Arc<ShardStats>) -> (AccessSink, Consumer<u8>) {
    let (ring, consumer) = RingBuffer::new(LOG_RING_BYTES);
    // ALLOC: once for each shard, at start.
    let scratch = Vec::with_capacity(RECORD_BYTES_MAX);
    (AccessSink { enabled, ring, scratch, stats }, consumer)
}

impl AccessSink {
    /// Whether anybody wants records; ask before gathering an entry.
    #[inline]
    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Hands one entry to the writer. `false`: the ring was full and the record is lost, and counted.
    pub(crate) fn push(&mut self, entry: &AccessEntry<'_>) -> bool {
        self.scratch.clear();
        entry.encode(&mut self.scratch);
        let kept = self.ring.push_entire_slice(&self.scratch).is_ok();
        if !kept {
            self.stats.log_dropped.inc();
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use pinion_core::telemetry::record::decode;

    use super::*;

    #[test]
    fn a_full_ring_drops_and_counts() {
        let stats = Arc::new(ShardStats::default());
        let (mut sink, mut consumer) = ring(Arc::new(AtomicBool::new(true)), Arc::clone(&stats));
        assert!(sink.enabled());
        let entry = AccessEntry { method: b"GET", path: b"/a", ..AccessEntry::default() };
        let mut record = Vec::new();
        entry.encode(&mut record);
        let fit = LOG_RING_BYTES / record.len();
        for _ in 0..fit {
            assert!(sink.push(&entry));
        }
        assert!(!sink.push(&entry) && !sink.push(&entry));
        assert_eq!(stats.log_dropped.get(), 2);
        assert_eq!(consumer.slots(), fit * record.len(), "no part of a dropped record is in the ring");
        let mut first = vec![0; record.len()];
        consumer.pop_entire_slice(&mut first).unwrap();
        assert_eq!(decode(&first).unwrap().entry, entry);
        assert!(sink.push(&entry), "there is room again");
    }
}
