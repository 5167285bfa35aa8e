//! HTTP/1.0 and HTTP/1.1 on the wire (RFC 9112): reading heads, relaying bodies, writing messages, and
//! the decisions of one exchange.
//!
//! Invariants: one message has one reading; a head or chunk line that has two is refused.
//!
//! Not here: what is the same in every HTTP version ([`super::head`], [`super::normalize`]).

pub mod body;
pub mod conn;
pub mod encode;
mod error;
mod fields;
pub mod parse;
mod scan;
mod trailers;

pub(crate) use encode::decimal as write_decimal;
pub(crate) use encode::{forwarded, is_bodiless, reason_phrase};
pub(crate) use fields::{decimal, list};
pub(crate) use scan::control_at;
pub(crate) use trailers::is_forbidden;
