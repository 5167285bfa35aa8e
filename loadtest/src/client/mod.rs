//! The client's side of the protocols: where to connect, what to send, how an answer is read.

pub(crate) mod connection;
pub(crate) mod failure;
pub(crate) mod h1;
pub(crate) mod request;
pub(crate) mod target;
