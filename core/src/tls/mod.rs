//! TLS as far as it is decisions, without any cryptography.
//!
//! - [`hello`]: the name a client asks for, read from its ClientHello without taking part in the handshake;
//! - [`identity`]: SPIFFE ids, what a certificate says of its owner, and who is permitted;
//! - [`forwarded`]: the element of `X-Forwarded-Client-Cert` that tells an upstream.
//!
//! Not here: handshakes, keys, reading certificates, sockets.

pub mod forwarded;
pub mod hello;
pub mod identity;

pub use forwarded::{CertDetails, ForwardedCert};
pub use identity::{IdentityMatch, PeerIdentity, SpiffeError, SpiffeId, TrustDomain};
