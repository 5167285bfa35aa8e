//! What a head's fields mean to a proxy, and the framing that follows (RFC 9112 sections 5 and 6).
//!
//! Invariants:
//! - `Content-Length` and `Transfer-Encoding` have exactly one reading, or the head is refused;
//! - fields that `Connection` names are marked and so not forwarded, except those whose loss would change
//!   what the message says about itself (Host, framing, forwarded).
//!
//! HOT: no allocation. Not here: finding the fields (`scan`), start lines (`parse`).

use super::super::head::{Field, Fields, Framing, Known, Span, Version};
use super::super::known::is;
use super::error::HeadError;

/// Names that one head's Connection fields may list besides the usual options; more is refused. 16 is
/// far beyond any real use and bounds the marking to 16 × [`crate::limits::HEADER_COUNT_MAX`] comparisons.
const CONNECTION_NAMES_MAX: usize = 16;

/// What a field section said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    lengths: u8,
    length: Span,
    codings: u8,
    coding: Span,
    hosts: u8,
    pub(super) host: Span,
    has_connection: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    upgrade_option: bool,
    upgrades: u8,
    upgrade: Span,
    pub(super) expects: bool,
}

impl Facts {
    /// Takes note of a field that matters.
    #[inline]
    pub(super) fn note(&mut self, field: Field, bytes: &[u8]) -> Result<(), HeadError> {
        match field.known {
            Known::Host => {
                self.hosts = self.hosts.saturating_add(1);
                self.host = field.value;
            }
            Known::ContentLength => {
                self.lengths = self.lengths.saturating_add(1);
                self.length = field.value;
            }
            Known::TransferEncoding => {
                self.codings = self.codings.saturating_add(1);
                self.coding = field.value;
            }
            Known::Connection => self.has_connection = true,
            Known::Upgrade => {
                self.upgrades = self.upgrades.saturating_add(1);
                self.upgrade = field.value;
            }
            Known::Expect => {
                if !is(field.value.of(bytes), b"100-continue") {
                    return Err(HeadError::ExpectationUnsupported);
                }
                self.expects = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads all Connection fields (RFC 9110 section 7.6.1) and marks the fields they name.
    #[inline]
    pub(super) fn read_connection(&mut self, bytes: &[u8], fields: &mut Fields) -> Result<(), HeadError> {
        let mut named = 0;
        for place in 0..fields.len() {
            let Some(field) = fields.as_slice().get(place) else { break };
            if field.known != Known::Connection {
                continue;
            }
            let value = field.value.of(bytes);
            if is(value, b"keep-alive") {
                self.keep_alive = true;
                continue;
            }
            if is(value, b"close") {
                self.close = true;
                continue;
            }
            for option in list(value) {
                if !option.iter().all(|&byte| super::super::edits::is_token(byte)) {
                    return Err(HeadError::ConnectionInvalid);
                }
                if option.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                } else if option.eq_ignore_ascii_case(b"upgrade") {
                    self.upgrade_option = true;
                } else {
                    named += 1;
                    if named > CONNECTION_NAMES_MAX {
                        return Err(HeadError::ConnectionInvalid);
                    }
                    mark(bytes, fields.as_mut_slice(), option);
                }
            }
        }
        Ok(())
    }

    /// Whether there is a Connection field to be read.
    #[inline]
    pub(super) fn has_connection(&self) -> bool {
        self.has_connection
    }

    /// How many Host fields there were.
    pub(super) fn hosts(&self) -> u8 {
        self.hosts
    }

    /// The value of Upgrade, if exactly one came together with the option that makes it count.
    pub(super) fn upgrade(&self) -> Option<Span> {
        (self.upgrade_option && self.upgrades == 1 && !self.upgrade.is_empty()).then_some(self.upgrade)
    }

    /// Whether a body length or a transfer coding is declared.
    pub(super) fn is_framed(&self) -> bool {
        self.lengths > 0 || self.codings > 0
    }

    /// Whether a transfer coding is declared.
    pub(super) fn is_coded(&self) -> bool {
        self.codings > 0
    }

    /// The declared framing (RFC 9112 section 6.3), where a body is possible; `None` when nothing is declared.
    #[inline]
    pub(super) fn framing(&self, bytes: &[u8], version: Version) -> Result<Option<Framing>, HeadError> {
        if self.codings > 0 {
            if self.lengths > 0 {
                return Err(HeadError::LengthAndCoding);
            }
            if version == Version::Http10 {
                return Err(HeadError::CodingInHttp10);
            }
            let value = self.coding.of(bytes);
            if self.codings == 1 && is(value, b"chunked") {
                return Ok(Some(Framing::Chunked));
            }
            return Err(refuse_coding(value, self.codings));
        }
        Ok(self.length(bytes)?.map(Framing::Length))
    }

    /// The declared Content-Length (RFC 9110 section 8.6): one field, digits only, below 2^63.
    #[inline]
    pub(super) fn length(&self, bytes: &[u8]) -> Result<Option<u64>, HeadError> {
        match self.lengths {
            0 => Ok(None),
            1 => decimal(self.length.of(bytes)).map(Some).ok_or(HeadError::LengthInvalid),
            _ => Err(HeadError::LengthRepeated),
        }
    }
}

/// The non-empty elements of a comma-separated list, without surrounding white space.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(|element| {
            let start =
                element.iter().position(|&byte| byte != b' ' && byte != b'\t').unwrap_or(element.len());
            let end = element
                .iter()
                .rposition(|&byte| byte != b' ' && byte != b'\t')
                .map_or(start, |last| last + 1);
            &element[start..end]
        })
        .filter(|element| !element.is_empty())
}

/// Marks the fields called `option` as not to be forwarded.
fn mark(bytes: &[u8], fields: &mut [Field], option: &[u8]) {
    for field in fields {
        let protected = matches!(
            field.known,
            Known::Host
                | Known::ContentLength
                | Known::XForwardedFor
                | Known::XForwardedProto
                | Known::XForwardedHost
                | Known::Forwarded
        );
        if !protected && field.name.len() == option.len() && field.name.of(bytes).eq_ignore_ascii_case(option)
        {
            field.hop = true;
        }
    }
}

/// Which error a Transfer-Encoding that is not one `chunked` deserves: well-formed codings that are not
/// known are "not implemented"; a list that chunks twice, chunks before another coding, or is no list of
/// tokens is malformed (RFC 9112 section 6.1).
#[cold]
fn refuse_coding(value: &[u8], fields: u8) -> HeadError {
    if fields > 1 {
        return HeadError::CodingInvalid;
    }
    let mut chunked = false;
    let mut any = false;
    for coding in list(value) {
        if chunked || !coding.iter().all(|&byte| super::super::edits::is_token(byte)) {
            return HeadError::CodingInvalid;
        }
        any = true;
        chunked = coding.eq_ignore_ascii_case(b"chunked");
    }
    // `chunked` alone but with stray commas around it is not worth understanding.
    let alone = list(value).count() == 1 && chunked;
    if any && !alone { HeadError::CodingUnsupported } else { HeadError::CodingInvalid }
}

/// A decimal number of at most 19 digits below 2^63.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut number = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits stay below 10^19 < 2^64.
        number = number * 10 + u64::from(digit);
    }
    (number <= i64::MAX as u64).then_some(number)
}
