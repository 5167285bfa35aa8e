//! What is spoken through a proxy: on which protocol clients come, and on which it goes on.
//!
//! HTTP/1 is the traffic of the sections of old. The others are the cases of `transports`, each with what
//! the load generator is told for it. Every subject is asked whether it can do a traffic at all; what it
//! can't is left out with the reason, so that a gap in a table is never a failure that nobody saw.

use super::subject::Subject;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Traffic {
    /// HTTP/1.1 to HTTP/1.1.
    #[value(skip)]
    Http1,
    /// HTTP/2 with prior knowledge, to HTTP/1.1.
    Http2ToHttp1,
    /// HTTP/2 with prior knowledge, to HTTP/2.
    Http2,
    /// Unary gRPC calls, HTTP/2 on both sides.
    Grpc,
    /// A full TLS handshake for each request, X25519.
    Handshakes,
    /// A full TLS handshake for each request, X25519MLKEM768.
    HybridHandshakes,
    /// A TLS handshake for each request, which resumes a session.
    ResumedHandshakes,
    /// HTTP/1.1 in TLS on kept connections, to plain HTTP/1.1.
    Tls,
    /// HTTP/2 in TLS, to plain HTTP/1.1.
    TlsHttp2,
    /// Bytes, which the upstream sends back.
    Tcp,
}

/// The only suite that clients offer: the servers' libraries prefer different ones.
const SUITE: &str = "tls_aes_128_gcm_sha256";

impl Traffic {
    /// The name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Traffic::Http1 => "http1",
            Traffic::Http2ToHttp1 => "http2-to-http1",
            Traffic::Http2 => "http2",
            Traffic::Grpc => "grpc",
            Traffic::Handshakes => "handshakes",
            Traffic::HybridHandshakes => "hybrid-handshakes",
            Traffic::ResumedHandshakes => "resumed-handshakes",
            Traffic::Tls => "tls",
            Traffic::TlsHttp2 => "tls-http2",
            Traffic::Tcp => "tcp",
        }
    }

    /// What tables call it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Traffic::Http1 => "HTTP/1",
            Traffic::Http2ToHttp1 => "HTTP/2 to HTTP/1",
            Traffic::Http2 => "HTTP/2 to HTTP/2",
            Traffic::Grpc => "gRPC unary",
            Traffic::Handshakes => "TLS handshakes, X25519",
            Traffic::HybridHandshakes => "TLS handshakes, X25519MLKEM768",
            Traffic::ResumedHandshakes => "TLS handshakes, resumed",
            Traffic::Tls => "TLS, HTTP/1",
            Traffic::TlsHttp2 => "TLS, HTTP/2 to HTTP/1",
            Traffic::Tcp => "TCP echo",
        }
    }

    /// Whether clients come in TLS.
    pub(super) fn is_tls(self) -> bool {
        self.is_handshakes() || matches!(self, Traffic::Tls | Traffic::TlsHttp2)
    }

    /// Whether each request comes on a new connection.
    pub(super) fn is_handshakes(self) -> bool {
        matches!(self, Traffic::Handshakes | Traffic::HybridHandshakes | Traffic::ResumedHandshakes)
    }

    /// Whether clients speak HTTP/2.
    pub(super) fn is_http2(self) -> bool {
        matches!(self, Traffic::Http2ToHttp1 | Traffic::Http2 | Traffic::Grpc | Traffic::TlsHttp2)
    }

    /// Whether the upstream is spoken to in HTTP/2.
    pub(super) fn is_http2_upstream(self) -> bool {
        matches!(self, Traffic::Http2 | Traffic::Grpc)
    }

    /// The key exchange group of TLS clients, as the load generator calls it.
    pub(super) fn group(self) -> &'static str {
        if self == Traffic::HybridHandshakes { "x25519mlkem768" } else { "x25519" }
    }

    /// Why `subject` has no part in it, if it has none.
    pub(super) fn refused_by(self, subject: Subject) -> Option<&'static str> {
        match (self, subject) {
            (_, Subject::Pinion | Subject::PinionEpoll) | (Traffic::Http1, _) => None,
            (_, Subject::Pingora) => Some("its proxy in peers/pingora speaks HTTP/1"),
            (Traffic::Http2, Subject::Nginx) => Some("nginx 1.22 has no HTTP/2 to upstreams but for gRPC"),
            (Traffic::HybridHandshakes, Subject::Nginx | Subject::Haproxy) => {
                Some("its OpenSSL (3.0) does not know X25519MLKEM768")
            }
            (Traffic::Http2 | Traffic::Grpc | Traffic::Tcp, Subject::Floor) => None,
            (_, Subject::Floor) => Some("it forwards bytes and translates nothing"),
            _ => None,
        }
    }

    /// Where the load generator sends: `bytes` of content in the answer, of the message in gRPC and TCP.
    pub(super) fn url(self, authority: &str, bytes: usize) -> String {
        match self {
            Traffic::Grpc => format!("grpc://{authority}/echo.Echo/Unary"),
            Traffic::Tcp => format!("tcp://{authority}"),
            _ if self.is_tls() => format!("https://{authority}/bytes/{bytes}"),
            _ => format!("http://{authority}/bytes/{bytes}"),
        }
    }

    /// What else the load generator is told; `certificate` is the proxy's.
    pub(super) fn options(self, bytes: usize, certificate: &str) -> Vec<String> {
        let mut options: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| options.extend(words.iter().map(|&word| word.to_owned()));
        if matches!(self, Traffic::Grpc | Traffic::Tcp) {
            say(&["--body-size", &bytes.to_string()]);
        } else {
            say(&["--http", if self.is_http2() { "http2" } else { "http1" }]);
        }
        if self.is_tls() {
            say(&["--ca", certificate, "--tls-version", "1.3", "--tls-suites", SUITE]);
            say(&["--tls-groups", self.group()]);
        }
        if self.is_handshakes() {
            say(&["--requests-per-connection", "1"]);
        }
        if matches!(self, Traffic::Handshakes | Traffic::HybridHandshakes) {
            say(&["--no-resumption"]);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn handshakes_are_new_connections_of_one_group_and_suite() {
        let options = Traffic::Handshakes.options(100, "web.pem").join(" ");
        for wanted in
            ["--requests-per-connection 1", "--no-resumption", "--tls-groups x25519", "--ca web.pem"]
        {
            assert!(options.contains(wanted), "{options}");
        }
        assert!(!Traffic::ResumedHandshakes.options(100, "web.pem").join(" ").contains("--no-resumption"));
        let kept = Traffic::Tls.options(100, "web.pem").join(" ");
        assert!(kept.contains(SUITE) && !kept.contains("--requests-per-connection"), "{kept}");
        assert_eq!(Traffic::Tls.url("h:1", 100), "https://h:1/bytes/100");
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for traffic in Traffic::value_variants() {
            assert_eq!(traffic.to_possible_value().unwrap().get_name(), traffic.name());
        }
    }
}
