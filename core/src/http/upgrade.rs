//! Which protocols a request may switch to (RFC 9110 section 7.8): what of its offer is passed on, and
//! whether an upstream's 101 keeps to it.
//!
//! ```text
//!   client: Upgrade: websocket, h2c ──▶ allowed? ──▶ upstream: Upgrade: websocket
//!   client: 101 Upgrade: websocket  ◀── offered? ◀── upstream: 101 Upgrade: websocket
//! ```
//!
//! Invariants:
//! - another version of HTTP (`h2c`, `HTTP/2.0`) never passes: the proxy would have to speak it;
//! - nothing passes in an answer that did not pass in the request.
//!
//! HOT: no allocation. Not here: `Connection` and which Upgrade field counts (`h1::fields`), what a switch does
//! to the exchange (`h1::conn`).

use super::edits::is_token;
use super::h1::list;

/// The protocols that requests of a listener may switch to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrades {
    any: bool,
    names: Box<[Box<str>]>,
}

/// Why a word can't be in the list of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeRefused {
    /// It is no `name` or `name/version` of token characters.
    Malformed,
    /// It is a version of HTTP.
    Http,
}

impl Upgrades {
    /// The word that stands for every protocol.
    pub const ANY: &'static str = "*";

    /// A list of words, each of which [`Upgrades::check`] takes.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut upgrades = Upgrades::default();
        let mut names: Vec<Box<str>> = Vec::new();
        for word in words {
            debug_assert_eq!(Self::check(word), Ok(()));
            if word == Self::ANY {
                upgrades.any = true;
            } else {
                names.push(word.into());
            }
        }
        upgrades.names = names.into();
        upgrades
    }

    /// Whether `word` may stand in a list.
    pub fn check(word: &str) -> Result<(), UpgradeRefused> {
        if word == Self::ANY {
            return Ok(());
        }
        if !is_protocol(word.as_bytes()) {
            return Err(UpgradeRefused::Malformed);
        }
        if is_http(word.as_bytes()) { Err(UpgradeRefused::Http) } else { Ok(()) }
    }

    /// Whether a request may switch to `protocol`. Compared without case; a name in the list allows each of
    /// its versions.
    pub fn allow(&self, protocol: &[u8]) -> bool {
        let name = name(protocol);
        let listed = |listed: &str| {
            let listed = listed.as_bytes();
            protocol.eq_ignore_ascii_case(listed) || name.eq_ignore_ascii_case(listed)
        };
        is_protocol(protocol)
            && !is_http(protocol)
            && (self.any || self.names.iter().any(|word| listed(word)))
    }

    /// The protocols of an Upgrade field's value that pass on, in the order of the client's preference.
    pub fn pass<'a>(&'a self, offer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        list(offer).filter(|protocol| self.allow(protocol))
    }

    /// Whether something of the offer passes on.
    pub fn pass_any(&self, offer: &[u8]) -> bool {
        self.pass(offer).next().is_some()
    }

    /// Whether the upstream's choice keeps to the offer: at least one protocol, and only such as passed on.
    pub fn agree(&self, offer: &[u8], choice: &[u8]) -> bool {
        let offered = |chosen: &[u8]| self.pass(offer).any(|passed| passed.eq_ignore_ascii_case(chosen));
        list(choice).next().is_some() && list(choice).all(offered)
    }

    /// The list as it is written.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.any.then_some(Self::ANY).into_iter().chain(self.names.iter().map(|name| &**name))
    }
}

/// A protocol without its version.
fn name(protocol: &[u8]) -> &[u8] {
    protocol.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// Whether it is `name` or `name/version` of token characters.
fn is_protocol(protocol: &[u8]) -> bool {
    let mut parts = 0;
    let whole = protocol.split(|&byte| byte == b'/').all(|part| {
        parts += 1;
        !part.is_empty() && part.iter().all(|&byte| is_token(byte))
    });
    whole && parts <= 2
}

/// Another version of HTTP under one of its names.
fn is_http(protocol: &[u8]) -> bool {
    let name = name(protocol);
    [&b"h2c"[..], b"h2", b"h3", b"http"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(words: &[&'static str]) -> Upgrades {
        Upgrades::new(words.iter().copied())
    }

    #[track_caller]
    fn check(words: &[&'static str], offer: &str, passed: &str) {
        let upgrades = some(words);
        let got: Vec<_> = upgrades.pass(offer.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(got.join(", "), passed, "{words:?} {offer:?}");
        assert_eq!(upgrades.pass_any(offer.as_bytes()), !passed.is_empty());
    }

    #[test]
    fn what_of_an_offer_passes() {
        let web = &["websocket"];
        check(web, "websocket", "websocket");
        check(web, "WebSocket", "WebSocket");
        check(web, "h2c, websocket ,tcp", "websocket");
        check(web, "websocket/13, websockets", "websocket/13");
        check(web, "h2c", "");
        check(web, "", "");
        check(web, ",, ,", "");
        check(&[], "websocket", "");
        check(&["SPDY/3.1"], "spdy/3.1, spdy/3, spdy", "spdy/3.1");
        check(&["*"], "h2c, HTTP/2.0, http, H2, h3, tcp, SPDY/3.1", "tcp, SPDY/3.1");
        check(&["*"], "a b, a/b/c, /, a/, /a, \"x\", good", "good");
    }

    #[test]
    fn an_answer_keeps_to_the_offer() {
        for (offer, choice, agreed) in [
            ("websocket", "websocket", true),
            ("websocket", "WebSocket", true),
            ("websocket, tcp", "tcp", true),
            ("websocket, tcp", "tcp, websocket", true),
            ("websocket", "tcp", false),
            ("websocket", "websocket, tcp", false),
            ("websocket", "", false),
            ("websocket", ", ,", false),
            ("websocket, h2c", "h2c", false),
            ("websocket/13", "websocket", false),
        ] {
            assert_eq!(some(&["*"]).agree(offer.as_bytes(), choice.as_bytes()), agreed, "{offer} {choice}");
        }
        assert!(!some(&["tcp"]).agree(b"websocket, tcp", b"websocket"), "it was not passed on");
    }

    #[test]
    fn words_of_a_list() {
        for word in ["websocket", "SPDY/3.1", "tcp", "*"] {
            assert_eq!(Upgrades::check(word), Ok(()), "{word}");
        }
        for word in ["h2c", "H2C", "HTTP/2.0", "http", "h2", "h3"] {
            assert_eq!(Upgrades::check(word), Err(UpgradeRefused::Http), "{word}");
        }
        for word in ["", " ", "a b", "a,b", "a/", "/", "a/b/c", "**/", "\u{e9}"] {
            assert_eq!(Upgrades::check(word), Err(UpgradeRefused::Malformed), "{word}");
        }
        assert_eq!(some(&["tcp", "*"]).words().collect::<Vec<_>>(), ["*", "tcp"]);
    }
}
