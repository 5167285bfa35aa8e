//! Which fields matter to a proxy, recognised by length and first letter, and names that only look like them.
//!
//! A look-alike is a name that equals an important one once everything but letters and digits is taken
//! out (`Transfer_Encoding`, `Content--Length`): CGI-style servers map such names onto the real one, so
//! two readers could see two messages. Framing and Host look-alikes are refused, the others dropped.
//!
//! Invariants: recognition ignores case and nothing else; names are tokens (the parser has checked).
//!
//! HOT: no allocation; an unimportant name costs one jump and a few byte comparisons.

/// A field that matters to a proxy.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Known {
    /// Anything else.
    #[default]
    Other,
    /// RFC 9110 section 7.2.
    Host,
    /// RFC 9110 section 8.6.
    ContentLength,
    /// RFC 9112 section 6.1.
    TransferEncoding,
    /// RFC 9110 section 7.6.1.
    Connection,
    /// Hop-by-hop (RFC 9112 appendix C.2.2).
    KeepAlive,
    /// Hop-by-hop, never standard.
    ProxyConnection,
    /// RFC 9110 section 10.1.4.
    Te,
    /// RFC 9110 section 6.6.2.
    Trailer,
    /// RFC 9110 section 7.8.
    Upgrade,
    /// RFC 9110 section 10.1.1.
    Expect,
    /// The chain of client addresses.
    XForwardedFor,
    /// The scheme the client used.
    XForwardedProto,
    /// The authority the client used.
    XForwardedHost,
    /// The certificate the client showed.
    XForwardedClientCert,
    /// Any other `X-Forwarded-*`, and `X-Real-IP`: believed only from trusted peers.
    XForwardedOther,
    /// RFC 7239.
    Forwarded,
    /// RFC 9110 section 7.6.3.
    Via,
    /// A request's identifier.
    XRequestId,
    /// RFC 9110 section 8.3; says whether the message is one of gRPC's.
    ContentType,
    /// RFC 9110 section 10.1.5.
    UserAgent,
    /// Part of the h2c upgrade (RFC 7540 section 3.2.1), which is never passed on.
    Http2Settings,
    /// Not a standard field; CGI servers would read it as the `HTTP_PROXY` variable.
    Proxy,
    /// A name that only looks like one of the dropped ones.
    LookAlike,
}

impl Known {
    /// This field's place in a [`Mask`].
    #[inline]
    pub(crate) const fn bit(self) -> Mask {
        1 << self as u8
    }

    /// Whether it is never forwarded as received.
    #[inline]
    pub(crate) const fn is_hop(self) -> bool {
        HOP & self.bit() != 0
    }
}

/// A set of [`Known`] fields.
pub(crate) type Mask = u32;

const HOP: Mask = Known::TransferEncoding.bit()
    | Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::Te.bit()
    | Known::Upgrade.bit()
    | Known::Http2Settings.bit()
    | Known::Proxy.bit()
    | Known::LookAlike.bit();

/// A name that equals a framing or routing field only after its punctuation is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confusable;

/// Whether `name` is `lower`, ignoring case. `lower` has only lower-case letters, digits and `-`; then
/// setting bit 5 folds exactly: no other byte of a field name or value is mapped onto one of those.
#[inline]
pub(crate) fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let mut difference = 0;
    for place in 0..N {
        difference |= (name[place] | 0x20) ^ lower[place];
    }
    difference == 0
}

