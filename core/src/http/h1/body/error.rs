//! Why a body is refused, and what that means on either side.

use crate::fault::Fault;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk size that is empty, no hexadecimal number, or beyond 2^63.
    ChunkSize,
    /// A chunk line or its extensions have control bytes, a bare CR or LF, or stray white space.
    ChunkLine,
    /// Chunk lines or extensions beyond their limit.
    ChunkLineTooLong,
    /// Chunk data not followed by CR LF.
    ChunkEnd,
    /// A malformed trailer section.
    Trailers,
    /// A trailer section beyond its limit.
    TrailersTooLarge,
    /// The connection closed before the body's end.
    Truncated,
}

impl BodyError {
    /// The fault when the body is a request's.
    pub const fn fault(self) -> Fault {
        match self {
            BodyError::TrailersTooLarge => Fault::TrailersTooLarge,
            BodyError::Truncated => Fault::ClientGone,
            _ => Fault::BadBody,
        }
    }

    /// The fault when the body is a response's.
    pub const fn upstream_fault(self) -> Fault {
        match self {
            BodyError::Truncated => Fault::UpstreamTruncated,
            _ => Fault::UpstreamBadBody,
        }
    }

    /// A short reason for logs.
    pub const fn reason(self) -> &'static str {
        match self {
            BodyError::ChunkSize => "invalid chunk size",
            BodyError::ChunkLine => "invalid chunk line",
            BodyError::ChunkLineTooLong => "chunk line too long",
            BodyError::ChunkEnd => "chunk data not followed by CR LF",
            BodyError::Trailers => "invalid trailer section",
            BodyError::TrailersTooLarge => "trailer section too large",
            BodyError::Truncated => "body ended early",
        }
    }
}
