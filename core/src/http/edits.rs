//! Changes to a head's fields, applied as the head is written.
//!
//! Invariants: names are lower-case tokens, values are field values; neither may touch framing or
//! hop-by-hop fields. [`name_allowed`] and [`value_allowed`] are the checks for whoever builds one.
//!
//! Not here: where edits come from (configuration), and applying them (`h1::encode`).

use super::known::{Known, classify};

/// A field to write: lower-case name and value.
pub type Line = (Box<[u8]>, Box<[u8]>);

/// What to change in a head. Order: `remove` and `set` take fields out, then `set` and `add` append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that replace all of the same name.
    pub set: Box<[Line]>,
    /// Fields put beside those of the same name.
    pub add: Box<[Line]>,
    /// Names whose fields are left out.
    pub remove: Box<[Box<[u8]>]>,
}

impl HeaderEdits {
    /// No change, for a `static` or a default.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether nothing is to be changed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether a received field of this name (any case) is left out.
    #[inline]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|gone| gone.eq_ignore_ascii_case(name)) || self.sets(name)
    }

    /// Whether this name (any case) is set anew.
    #[inline]
    pub fn sets(&self, name: &[u8]) -> bool {
        self.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
    }
}

/// Whether a configured edit may name this field: a lower-case token that is neither framing nor
/// hop-by-hop, nor a look-alike of one. `host` may be set (not removed or added: see [`is_host`]).
pub fn name_allowed(name: &[u8]) -> bool {
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte) && !byte.is_ascii_uppercase()) {
        return false;
    }
    match classify(name) {
        Ok(Known::ContentLength) | Err(_) => false,
        Ok(known) => !known.is_hop(),
    }
}

/// Whether `name` is `host`, which an edit may only set.
pub fn is_host(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host")
}

/// Whether a configured value may stand in a field (RFC 9110 section 5.5): visible bytes, inner spaces
/// and tabs, and bytes beyond ASCII.
pub fn value_allowed(value: &[u8]) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(|&byte| byte == b' ' || byte == b'\t');
    value.iter().all(|&byte| is_value(byte)) && !outer(value.first()) && !outer(value.last())
}

/// A token byte (RFC 9110 section 5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A byte that may stand in a field value.
#[inline]
pub(crate) const fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked() {
        for name in ["x-a", "host", "via", "server", "x-forwarded-for", "trailer"] {
            assert!(name_allowed(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "X-A",
            "a b",
            "a:",
            "content-length",
            "content_length",
            "transfer-encoding",
            "connection",
            "te",
        ] {
            assert!(!name_allowed(name.as_bytes()), "{name}");
        }
        for value in ["", "a", "a b\tc", "\u{e9}"] {
            assert!(value_allowed(value.as_bytes()), "{value:?}");
        }
        for value in [" a", "a ", "a\r\nb", "a\0", "\u{7f}"] {
            assert!(!value_allowed(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn set_and_remove_take_out_fields() {
        let edits = HeaderEdits {
            set: Box::new([(Box::from(*b"a"), Box::from(*b"1"))]),
            add: Box::new([(Box::from(*b"b"), Box::from(*b"2"))]),
            remove: Box::new([Box::from(*b"c")]),
        };
        assert!(edits.drops(b"A") && edits.drops(b"C") && !edits.drops(b"b"));
        assert!(edits.sets(b"A") && !edits.sets(b"c"));
        assert!(!edits.is_empty() && HeaderEdits::empty().is_empty());
    }
}
