//! Real clients: what users already run, against the real program on both drivers, over plain connections, TLS and
//! mutual TLS.
//!
//! Each file is one client. A client that is not installed skips its tests loudly; `.ci/run` installs them all.
//! That an answer was right is asserted by the client; that it went the way it should, by metrics.
//!
//! Not here: all pairs of protocols feature by feature (`matrix`), malformed traffic (`wire`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "what a test helper can't do fails the test; helpers are shared by test programs"
)]

#[path = "../support/peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod curl;
mod envoy;
mod grpc;
mod h2load;
mod http2;
mod openssl;
mod scene;
mod websocket;
