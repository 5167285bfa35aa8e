//! Client and server against each other.
