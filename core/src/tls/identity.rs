//! Who a peer is: SPIFFE ids, what a verified certificate says of its owner, and who is permitted.
//!
//! ```text
//!   spiffe://prod.example/ns/shop/sa/cart
//!            └ trust domain └ path
//! ```
//!
//! Invariants:
//! - a [`SpiffeId`] obeys the SPIFFE-ID standard, so two ids are the same exactly when their texts are;
//! - a prefix matches whole path segments: `…/ns/shop/*` is never `…/ns/shopping`;
//! - nothing here decides that a certificate is genuine: identities are made of verified ones.
//!
//! Not here: reading certificates, verifying chains (`pinion-proxy`).

use std::fmt;
use std::str::FromStr;

/// The longest SPIFFE id, in bytes (SPIFFE-ID section 2.3).
const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// The longest trust domain name, in bytes (SPIFFE-ID section 2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// The name of a trust domain: the realm of one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The name as it stands in ids.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    /// Reads `example.org`, or `spiffe://example.org`.
    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        check_trust_domain(name)?;
        Ok(TrustDomain(name.into()))
    }
}

/// A SPIFFE id: a trust domain and a path, which may be empty (the trust domain itself).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Box<str>,
    /// Where the path begins, its slash included.
    path_at: usize,
}

impl SpiffeId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of its trust domain.
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.path_at).unwrap_or_default()
    }

    /// The path with its leading slash, or nothing.
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_trust_domain(domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            segments.split('/').try_for_each(check_segment)?;
        }
        Ok(SpiffeId { text: text.into(), path_at: SCHEME.len() + domain.len() })
    }
}

fn check_trust_domain(name: &str) -> Result<(), SpiffeError> {
    match name.len() {
        0 => return Err(SpiffeError::NoTrustDomain),
        1..=TRUST_DOMAIN_BYTES_MAX => {}
        _ => return Err(SpiffeError::TooLong),
    }
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    if name.bytes().all(allowed) { Ok(()) } else { Err(SpiffeError::TrustDomain) }
}

/// One segment of a path: not empty, no relative one, no percent-encoding (SPIFFE-ID section 2.2).
fn check_segment(segment: &str) -> Result<(), SpiffeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match segment {
        "" | "." | ".." => Err(SpiffeError::Path),
        _ if segment.bytes().all(allowed) => Ok(()),
        _ => Err(SpiffeError::Path),
    }
}

/// Why a text is no SPIFFE id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpiffeError {
    /// It does not begin with `spiffe://`.
    Scheme,
    /// Nothing stands for the trust domain.
    NoTrustDomain,
    /// The trust domain has other characters than `a-z 0-9 . - _`: no port, user or upper case.
    TrustDomain,
    /// The path has an empty or relative segment, ends with a slash, or has other characters than
    /// `a-z A-Z 0-9 . - _`.
    Path,
    /// Longer than the standard allows.
    TooLong,
}

impl fmt::Display for SpiffeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpiffeError::Scheme => "a SPIFFE id begins with `spiffe://`",
            SpiffeError::NoTrustDomain => "the trust domain is missing",
            SpiffeError::TrustDomain => "a trust domain has only `a-z`, `0-9`, `.`, `-` and `_`",
            SpiffeError::Path => {
                "a path has segments of `a-z`, `A-Z`, `0-9`, `.`, `-` and `_`, none empty, `.` or `..`"
            }
            SpiffeError::TooLong => "longer than a SPIFFE id may be",
        })
    }
}

impl std::error::Error for SpiffeError {}

/// A rule for whom to permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityMatch {
    /// This SPIFFE id: `spiffe://example.org/ns/a/sa/b`.
    Exact(SpiffeId),
    /// Every id below this one, by whole segments: `spiffe://example.org/ns/a/*`.
    Below(SpiffeId),
    /// Every id of the trust domain: `spiffe://example.org/*`.
    TrustDomain(TrustDomain),
    /// A DNS name of the certificate: `dns:client.example.com`, in lower case.
    Dns(Box<str>),
    /// Any DNS name with one more label in front: `dns:*.example.com`; kept as `.example.com`.
    DnsBelow(Box<str>),
}

