//! Why a header block is refused, and what is said about it.
//!
//! Not here: what the client gets (`crate::fault`).

use super::super::frame::ErrorCode;
use super::super::hpack::Broken;
use crate::fault::Fault;

/// Why a header block is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// It can't be decompressed: the connection is of no use any more.
    Compression,
    /// What it says is malformed (RFC 9113 section 8.1.1): the stream is reset.
    Malformed(&'static str),
    /// It is beyond its limit, in bytes or in fields.
    TooLarge,
    /// The path is beyond its limit.
    UriTooLong,
    /// `expect` is something else than `100-continue`.
    Expectation,
}

impl BlockError {
    /// What the client is told, or would be, when its request has this error.
    pub const fn fault(self) -> Fault {
        match self {
            BlockError::Compression | BlockError::Malformed(_) => Fault::BadRequest,
            BlockError::TooLarge => Fault::HeadTooLarge,
            BlockError::UriTooLong => Fault::UriTooLong,
            BlockError::Expectation => Fault::ExpectationUnsupported,
        }
    }

    /// What the client is told when the upstream's response has this error.
    pub const fn upstream_fault(self) -> Fault {
        match self {
            BlockError::TooLarge => Fault::UpstreamHeadTooLarge,
            _ => Fault::UpstreamMalformed,
        }
    }

    /// The code for the peer, of the connection with [`BlockError::Compression`], else of the stream.
    pub const fn code(self) -> ErrorCode {
        match self {
            BlockError::Compression => ErrorCode::COMPRESSION_ERROR,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// Whether a request with this error is well-formed, so that it is answered rather than reset.
    pub const fn is_answered(self) -> bool {
        matches!(self, BlockError::TooLarge | BlockError::UriTooLong | BlockError::Expectation)
    }

    /// A short reason for logs.
    pub const fn reason(self) -> &'static str {
        match self {
            BlockError::Compression => "header block can't be decompressed",
            BlockError::Malformed(reason) => reason,
            BlockError::TooLarge => "header list too large",
            BlockError::UriTooLong => "path too long",
            BlockError::Expectation => "unsupported expectation",
        }
    }
}

impl From<Broken> for BlockError {
    fn from(Broken: Broken) -> Self {
        BlockError::Compression
    }
}
