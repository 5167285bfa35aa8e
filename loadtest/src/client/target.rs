//! Where the load goes: a URL, taken apart once.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// The parts of an `http` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Host and port as they were written: the value of the Host header.
    pub(crate) authority: String,
    /// The host alone, without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Path and query.
    pub(crate) path: String,
}

impl Target {
    /// The first address of the host.
    ///
    /// # Errors
    /// The name can't be resolved.
    pub(crate) fn resolve(&self) -> io::Result<SocketAddr> {
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("`{scheme}` is not spoken here, only http")),
            None => return Err("a URL begins with http://".to_owned()),
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let path = path.split('#').next().unwrap_or_default();
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("a URL has no spaces or control characters".to_owned());
        }
        if authority.contains('@') {
            return Err("user names in a URL are not supported, use --header".to_owned());
        }
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority[bracket..].rfind(':') {
            Some(colon) => {
                let (host, port) = authority.split_at(bracket + colon);
                let port = port[1..].parse().map_err(|_| format!("`{}` is not a port", &port[1..]))?;
                (host, port)
            }
            None => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("the URL has no host".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { authority: authority.to_owned(), host: host.to_owned(), port, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, host: &str, port: u16, path: &str| {
            let target: Target = url.parse().unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, target.path.as_str()),
                (host, port, path),
                "{url}"
            );
        };
        check("http://a", "a", 80, "/");
        check("http://a:8080/b?c=/d#e", "a", 8080, "/b?c=/d");
        check("http://a?c", "a", 80, "/?c");
        check("http://[::1]:81/", "::1", 81, "/");
        check("http://[::1]/", "::1", 80, "/");
        for wrong in
            ["a", "https://a/", "http://", "http://:80/", "http://a:x/", "http://u@a/", "http://a/ b"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