impl IdentityMatch {
    /// Whether the rule permits a peer of this SPIFFE id and these DNS names.
    pub fn permits<'a>(&self, id: Option<&SpiffeId>, dns: impl IntoIterator<Item = &'a str>) -> bool {
        match self {
            IdentityMatch::Exact(wanted) => id == Some(wanted),
            IdentityMatch::Below(wanted) => id.is_some_and(|id| {
                id.as_str().strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }),
            IdentityMatch::TrustDomain(wanted) => id.is_some_and(|id| id.trust_domain() == wanted.as_str()),
            IdentityMatch::Dns(wanted) => dns.into_iter().any(|name| name.eq_ignore_ascii_case(wanted)),
            IdentityMatch::DnsBelow(parent) => dns.into_iter().any(|name| has_one_label_before(name, parent)),
        }
    }
}

/// Whether `name` is one label and then `parent`, which begins with a dot.
fn has_one_label_before(name: &str, parent: &str) -> bool {
    let Some(at) = name.len().checked_sub(parent.len()).filter(|&at| at > 0) else { return false };
    match (name.get(..at), name.get(at..)) {
        (Some(label), Some(rest)) => !label.contains('.') && rest.eq_ignore_ascii_case(parent),
        _ => false,
    }
}

impl fmt::Display for IdentityMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityMatch::Exact(id) => write!(f, "{id}"),
            IdentityMatch::Below(id) => write!(f, "{id}/*"),
            IdentityMatch::TrustDomain(domain) => write!(f, "{SCHEME}{domain}/*"),
            IdentityMatch::Dns(name) => write!(f, "dns:{name}"),
            IdentityMatch::DnsBelow(parent) => write!(f, "dns:*{parent}"),
        }
    }
}

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchError {
    /// Neither `spiffe://…` nor `dns:…`.
    Kind,
    /// What stands behind `spiffe://` is no id.
    Spiffe(SpiffeError),
    /// What stands behind `dns:` is no name, or has a `*` elsewhere than as its first label.
    Dns,
}

impl fmt::Display for MatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatchError::Kind => f.write_str("neither `spiffe://…` nor `dns:…`"),
            MatchError::Spiffe(error) => error.fmt(f),
            MatchError::Dns => f.write_str("no DNS name, `*` stands only for the whole first label"),
        }
    }
}

impl FromStr for IdentityMatch {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        if let Some(name) = text.strip_prefix("dns:") {
            let (below, plain) = match name.strip_prefix('*') {
                Some(parent) => (true, parent.strip_prefix('.').ok_or(MatchError::Dns)?),
                None => (false, name),
            };
            let label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            };
            if plain.len() > 253 || !plain.split('.').all(label) {
                return Err(MatchError::Dns);
            }
            let plain = plain.to_ascii_lowercase();
            return Ok(match below {
                true => IdentityMatch::DnsBelow(format!(".{plain}").into()),
                false => IdentityMatch::Dns(plain.into()),
            });
        }
        if !text.starts_with(SCHEME) {
            return Err(MatchError::Kind);
        }
        let Some(above) = text.strip_suffix("/*") else {
            return text.parse().map(IdentityMatch::Exact).map_err(MatchError::Spiffe);
        };
        let id: SpiffeId = above.parse().map_err(MatchError::Spiffe)?;
        Ok(match id.path() {
            "" => IdentityMatch::TrustDomain(TrustDomain(id.trust_domain().into())),
            _ => IdentityMatch::Below(id),
        })
    }
}

/// What the verified certificate of a peer says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its SPIFFE id: the certificate's only URI name, when that is one.
    pub spiffe: Option<SpiffeId>,
    /// All URI names of the certificate, as they stand there.
    pub uris: Box<[Box<str>]>,
    /// All DNS names of the certificate.
    pub dns: Box<[Box<str>]>,
    /// The subject in the form of RFC 4514, `CN=a,O=b`.
    pub subject: Box<str>,
    /// The issuer in the same form.
    pub issuer: Box<str>,
    /// The serial number in lower-case hexadecimal.
    pub serial: Box<str>,
    /// SHA-256 of the certificate in lower-case hexadecimal.
    pub sha256: Box<str>,
    /// When the certificate's validity ends, in seconds of Unix time.
    pub not_after: i64,
    /// The element of `X-Forwarded-Client-Cert` that stands for this connection, ready to be copied.
    pub forwarded: Box<[u8]>,
}