/// Which field `name` is.
#[inline]
pub(crate) fn classify(name: &[u8]) -> Result<Known, Confusable> {
    let first = name.first().map_or(0, |byte| byte | 0x20);
    let known = match (name.len(), first) {
        (2, b't') if is(name, b"te") => Known::Te,
        (3, b'v') if is(name, b"via") => Known::Via,
        (4, b'h') if is(name, b"host") => Known::Host,
        (5, b'p') if is(name, b"proxy") => Known::Proxy,
        (6, b'e') if is(name, b"expect") => Known::Expect,
        (7, b't') if is(name, b"trailer") => Known::Trailer,
        (7, b'u') if is(name, b"upgrade") => Known::Upgrade,
        (9, b'f') if is(name, b"forwarded") => Known::Forwarded,
        (9, b'x') if is(name, b"x-real-ip") => Known::XForwardedOther,
        (10, b'c') if is(name, b"connection") => Known::Connection,
        (10, b'k') if is(name, b"keep-alive") => Known::KeepAlive,
        (10, b'u') if is(name, b"user-agent") => Known::UserAgent,
        (12, b'c') if is(name, b"content-type") => Known::ContentType,
        (12, b'x') if is(name, b"x-request-id") => Known::XRequestId,
        (14, b'c') if is(name, b"content-length") => Known::ContentLength,
        (14, b'h') if is(name, b"http2-settings") => Known::Http2Settings,
        (15, b'x') if is(name, b"x-forwarded-for") => Known::XForwardedFor,
        (16, b'p') if is(name, b"proxy-connection") => Known::ProxyConnection,
        (16, b'x') if is(name, b"x-forwarded-host") => Known::XForwardedHost,
        (17, b't') if is(name, b"transfer-encoding") => Known::TransferEncoding,
        (17, b'x') if is(name, b"x-forwarded-proto") => Known::XForwardedProto,
        _ => return look_alike(name),
    };
    Ok(known)
}

/// Letters and digits in lower case; zero for every other byte.
const FOLD: [u8; 256] = {
    let mut fold = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            fold[byte as usize] = byte | 0x20;
        }
        byte += 1;
    }
    fold
};

/// The rest of [`classify`]: a name that is none of the known ones. Its first two letters rule out nearly
/// every name that is in use.
#[inline]
fn look_alike(name: &[u8]) -> Result<Known, Confusable> {
    let [first, second] = match name {
        [first, second, ..] if FOLD[usize::from(*first)] != 0 && FOLD[usize::from(*second)] != 0 => {
            [FOLD[usize::from(*first)], FOLD[usize::from(*second)]]
        }
        _ => first_two(name),
    };
    let drop = match (first, second) {
        (b'c', b'o') if squashes_to(name, b"contentlength") => return Err(Confusable),
        (b't', b'r') if squashes_to(name, b"transferencoding") => return Err(Confusable),
        (b'h', b'o') if squashes_to(name, b"host") => return Err(Confusable),
        (b'c', b'o') => squashes_to(name, b"connection"),
        (b't', b'r') => squashes_to(name, b"trailer"),
        (b't', b'e') => squashes_to(name, b"te"),
        (b'h', b't') => squashes_to(name, b"http2settings"),
        (b'e', b'x') => squashes_to(name, b"expect"),
        (b'f', b'o') => squashes_to(name, b"forwarded"),
        (b'k', b'e') => squashes_to(name, b"keepalive"),
        (b'p', b'r') => squashes_to(name, b"proxyconnection") || squashes_to(name, b"proxy"),
        (b'u', b'p') => squashes_to(name, b"upgrade"),
        (b'v', b'i') => squashes_to(name, b"via"),
        (b'x', b'r') => squashes_to(name, b"xrealip") || squashes_to(name, b"xrequestid"),
        (b'x', b'f') => return Ok(forwarded_family(name)),
        _ => false,
    };
    Ok(if drop { Known::LookAlike } else { Known::Other })
}

/// The first two letters or digits, wherever they are.
#[inline]
fn first_two(name: &[u8]) -> [u8; 2] {
    let mut found = name.iter().map(|&byte| FOLD[usize::from(byte)]).filter(|&letter| letter != 0);
    [found.next().unwrap_or(0), found.next().unwrap_or(0)]
}

/// `X-Forwarded-Client-Cert`, `X-Forwarded-Port` and its like, `X_Forwarded_For` and its like, or something else.
#[cold]
fn forwarded_family(name: &[u8]) -> Known {
    const PREFIX: &[u8; 12] = b"x-forwarded-";
    if is(name, b"x-forwarded-client-cert") {
        return Known::XForwardedClientCert;
    }
    if name.first_chunk::<12>().is_some_and(|start| is(start, PREFIX))
        && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.ends_with(b"-")
        && !name.windows(2).any(|pair| pair == b"--")
    {
        return Known::XForwardedOther;
    }
    let mut letters = name.iter().map(|&byte| FOLD[usize::from(byte)]).filter(|&letter| letter != 0);
    let family = b"xforwarded".iter().all(|&want| letters.next() == Some(want));
    if family { Known::LookAlike } else { Known::Other }
}

