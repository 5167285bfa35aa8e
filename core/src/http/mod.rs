//! HTTP as Pinion understands it: heads, bodies, what is forwarded, and the one form of host and path.
//!
//! ```text
//!   bytes ─▶ h1::parse ─▶ head (spans) ─▶ normalize ─▶ view ─▶ (route, edits) ─▶ h1::encode ─▶ bytes
//!                body ─▶ h1::body (same buffer, canonical framing) ────────────────────────▶ bytes
//!                               h1::conn decides reuse, retries and response framing
//! ```
//!
//! Invariants: whatever could be read in two ways is refused here or rewritten on the way out, so that
//! no upstream reads another message than the one decided upon.
//!
//! Not here: sockets, buffers, deadlines.

pub mod edits;
pub mod grpc;
pub mod h1;
pub mod h2;
pub mod head;
mod known;
mod method;
pub mod normalize;
mod owned;
pub mod upgrade;
pub mod view;

pub use edits::HeaderEdits;
pub use head::{Field, Fields, Framing, Known, Method, RequestHead, ResponseHead, Span, TargetForm, Version};
pub use normalize::{Normalised, PathRefused, normalize_host, normalize_path};
pub use owned::OwnedRequest;
pub use upgrade::{UpgradeRefused, Upgrades};
pub use view::{HeadView, RequestView};
