//! What leader and agent say to each other.

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::progress::Reading;
use crate::result::Report;

/// The version of this language; both sides must speak the same.
pub(super) const VERSION: u32 = 1;

/// From the leader.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToAgent {
    /// What to send.
    Order(Box<Order>),
    /// How late is it?
    Ping,
    /// Begin at this time of the agent's monotonic clock, in nanoseconds.
    Begin { at: u64 },
    /// End the run early, and report.
    Stop,
    /// The leader is still there.
    Alive,
}

/// From the agent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToLeader {
    /// What the agent is.
    Welcome {
        program: String,
        /// CPUs that it may use.
        cpus: u32,
    },
    /// Its monotonic clock, in nanoseconds.
    Pong { clock: u64 },
    /// Everything is connected.
    Ready,
    /// The counters so far.
    Told(Reading),
    /// The run is over.
    Done(Box<Report>),
    /// The run could not be done.
    Failed { reason: String },
}
