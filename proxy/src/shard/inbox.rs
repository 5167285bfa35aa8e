//! Acting on messages of the control thread and other shards.

use std::rc::Rc;

use pinion_core::time::Instant;

use super::Shard;
use super::link::ShardMessage;
use super::slots::Kick;
use crate::net::wake::Counter;
use crate::serve;
use crate::upstream::pool;

/// Reads the inbox until told to stop.
pub(super) async fn run(shard: Rc<Shard>, wake: Counter) {
    loop {
        if let Err(error) = wake.wait().await {
            tracing::error!(shard = shard.link.index, %error, "the shard can't be woken any more");
            return;
        }
        shard.adopt();
        pool::give_up_idle(&shard);
        while let Some(message) = shard.link.inbox.pop() {
            match message {
                ShardMessage::Listen { id, fd } => serve::listen::listen(&shard, id, fd),
                ShardMessage::Unlisten { id } => {
                    shard.listening.stop(id);
                    shard.slots.kick_idle(Kick::Leave(id), usize::MAX);
                }
                ShardMessage::Adopt(parked, counted) => serve::connection::adopt(&shard, *parked, counted),
                ShardMessage::Drain { deadline_nanos } => drain(&shard, Instant::from_nanos(deadline_nanos)),
                ShardMessage::Stop => return,
                ShardMessage::Refresh => {}
            }
        }
    }
}

/// Stops accepting and keeping alive; what is in progress may go on until the deadline.
fn drain(shard: &Rc<Shard>, deadline: Instant) {
    shard.drain.set(Some(deadline));
    shard.listening.stop_all();
    shard.slots.kick_idle(Kick::Drain, usize::MAX);
    shard.slots.wake_tunnels();
    shard.upstreams.close_idle();
}
