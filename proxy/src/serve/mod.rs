//! Serving connections: the life of a request, stage by stage (`ARCHITECTURE.md` has the page).
//!
//! `accept → codec → normalise → route → choose → pool → exchange → respond → record`

pub(crate) mod answer;
pub(crate) mod connection;
mod cross;
pub(crate) mod downstream;
pub(crate) mod exchange;
mod forward;
pub(crate) mod grpc;
mod head;
pub(crate) mod http2;
pub(crate) mod listen;
pub(crate) mod open;
pub(crate) mod proxy_protocol;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod request;
pub(crate) mod respond;
pub(crate) mod seat;
mod sniff;
mod tcp;
mod through;
pub(crate) mod trip;
mod tunnel;
