//! TLS as far as it is decisions: who a peer is and who may come, what a client asks for, what went wrong.
//!
//! - [`identity`]: SPIFFE ids, what a certificate says of its owner, and who is permitted;
//! - [`forwarded`]: the element of `X-Forwarded-Client-Cert` that tells an upstream;
//! - [`reason`]: why handshakes fail.
//!
//! Not here: handshakes, keys, reading certificates (`pinion-proxy`).

pub mod forwarded;
pub mod identity;
pub mod reason;

pub use forwarded::{CertDetails, ForwardedCert};
pub use identity::{IdentityMatch, PeerIdentity, SpiffeError, SpiffeId, TrustDomain};
