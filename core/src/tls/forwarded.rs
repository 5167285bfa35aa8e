//! The element of `X-Forwarded-Client-Cert` that tells an upstream who the client is.
//!
//! `By=spiffe://td/us;Hash=9f86…;Subject="CN=a,O=b";URI=spiffe://td/a;DNS=a.example`
//!
//! The form is Envoy's: pairs of key and value with `;` between them, one element a certificate with `,`
//! between elements. A value with one of `,;="` is quoted; in it a quotation mark gets a backslash, and so
//! does a backslash (RFC 9110 section 5.6.4), or a name that ends with one would open the quotes. `Cert` and
//! `Chain` are PEM, percent-encoded and quoted.
//!
//! Invariants: whatever a certificate holds, the element has no line break or other control character
//! and no comma or semicolon outside quotation marks but those that divide it.
//!
//! Not here: when the field is sent (`[listeners.forwarding]`), who fills it.

use std::fmt::Write as _;

/// What of a client's certificate upstreams are told, beside its hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertDetails {
    /// The subject.
    pub subject: bool,
    /// The URI names.
    pub uri: bool,
    /// The DNS names.
    pub dns: bool,
    /// The certificate.
    pub cert: bool,
    /// The certificate with the chain that came with it.
    pub chain: bool,
}

/// What one element is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardedCert<'a> {
    /// URI names of the proxy's own certificate.
    pub by: &'a [Box<str>],
    /// SHA-256 of the client's certificate in lower-case hexadecimal.
    pub hash: &'a str,
    /// The client certificate's subject (RFC 4514).
    pub subject: &'a str,
    /// Its URI names.
    pub uris: &'a [Box<str>],
    /// Its DNS names.
    pub dns: &'a [Box<str>],
    /// The certificate as PEM.
    pub cert: &'a str,
    /// The certificate and its chain as PEM.
    pub chain: &'a str,
}

impl ForwardedCert<'_> {
    /// The element, with what `details` ask for.
    pub fn element(&self, details: CertDetails) -> String {
        let mut out = String::with_capacity(256);
        for by in self.by {
            pair(&mut out, "By", by);
        }
        pair(&mut out, "Hash", self.hash);
        if details.cert {
            pem(&mut out, "Cert", self.cert);
        }
        if details.chain {
            pem(&mut out, "Chain", self.chain);
        }
        if details.subject {
            begin(&mut out, "Subject");
            quoted(&mut out, self.subject);
        }
        for uri in self.uris.iter().filter(|_| details.uri) {
            pair(&mut out, "URI", uri);
        }
        for name in self.dns.iter().filter(|_| details.dns) {
            pair(&mut out, "DNS", name);
        }
        out
    }
}

fn begin(out: &mut String, key: &str) {
    if !out.is_empty() {
        out.push(';');
    }
    out.push_str(key);
    out.push('=');
}

fn pair(out: &mut String, key: &str, value: &str) {
    begin(out, key);
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\');
    if value.bytes().all(plain) {
        out.push_str(value);
    } else {
        quoted(out, value);
    }
}

/// A value between quotation marks. What can't stand in a field is percent-encoded.
fn quoted(out: &mut String, value: &str) {
    out.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            other => percent(out, other),
        }
    }
    out.push('"');
}

fn pem(out: &mut String, key: &str, text: &str) {
    begin(out, key);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => percent(out, other),
        }
    }
    out.push('"');
}

fn percent(out: &mut String, byte: u8) {
    // Writing to a String does not fail.
    let _ = write!(out, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: CertDetails = CertDetails { subject: true, uri: true, dns: true, cert: false, chain: false };

    fn boxed(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn elements() {
        let (by, uris) = (boxed(&["spiffe://td/us"]), boxed(&["spiffe://td/a", "https://b/?c=d"]));
        let dns = boxed(&["a.example", "*.b.example"]);
        let full = ForwardedCert {
            by: &by,
            hash: "00ff",
            subject: "CN=a\\, b,O=c \"d\"",
            uris: &uris,
            dns: &dns,
            cert: "-----BEGIN\nA+/=\n",
            chain: "",
        };
        assert_eq!(
            full.element(ALL),
            "By=spiffe://td/us;Hash=00ff;Subject=\"CN=a\\\\, b,O=c \\\"d\\\"\";URI=spiffe://td/a;\
             URI=\"https://b/?c=d\";DNS=a.example;DNS=*.b.example"
        );
        assert_eq!(full.element(CertDetails::default()), "By=spiffe://td/us;Hash=00ff");
        let cert = CertDetails { cert: true, ..CertDetails::default() };
        assert_eq!(full.element(cert), "By=spiffe://td/us;Hash=00ff;Cert=\"-----BEGIN%0AA%2B%2F%3D%0A\"");
        assert_eq!(
            ForwardedCert { hash: "1", ..ForwardedCert::default() }.element(ALL),
            "Hash=1;Subject=\"\""
        );
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let uris = boxed(&["spiffe://td/a\r\nX: y", "a,By=x;Hash=y", "\"", "a\\", "ä\0"]);
        let element = ForwardedCert { hash: "1", uris: &uris, ..ForwardedCert::default() }
            .element(CertDetails { uri: true, ..CertDetails::default() });
        assert_eq!(
            element,
            "Hash=1;URI=\"spiffe://td/a%0D%0AX: y\";URI=\"a,By=x;Hash=y\";URI=\"\\\"\";URI=\"a\\\\\";URI=\"%C3%A4%00\""
        );
    }

    /// The pairs of one element as a reader of quoted strings sees them.
    fn read(element: &str) -> Vec<(String, String)> {
        let (mut pairs, mut chars) = (vec![(String::new(), String::new())], element.chars());
        let (mut in_value, mut quoted) = (false, false);
        while let Some(char) = chars.next() {
            let last = pairs.last_mut().unwrap();
            match char {
                '"' => quoted = !quoted,
                '\\' if quoted => last.1.extend(chars.next()),
                ',' if !quoted => panic!("a second element: {element}"),
                ';' if !quoted => {
                    pairs.push((String::new(), String::new()));
                    in_value = false;
                }
                '=' if !quoted && !in_value => in_value = true,
                char if in_value => last.1.push(char),
                char => last.0.push(char),
            }
        }
        assert!(!quoted, "{element}");
        pairs
    }

    proptest::proptest! {
        #[test]
        fn no_name_changes_what_a_reader_sees(
            names in proptest::collection::vec("[ -~\\PC]{0,12}|[\",;=\\\\aä\r\n]{0,6}", 0..4), subject in ".{0,12}",
        ) {
            let uris: Vec<Box<str>> = names.iter().map(|name| name.as_str().into()).collect();
            let cert = ForwardedCert { hash: "1", subject: &subject, uris: &uris, dns: &uris, ..ForwardedCert::default() };
            let element = cert.element(ALL);
            proptest::prop_assert!(element.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", element);
            let plain = |text: &str| -> String {
                let bytes = text.bytes().map(|byte| match byte {
                    b' '..=b'~' => char::from(byte).to_string(),
                    other => format!("%{other:02X}"),
                });
                bytes.collect()
            };
            let mut expected = vec![("Hash".to_owned(), "1".to_owned()), ("Subject".to_owned(), plain(&subject))];
            for key in ["URI", "DNS"] {
                expected.extend(names.iter().map(|name| (key.to_owned(), plain(name))));
            }
            proptest::prop_assert_eq!(read(&element), expected);
        }
    }
}
