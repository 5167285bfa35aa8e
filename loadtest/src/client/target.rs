//! Where the load goes: a URL, taken apart once.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTP requests.
    Http,
    /// gRPC calls, which are HTTP/2.
    Grpc,
    /// Messages on WebSocket connections.
    WebSocket,
    /// Bytes that come back.
    Tcp,
}

/// The schemes of URLs: what is spoken, whether in TLS, and the usual port.
const SCHEMES: [(&str, Scheme, bool, u16); 8] = [
    ("http", Scheme::Http, false, 80),
    ("https", Scheme::Http, true, 443),
    ("grpc", Scheme::Grpc, false, 80),
    ("grpcs", Scheme::Grpc, true, 443),
    ("ws", Scheme::WebSocket, false, 80),
    ("wss", Scheme::WebSocket, true, 443),
    ("tcp", Scheme::Tcp, false, 0),
    ("tls", Scheme::Tcp, true, 0),
];

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) is_secure: bool,
    /// Host and port as they were written: the value of the Host header.
    pub(crate) authority: String,
    /// The host alone, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
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

    /// Whether connections to the one serve the other too.
    pub(crate) fn shares_connections(&self, other: &Target) -> bool {
        let parts = |target: &Target| (target.scheme, target.is_secure, target.port);
        parts(self) == parts(other)
            && self.host.eq_ignore_ascii_case(&other.host)
            // These connections are opened with one path and keep to it.
            && (matches!(self.scheme, Scheme::Http | Scheme::Grpc) || self.path == other.path)
    }

    fn scheme_name(&self) -> &'static str {
        let named =
            SCHEMES.iter().find(|(_, scheme, secure, _)| (*scheme, *secure) == (self.scheme, self.is_secure));
        named.map_or("http", |(name, ..)| name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (name, rest) = url.split_once("://").ok_or("a URL begins with http:// or another scheme")?;
        let Some(&(_, scheme, is_secure, usual_port)) = SCHEMES.iter().find(|(known, ..)| *known == name)
        else {
            let known: Vec<&str> = SCHEMES.iter().map(|(name, ..)| *name).collect();
            return Err(format!("`{name}` is not spoken here, only {}", known.join(", ")));
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
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
            None => (authority, usual_port),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("the URL has no host".to_owned());
        }
        if port == 0 {
            return Err("the URL needs a port".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if scheme == Scheme::Grpc && path.trim_matches('/').split('/').count() != 2 {
            return Err("a gRPC URL names the method: grpc://HOST:PORT/package.Service/Method".to_owned());
        }
        Ok(Target { scheme, is_secure, authority: authority.to_owned(), host: host.to_owned(), port, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme_name(), self.authority, self.path)
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
        check("http://a#c", "a", 80, "/");
        check("http://[::1]:81/", "::1", 81, "/");
        check("http://[::1]/", "::1", 80, "/");
        check("https://a/", "a", 443, "/");
        check("wss://a/chat", "a", 443, "/chat");
        check("grpc://a:50051/echo.Echo/Unary", "a", 50051, "/echo.Echo/Unary");
        check("tcp://a:9000", "a", 9000, "/");
        for wrong in [
            "a",
            "ftp://a/",
            "http://",
            "http://:80/",
            "http://a:x/",
            "http://u@a/",
            "http://a/ b",
            "tcp://a",
            "grpc://a/Echo",
            "grpc://a",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
        assert_eq!("grpcs://a:1/b.C/D".parse::<Target>().unwrap().to_string(), "grpcs://a:1/b.C/D");
    }

    #[test]
    fn connections_are_shared_by_paths_but_not_by_hosts_or_sockets_of_one_path() {
        let shares =
            |a: &str, b: &str| a.parse::<Target>().unwrap().shares_connections(&b.parse::<Target>().unwrap());
        assert!(shares("http://a/1", "http://A:80/2"));
        assert!(!shares("http://a/1", "https://a/1"));
        assert!(!shares("http://a/1", "http://b/1"));
        assert!(!shares("ws://a/1", "ws://a/2"));
        assert!(shares("grpc://a/b.C/D", "grpc://a/b.C/E"));
    }
}
