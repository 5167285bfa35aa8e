//! Request methods, and what they promise.

/// A request method (RFC 9110 section 9, RFC 5789).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Method {
    /// Fetch a representation.
    #[default]
    Get,
    /// Fetch only its head.
    Head,
    /// Let the resource process the content.
    Post,
    /// Replace the resource.
    Put,
    /// Remove the resource.
    Delete,
    /// Ask for a tunnel.
    Connect,
    /// Ask what is possible.
    Options,
    /// Loop the request back.
    Trace,
    /// Change the resource in part.
    Patch,
    /// Any other token; treated as neither safe nor idempotent.
    Other,
}

impl Method {
    /// The method that `token` names; methods are case-sensitive (RFC 9110 section 9.1).
    #[inline]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Method::Get,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"HEAD" => Method::Head,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            b"OPTIONS" => Method::Options,
            b"CONNECT" => Method::Connect,
            b"TRACE" => Method::Trace,
            _ => Method::Other,
        }
    }

    /// Whether asking changes nothing (RFC 9110 section 9.2.1).
    pub const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// Whether asking twice is the same as asking once (RFC 9110 section 9.2.2).
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }

    /// Whether content in a request has no defined meaning (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5): some
    /// servers leave such content unread and take it for the next request.
    pub const fn content_undefined(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Delete)
    }
}
