//! How a request is judged (RFC 9113, sections 8.2 and 8.3), field by field as it is decoded.
//!
//! ```text
//! :method :scheme :authority :path, each once, in any order │ regular fields │ no pseudo-header behind one
//! CONNECT: only :method and :authority; with :protocol (RFC 8441) all of them
//! ```

use crate::http2::Fields;
use crate::http2::fields::{self, ContentLength};

/// Where a pseudo-header stands in the list.
type Place = Option<usize>;

/// A request's head, or its trailers.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) fields: Fields,
    pub(super) length: ContentLength,
    wrong: Option<&'static str>,
    is_trailers: bool,
    has_regular: bool,
    method: Place,
    scheme: Place,
    authority: Place,
    path: Place,
    protocol: Place,
    host: Place,
}

impl Request {
    /// Without fields yet.
    pub(super) fn new(is_trailers: bool) -> Self {
        Request { is_trailers, fields: Fields::new(), ..Request::default() }
    }

    /// Takes the next field; what is wrong with it is kept, and the rest is no longer looked at.
    pub(super) fn on_field(&mut self, name: &[u8], value: &[u8]) {
        if self.wrong.is_none() {
            self.wrong = self.take(name, value).err();
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let at = self.fields.len();
        if name.first() == Some(&b':') {
            self.take_pseudo(name, value, at)?;
        } else {
            self.has_regular = true;
            fields::check(name, value, true)?;
            match name {
                b"content-length" if !self.is_trailers => self.length.take(value)?,
                b"host" if self.host.replace(at).is_some() => return Err("more than one Host"),
                _ => {}
            }
        }
        self.fields.add(name, value);
        Ok(())
    }

    fn take_pseudo(&mut self, name: &[u8], value: &[u8], at: usize) -> Result<(), &'static str> {
        if self.is_trailers {
            return Err("a pseudo-header in trailers");
        }
        if self.has_regular {
            return Err("a pseudo-header behind a regular one");
        }
        fields::check_value(value)?;
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b":protocol" => &mut self.protocol,
            _ => return Err("an unknown pseudo-header in a request"),
        };
        if place.replace(at).is_some() {
            return Err("a pseudo-header twice");
        }
        Ok(())
    }

    /// The verdict, when all fields have come. `fits`: the list was not too long.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, fits: bool, end: bool, connect_protocol: bool) -> Result<(), &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if !fits {
            return Err("a header list too long");
        }
        if self.is_trailers {
            return if end { Ok(()) } else { Err("trailers that are not the end") };
        }
        let method = self.value(self.method).ok_or("a request without a method")?;
        if method.is_empty() || !method.iter().all(|&byte| crate::message::is_token(byte)) {
            return Err("a method that is no token");
        }
        if self.protocol.is_some() && !(connect_protocol && method == b"CONNECT") {
            return Err("a protocol that was not asked for");
        }
        if method == b"CONNECT" && self.protocol.is_none() {
            if self.scheme.is_some() || self.path.is_some() {
                return Err("CONNECT with a scheme or a path");
            }
            self.value(self.authority).filter(|value| !value.is_empty()).ok_or("CONNECT without a target")?;
        } else {
            self.check_target(method)?;
        }
        self.check_authority()?;
        if self.length.admits(0, end) || !end { Ok(()) } else { Err("content of a wrong length") }
    }

    fn check_target(&self, method: &[u8]) -> Result<(), &'static str> {
        let scheme = self.value(self.scheme).ok_or("a request without a scheme")?;
        let path = self.value(self.path).ok_or("a request without a path")?;
        if scheme.is_empty() {
            return Err("an empty scheme");
        }
        match path {
            [] => Err("an empty path"),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ if path.contains(&b' ') || path.contains(&b'#') => Err("a path with a space or a fragment"),
            [b'/', ..] => Ok(()),
            _ if matches!(scheme, b"http" | b"https") => Err("a path that does not begin with a slash"),
            _ => Ok(()),
        }
    }

    /// `:authority` and `host` say the same, if both are there (RFC 9113, section 8.3.1).
    fn check_authority(&self) -> Result<(), &'static str> {
        let (authority, host) = (self.value(self.authority), self.value(self.host));
        if authority.is_some_and(|authority| authority.contains(&b'@')) {
            return Err("an authority with a user");
        }
        match (authority, host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                Err("Host differs from the authority")
            }
            _ => Ok(()),
        }
    }

    fn value(&self, place: Place) -> Option<&[u8]> {
        self.fields.iter().nth(place?).map(|(_, value)| value)
    }
}
