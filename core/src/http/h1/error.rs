//! Why a head is refused: one table from the reason to the fault on either side.
//!
//! Not here: what the client gets (`crate::fault`).

use crate::fault::Fault;

macro_rules! head_errors {
    ($($(#[$doc:meta])* $name:ident: $fault:ident $upstream:ident $reason:literal;)*) => {
        /// Why a head is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HeadError { $($(#[$doc])* $name,)* }

        impl HeadError {
            /// Every error, for tables.
            pub const ALL: &'static [HeadError] = &[$(HeadError::$name,)*];

            /// What the client is told when its request head has this error.
            pub const fn fault(self) -> Fault {
                match self { $(HeadError::$name => Fault::$fault,)* }
            }

            /// What the client is told when the upstream's response head has this error.
            pub const fn upstream_fault(self) -> Fault {
                match self { $(HeadError::$name => Fault::$upstream,)* }
            }

            /// A short reason for logs.
            pub const fn reason(self) -> &'static str {
                match self { $(HeadError::$name => $reason,)* }
            }
        }
    };
}

head_errors! {
    /// Too many empty lines before the request line, or any before a status line.
    EmptyLines: BadRequest UpstreamMalformed "empty lines before the start line";
    /// A line that does not end with CR LF, or a bare CR.
    LineEnding: BadRequest UpstreamMalformed "line does not end with CR LF";
    /// The method is no token.
    Method: BadRequest UpstreamMalformed "invalid method";
    /// The target has bytes that no target may have, or is of no known form.
    Target: BadRequest UpstreamMalformed "invalid request target";
    /// The target's form does not go with the method.
    TargetForm: BadRequest UpstreamMalformed "request target does not suit the method";
    /// The start line has no well-formed version.
    Version: BadRequest UpstreamMalformed "invalid HTTP version";
    /// A well-formed version that is not spoken here.
    VersionUnsupported: VersionUnsupported UpstreamMalformed "unsupported HTTP version";
    /// The status line is malformed.
    StatusLine: BadRequest UpstreamMalformed "invalid status line";
    /// A field name is no token, is followed by white space, or a line is folded.
    FieldName: BadRequest UpstreamMalformed "invalid field name or folded line";
    /// A field value has a control byte.
    FieldValue: BadRequest UpstreamMalformed "invalid byte in field value";
    /// A field name that could be taken for a framing field or Host.
    FieldLookAlike: BadRequest UpstreamMalformed "field name resembles a framing field";
    /// More fields than [`crate::limits::HEADER_COUNT_MAX`].
    TooManyFields: HeadTooLarge UpstreamHeadTooLarge "too many fields";
    /// The head is beyond its limit.
    HeadTooLarge: HeadTooLarge UpstreamHeadTooLarge "head too large";
    /// The target is beyond its limit.
    UriTooLong: UriTooLong UpstreamMalformed "request target too long";
    /// HTTP/1.1 without Host.
    HostMissing: BadRequest UpstreamMalformed "missing Host";
    /// More than one Host.
    HostRepeated: BadRequest UpstreamMalformed "repeated Host";
    /// Host or the target's authority is no valid authority.
    HostInvalid: BadRequest UpstreamMalformed "invalid Host or authority";
    /// Content-Length is not a plain decimal number below 2^63.
    LengthInvalid: BadRequest UpstreamMalformed "invalid Content-Length";
    /// More than one Content-Length, even if they agree.
    LengthRepeated: BadRequest UpstreamMalformed "repeated Content-Length";
    /// Content-Length and Transfer-Encoding together.
    LengthAndCoding: BadRequest UpstreamMalformed "both Content-Length and Transfer-Encoding";
    /// Transfer-Encoding is malformed, repeated, or does not end with one `chunked`.
    CodingInvalid: BadRequest UpstreamMalformed "invalid Transfer-Encoding";
    /// A transfer coding other than `chunked`.
    CodingUnsupported: CodingUnsupported UpstreamMalformed "unsupported transfer coding";
    /// Transfer-Encoding on HTTP/1.0.
    CodingInHttp10: BadRequest UpstreamMalformed "Transfer-Encoding on HTTP/1.0";
    /// A body where none may be: TRACE, CONNECT, HTTP/1.0 GET, HEAD or DELETE; a 1xx or 204 response.
    BodyForbidden: BadRequest UpstreamMalformed "a body is not allowed here";
    /// Connection is no list of tokens, or names too many fields.
    ConnectionInvalid: BadRequest UpstreamMalformed "invalid Connection";
    /// Expect is something else than `100-continue`.
    ExpectationUnsupported: ExpectationUnsupported UpstreamMalformed "unsupported expectation";
}