/// Whether the letters and digits of `name`, in lower case, are exactly `wanted`.
#[inline]
fn squashes_to(name: &[u8], wanted: &[u8]) -> bool {
    if name.len() < wanted.len() {
        return false;
    }
    let mut matched = 0;
    for &byte in name {
        let letter = FOLD[usize::from(byte)];
        if letter != 0 {
            if wanted.get(matched) != Some(&letter) {
                return false;
            }
            matched += 1;
        }
    }
    matched == wanted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Result<Known, Confusable>) {
        assert_eq!(classify(name.as_bytes()), expected, "{name}");
        assert_eq!(classify(name.to_ascii_uppercase().as_bytes()), expected, "{name} in upper case");
    }

    #[test]
    fn names_are_recognised_in_any_case() {
        check("te", Ok(Known::Te));
        check("via", Ok(Known::Via));
        check("Host", Ok(Known::Host));
        check("proxy", Ok(Known::Proxy));
        check("expect", Ok(Known::Expect));
        check("trailer", Ok(Known::Trailer));
        check("upgrade", Ok(Known::Upgrade));
        check("forwarded", Ok(Known::Forwarded));
        check("x-real-ip", Ok(Known::XForwardedOther));
        check("connection", Ok(Known::Connection));
        check("keep-alive", Ok(Known::KeepAlive));
        check("user-agent", Ok(Known::UserAgent));
        check("content-type", Ok(Known::ContentType));
        check("x-request-id", Ok(Known::XRequestId));
        check("Content-Length", Ok(Known::ContentLength));
        check("http2-settings", Ok(Known::Http2Settings));
        check("x-forwarded-for", Ok(Known::XForwardedFor));
        check("x-forwarded-host", Ok(Known::XForwardedHost));
        check("x-forwarded-proto", Ok(Known::XForwardedProto));
        check("x-forwarded-client-cert", Ok(Known::XForwardedClientCert));
        check("x-forwarded-client-certs", Ok(Known::XForwardedOther));
        check("x_forwarded-client-cert", Ok(Known::LookAlike));
        check("x-forwarded-port", Ok(Known::XForwardedOther));
        check("proxy-connection", Ok(Known::ProxyConnection));
        check("Transfer-Encoding", Ok(Known::TransferEncoding));
    }

    #[test]
    fn ordinary_names_are_other() {
        for name in [
            "accept",
            "cookie",
            "content-types",
            "content-encoding",
            "x-real",
            "t",
            "upgrade-insecure-requests",
            "cache-control",
            "expires",
            "etag",
            "hostname",
            "x-forward",
            "proxy-authorization",
            "x",
            "-",
            "1",
        ] {
            check(name, Ok(Known::Other));
        }
    }

    #[test]
    fn look_alikes_are_refused_or_dropped() {
        for name in [
            "Content_Length",
            "Content-Length-",
            "-Content-Length",
            "ContentLength",
            "Content.Length",
            "Transfer_Encoding",
            "Transfer-Encoding~",
            "TransferEncoding",
            "Transfer--Encoding",
            "Host_",
            "_host",
            "H-ost",
        ] {
            check(name, Err(Confusable));
        }
        for name in [
            "X_Forwarded_For",
            "X-Forwarded_For",
            "XForwardedFor",
            "x-forwarded--for",
            "x-forwarded-for-",
            "X_Real_IP",
            "Keep_Alive",
            "Connection_",
            "Proxy_Connection",
            "_te",
            "X_Request_Id",
            "_Forwarded",
            "Up-grade",
            "Ex_pect",
        ] {
            check(name, Ok(Known::LookAlike));
        }
    }
}
