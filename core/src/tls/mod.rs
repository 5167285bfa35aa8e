//! TLS as far as it is decisions: who a peer is and who may come.
//!
//! - [`identity`]: SPIFFE ids, what a certificate says of its owner, and who is permitted;
//! - [`forwarded`]: the element of `X-Forwarded-Client-Cert` that tells an upstream.
//!
//! Not here: handshakes, keys, reading certificates (`pinion-proxy`).

pub mod forwarded;
pub mod identity;

pub use forwarded::{CertDetails, ForwardedCert};
pub use identity::{IdentityMatch, PeerIdentity, SpiffeError, SpiffeId, TrustDomain};
