//! What a shard does once a second beside serving: giving memory back, closing idle upstream connections,
//! handing connections to colder shards, refreshing gauges.

use std::rc::Rc;
use std::time::Duration;

use super::Shard;
use super::slots::Kick;
use crate::sys::alloc;

/// How often the chores are done.
const PERIOD: Duration = Duration::from_secs(1);
/// Memory of a peak is given back after this many periods without need.
const TRIM_PERIODS: u32 = 5;
/// A shard holds "far more than its share" from one and a half times the share plus this many on.
const SHARE_SLACK: u64 = 16;
/// Connections moved a period, so that moving is never a storm.
const MOVES_MAX: usize = 64;

/// Does the chores for ever.
pub(super) async fn run(shard: Rc<Shard>) {
    let lease = shard.slots.lease();
    let (mut periods, mut held, mut freed) = (0_u32, 0, false);
    loop {
        lease.sleep(PERIOD).await;
        periods = periods.wrapping_add(1);
        if periods.is_multiple_of(TRIM_PERIODS) {
            let trimmed = shard.buffers.trim() + shard.seats.trim() + shard.trips.trim() + shard.h2.trim();
            let connections = shard.stats.connections_active.get();
            freed |= trimmed > 0 || connections < held;
            held = connections;
        }
        // Giving memory back takes its time, which no request shall wait for; while requests go on, the
        // allocator gives back by itself.
        if freed && shard.stats.requests_active.get() == 0 {
            alloc::give_back();
            freed = false;
        }
        shard.upstreams.expire();
        shard.upstreams.forget_unclaimed();
        rebalance(&shard);
        shard.h2.placement.look(&shard);
        refresh(&shard);
    }
}

/// Refreshes the gauges that nothing on the request path needs to write.
pub(super) fn refresh(shard: &Shard) {
    shard.stats.buffers_in_use.set(shard.buffers.in_use() as u64);
    shard.stats.buffer_bytes.set(shard.buffers.bytes() as u64);
    shard.count_allocations();
}

/// Moves idle connections to the coldest shard when this one holds far more than its share.
fn rebalance(shard: &Shard) {
    let Some(peers) = shard.peers.get() else {
        return;
    };
    if peers.len() < 2 || shard.draining().is_some() {
        return;
    }
    let held = |at: usize| peers[at].stats.connections_active.get();
    let total: u64 = (0..peers.len()).map(held).sum();
    let (mine, share) = (held(shard.link.index), total / peers.len() as u64);
    if mine < share + share / 2 + SHARE_SLACK {
        return;
    }
    let Some(coldest) = (0..peers.len()).min_by_key(|&at| held(at)) else {
        return;
    };
    let surplus = usize::try_from(mine - share).unwrap_or(usize::MAX).min(MOVES_MAX);
    let asked = shard.slots.kick_idle(Kick::Move(coldest), surplus);
    shard.stats.connections_rebalanced.add(asked as u64);
}