impl PeerIdentity {
    /// The first URI name: a SPIFFE id where there is one.
    pub fn uri(&self) -> Option<&str> {
        self.uris.first().map(|uri| &**uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids() {
        let check = |text: &str, expected: Result<(&str, &str), SpiffeError>| {
            let read = text.parse::<SpiffeId>();
            let parts = read.as_ref().map(|id| (id.trust_domain(), id.path())).map_err(|error| *error);
            assert_eq!(parts, expected, "{text}");
        };
        check("spiffe://example.org", Ok(("example.org", "")));
        check("spiffe://prod_1.a-b/ns/shop/sa/Cart", Ok(("prod_1.a-b", "/ns/shop/sa/Cart")));
        check("spiffe://example.org/a.b/..c", Ok(("example.org", "/a.b/..c")));
        for (text, error) in [
            ("https://example.org/a", SpiffeError::Scheme),
            ("SPIFFE://example.org", SpiffeError::Scheme),
            ("spiffe://", SpiffeError::NoTrustDomain),
            ("spiffe:///a", SpiffeError::NoTrustDomain),
            ("spiffe://Example.org/a", SpiffeError::TrustDomain),
            ("spiffe://example.org:80/a", SpiffeError::TrustDomain),
            ("spiffe://user@example.org/a", SpiffeError::TrustDomain),
            ("spiffe://example.org/", SpiffeError::Path),
            ("spiffe://example.org/a/", SpiffeError::Path),
            ("spiffe://example.org/a//b", SpiffeError::Path),
            ("spiffe://example.org/a/../b", SpiffeError::Path),
            ("spiffe://example.org/a/./b", SpiffeError::Path),
            ("spiffe://example.org/%61", SpiffeError::Path),
            ("spiffe://example.org/a?b", SpiffeError::Path),
            ("spiffe://example.org/a#b", SpiffeError::Path),
            ("spiffe://exämple.org/a", SpiffeError::TrustDomain),
        ] {
            check(text, Err(error));
        }
        let long = format!("spiffe://{}", "a".repeat(256));
        check(&long, Err(SpiffeError::TooLong));
        check(&format!("spiffe://a/{}", "b".repeat(2048)), Err(SpiffeError::TooLong));
    }

    #[test]
    fn rules_permit_whom_they_name() {
        let check = |rule: &str, id: &str, dns: &[&str], expected: bool| {
            let parsed: IdentityMatch = rule.parse().unwrap();
            assert_eq!(parsed.to_string(), rule);
            let id = (!id.is_empty()).then(|| id.parse::<SpiffeId>().unwrap());
            assert_eq!(parsed.permits(id.as_ref(), dns.iter().copied()), expected, "{rule} {id:?} {dns:?}");
        };
        check("spiffe://td/a", "spiffe://td/a", &[], true);
        check("spiffe://td/a", "spiffe://td/A", &[], false);
        check("spiffe://td/a", "spiffe://td/a/b", &[], false);
        check("spiffe://td/a", "spiffe://other/a", &[], false);
        check("spiffe://td/a", "", &[], false);
        check("spiffe://td/a/*", "spiffe://td/a/b/c", &[], true);
        check("spiffe://td/a/*", "spiffe://td/a", &[], false);
        check("spiffe://td/a/*", "spiffe://td/ab", &[], false);
        check("spiffe://td/a/*", "spiffe://td2/a/b", &[], false);
        check("spiffe://td/*", "spiffe://td", &[], true);
        check("spiffe://td/*", "spiffe://td/x", &[], true);
        check("spiffe://td/*", "spiffe://td.evil/x", &[], false);
        check("dns:a.example", "", &["x", "A.example"], true);
        check("dns:a.example", "spiffe://td/a", &["b.example"], false);
        check("dns:*.example", "", &["a.example"], true);
        check("dns:*.example", "", &["a.b.example", "example", ".example", "xexample"], false);
    }

    #[test]
    fn rules_that_are_none() {
        for (text, error) in [
            ("example.org", MatchError::Kind),
            ("spiffe://td/", MatchError::Spiffe(SpiffeError::Path)),
            ("spiffe://td/a*", MatchError::Spiffe(SpiffeError::Path)),
            ("spiffe://*/a", MatchError::Spiffe(SpiffeError::TrustDomain)),
            ("spiffe:///*", MatchError::Spiffe(SpiffeError::NoTrustDomain)),
            ("dns:", MatchError::Dns),
            ("dns:*", MatchError::Dns),
            ("dns:a.*.b", MatchError::Dns),
            ("dns:*a.b", MatchError::Dns),
            ("dns:a..b", MatchError::Dns),
        ] {
            assert_eq!(text.parse::<IdentityMatch>(), Err(error), "{text}");
        }
    }
}
