//! The upstream side: this one asks servers of the `h2` crate.
