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
//! 1. A newcomer joins the queue when somebody is in it ([`Pending::is_empty`] is false), even if a credit
//!    is free: otherwise it would overtake.
//! 2. On `Wait`, an idle connection of another endpoint of the cluster may hold the credit that is
//!    missing: [`PoolLedger::evict_oldest`] there, then `acquire` again, then join the queue.
//! 3. A connection that a request is done with goes to the first waiter as it is (it stays active, no call
//!    of the ledger); only without a waiter it is released.
//! 4. A credit that comes free serves the first waiter before it is given back: `acquire` with that credit.
//! 5. Idle connections must not starve other shards: while requests of the cluster wait on another shard,
//!    release with `reusable = false` and, each tick, evict as many idle connections as are waited for.
//!    A waiter is woken by its own shard's tick when the credit came free elsewhere.
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
