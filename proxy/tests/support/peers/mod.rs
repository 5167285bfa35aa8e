//! What stands around the program in tests with real peers: certificates, origins, programs that may not be installed.
//!
//! Nothing here shares code with the program under test: the origin is `pinion-load`, the certificates are `rcgen`'s.
//!
//! Not here: single bytes on the wire (`support/wire`).

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

pub mod certificates;
pub mod origin;
pub mod tools;
