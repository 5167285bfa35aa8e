//! The static table (RFC 7541 appendix A), as lines that are copied whole, and the way from a name to its index.
//!
//! Invariants: what a line is was worked out here once, as [`kind`](super::kind) would do it (a test compares).
//!
//! HOT: no allocation, no hashing.

use super::super::super::known::Known;
use super::kind::Kind;
use super::table::Line;

/// Entries of the static table: dynamic indices follow.
pub(super) const COUNT: usize = 61;

/// The first entries are pseudo-headers.
pub(super) const PSEUDO: usize = 14;

/// Whether a line of that kind may have an empty value.
const fn takes_nothing(kind: Kind, known: Known) -> bool {
    matches!(kind, Kind::Field | Kind::Cookie) && !matches!(known, Known::ContentLength)
}

/// One entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// `name: value CR LF`.
    pub(super) text: &'static [u8],
    /// What it is.
    pub(crate) line: Line,
}

macro_rules! fixed {
    ($($name:literal $value:literal $kind:ident $known:ident;)*) => {
        const LIST: [Fixed; COUNT] = [$(Fixed {
            text: concat!($name, ": ", $value, "\r\n").as_bytes(),
            line: Line {
                name: $name.len() as u32,
                value: $value.len() as u32,
                kind: Kind::$kind,
                known: Known::$known,
                valid: !$value.is_empty() || takes_nothing(Kind::$kind, Known::$known),
            },
        },)*];
    };
}

fixed! {
    ":authority" "" Authority Other;
    ":method" "GET" Method Other;
    ":method" "POST" Method Other;
    ":path" "/" Path Other;
    ":path" "/index.html" Path Other;
    ":scheme" "http" Scheme Other;
    ":scheme" "https" Scheme Other;
    ":status" "200" Status Other;
    ":status" "204" Status Other;
    ":status" "206" Status Other;
    ":status" "304" Status Other;
    ":status" "400" Status Other;
    ":status" "404" Status Other;
    ":status" "500" Status Other;
    "accept-charset" "" Field Other;
    "accept-encoding" "gzip, deflate" Field Other;
    "accept-language" "" Field Other;
    "accept-ranges" "" Field Other;
    "accept" "" Field Other;
    "access-control-allow-origin" "" Field Other;
    "age" "" Field Other;
    "allow" "" Field Other;
    "authorization" "" Field Other;
    "cache-control" "" Field Other;
    "content-disposition" "" Field Other;
    "content-encoding" "" Field Other;
    "content-language" "" Field Other;
    "content-length" "" Field ContentLength;
    "content-location" "" Field Other;
    "content-range" "" Field Other;
    "content-type" "" Field ContentType;
    "cookie" "" Cookie Other;
    "date" "" Field Other;
    "etag" "" Field Other;
    "expect" "" Field Expect;
    "expires" "" Field Other;
    "from" "" Field Other;
    "host" "" Field Host;
    "if-match" "" Field Other;
    "if-modified-since" "" Field Other;
    "if-none-match" "" Field Other;
    "if-range" "" Field Other;
    "if-unmodified-since" "" Field Other;
    "last-modified" "" Field Other;
    "link" "" Field Other;
    "location" "" Field Other;
    "max-forwards" "" Field Other;
    "proxy-authenticate" "" Field Other;
    "proxy-authorization" "" Field Other;
    "range" "" Field Other;
    "referer" "" Field Other;
    "refresh" "" Field Other;
    "retry-after" "" Field Other;
    "server" "" Field Other;
    "set-cookie" "" Field Other;
    "strict-transport-security" "" Field Other;
    "transfer-encoding" "" Malformed Other;
    "user-agent" "" Field UserAgent;
    "vary" "" Field Other;
    "via" "" Field Via;
    "www-authenticate" "" Field Other;
}

/// All entries; index 1 comes first.
pub(super) static TABLE: [Fixed; COUNT] = LIST;

impl Fixed {
    /// Its name.
    pub(super) fn name(&self) -> &'static [u8] {
        self.text.get(..self.line.name as usize).unwrap_or(&[])
    }

    /// Its value.
    #[inline]
    pub(crate) fn value(&self) -> &'static [u8] {
        self.text.get(self.line.name as usize + 2..self.text.len() - 2).unwrap_or(&[])
    }
}

/// Where a name is looked up: no two names of the table meet (a test says so).
#[inline]
const fn slot(length: usize, first: u8, last: u8) -> usize {
    length.wrapping_add(first as usize * 10).wrapping_add(last as usize * 4) & 0xFF
}

/// The first index of the name that belongs to each slot, or zero.
static INDICES: [u8; 256] = {
    let mut indices = [0; 256];
    let mut place = COUNT;
    while place > 0 {
        place -= 1;
        let name = LIST[place].line.name as usize;
        let text = LIST[place].text;
        indices[slot(name, text[0], text[name - 1])] = place as u8 + 1;
    }
    indices
};

/// The first index with that name (lower-case), or zero.
#[inline]
pub(super) fn index_of(name: &[u8]) -> usize {
    let (Some(&first), Some(&last)) = (name.first(), name.last()) else { return 0 };
    let index = usize::from(INDICES[slot(name.len(), first, last)]);
    match TABLE.get(index.wrapping_sub(1)) {
        Some(entry) if entry.name() == name => index,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_at_its_first_index() {
        for (place, entry) in TABLE.iter().enumerate() {
            let first = TABLE.iter().position(|other| other.name() == entry.name()).unwrap();
            assert_eq!(index_of(entry.name()), first + 1, "{place}");
            assert_eq!(entry.line.len(), entry.text.len());
        }
        for name in ["", ":", "x", "hosts", ":statut", "Host", "content-lengtH"] {
            assert_eq!(index_of(name.as_bytes()), 0, "{name}");
        }
    }
}
