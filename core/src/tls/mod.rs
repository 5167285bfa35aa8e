//! TLS as far as it is decisions: who a peer is and who may come, what a client asks for, what went wrong.
//!
//! - [`identity`]: SPIFFE ids, what a certificate says of its owner, and who is permitted;
//! - [`forwarded`]: the element of `X-Forwarded-Client-Cert` that tells an upstream;
//! - [`hello`]: the name a client asks for, read from its ClientHello without taking part in the handshake;
//! - [`reason`]: why handshakes fail.
//!
//! Not here: handshakes, keys, sockets, reading certificates (`pinion-proxy`).

pub mod forwarded;
pub mod hello;
pub mod identity;
pub mod reason;

pub use forwarded::{CertDetails, ForwardedCert};
pub use identity::{IdentityMatch, PeerIdentity, SpiffeError, SpiffeId, TrustDomain};
