//! The client's side of the protocols: where to connect, what to send, how an answer is read.

pub(crate) mod calls;
pub(crate) mod echo;
pub(crate) mod failure;
pub(crate) mod http1;
pub(crate) mod proxy_protocol;
pub(crate) mod request;
pub(crate) mod sizes;
pub(crate) mod streams;
pub(crate) mod target;
pub(crate) mod tls;
pub(crate) mod websocket;
pub(crate) mod wire;
