//! What is decided about TLS without doing any cryptography.
//!
//! - [`hello`]: the name a client asks for, read from its ClientHello without taking part in the handshake.
//!
//! Not here: handshakes, keys, sockets.

pub mod hello;
