//! Upstream connection pools: which connection a request takes, who waits, what is kept idle.
//!
//! ```text
//!                 credit (whole proxy, one per connection, of the cluster)
//!                    |
//!  request ── acquire ──> Reuse(key) ────────────┐
//!                    ├──> Connect ── connected ──┴─> active ── release ──> idle ── expire, evict,
//!                    │        └───── failed ───> gone           └──> gone    └──> idle_closed: gone
//!                    └──> Wait ── Pending (FIFO, deadline) ── pop ──> served
//!                                        └── expire ──> refused (503 UO)
//! ```
//!
//! [`PoolLedger`] counts the connections of one endpoint on one shard, [`Pending`] holds the requests of
//! one cluster that wait on one shard. Both are plain data: the shard calls them and does what they say.
//!
//! How the shard puts them together, so that limits hold and waiting is fair:
//!
//! 1. A newcomer refuses those whose deadline has come ([`Pending::expire`]), then joins the queue if
//!    somebody is in it, even if a credit is free: otherwise it would overtake.
//! 2. On `Wait`, idle connections of the cluster's other endpoints may hold the credit that is missing:
//!    [`PoolLedger::evict_oldest`] and `acquire` again until it is had or nothing is idle; then it joins
//!    the queue. (One eviction is enough unless the limit was lowered below what is taken.)
//! 3. A connection that a request is done with goes to the first waiter as it is (it stays active, no call
//!    of the ledger); only without a waiter it is released.
//! 4. A credit that comes free serves the first waiter before it is given back: `acquire` with that credit.
//! 5. Idle connections must not starve other shards: what [`short_by`] says is closed, on release (with
//!    `reusable = false`) and, each tick, from the idle ones. The same rule follows a lowered limit. A
//!    waiter whose credit came free on another shard takes it at its own shard's next tick.
//!
//! Invariants:
//! - `idle + active + connecting` of a ledger is the number of credits taken for it and not given back;
//! - a key is idle at most once, and never handed out twice without a release between;
//! - every waiter leaves the queue exactly once: served, refused, or cancelled by its owner.
//!
//! Not here: sockets, the credit counter itself (it is shared by shards), which endpoint is chosen
//! (`balance`), timers (callers ask [`PoolLedger::next_expiry`] and [`Pending::next_deadline`]).

mod ledger;
mod pending;

pub use ledger::{Acquire, IdleLimits, PoolLedger, Released};
pub use pending::{Full, Pending, Ticket};

/// How many connections a shard should give up for others: those by which the credits taken and the
/// requests waiting on other shards are together beyond the limit.
///
/// Two ticks of every shard are enough for waiters to get whatever was idle anywhere (`sim::pool`). The
/// numbers may be a moment old: giving up one connection too many costs a connect, nothing else.
pub const fn short_by(credits_taken: u64, credit_limit: u64, waiting_elsewhere: u64) -> u64 {
    credits_taken.saturating_add(waiting_elsewhere).saturating_sub(credit_limit)
}

#[cfg(test)]
mod sim_tests;
