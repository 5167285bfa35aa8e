//! Traffic through the real program, byte by byte, on both drivers: the promises of the data plane as a
//! client and an upstream see them on the wire.
//!
//! Each file is one theme; each test starts its own process per driver and plays both ends (`wire`). That a
//! path was taken or a fault had the right name is asserted by metrics, not by the answer alone.
//!
//! Not here: configuration and admin port (`reload`, `admin`, `cli`), splitting of single messages at every
//! byte (the parsers' own property tests in `core`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "what a test helper can't do fails the test; helpers are shared by test programs"
)]

#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/wire/mod.rs"]
mod wire;

mod addresses;
mod bodies;
mod connect;
mod counted;
mod drain;
mod duplex;
mod endurance;
mod framing;
mod grpc;
mod h2_costs;
mod h2_lives;
mod h2_peer;
mod h2_placement;
mod heads;
mod interim;
mod limits;
mod logged;
mod proxy_header_in;
mod proxy_header_out;
mod refused;
mod retry;
mod reuse;
mod routing;
mod sni_routes;
mod tcp_pass;
mod tcp_tls;
mod timeouts;
mod tls;
mod tls_example;
mod tls_identity;
mod tls_rotation;
mod tunnel_ends;
mod tunnels;
