//! Header fields: the list of a message, and what RFC 9113, section 8.2, forbids in any of them.
//!
//! Not here: pseudo-headers, which differ between requests and responses.

/// A list of fields in one piece of memory: names and values in order, nothing merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    /// Where each name and its value end.
    ends: Vec<(u32, u32)>,
}

impl Fields {
    /// Without fields yet, with memory for those of a usual request.
    pub(super) fn new() -> Self {
        Fields { bytes: Vec::with_capacity(256), ends: Vec::with_capacity(16) }
    }

    /// Adds a field at the end.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        let middle = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((middle, self.bytes.len() as u32));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Name and value of each, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut from = 0;
        self.ends.iter().map(move |&(middle, end)| {
            let name = &self.bytes[from..middle as usize];
            from = end as usize;
            (name, &self.bytes[middle as usize..from])
        })
    }

    /// The values of the fields named `name` (in lower case), in order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of `name`, pseudo-headers included.
    pub(crate) fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name).next()
    }
}

/// Which bytes may stand in a name: those of a token (RFC 9110, section 5.6.2), without capitals.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
            | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
};

/// Checks a regular field (RFC 9113, sections 8.2.1 and 8.2.2).
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(name: &[u8], value: &[u8], in_request: bool) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("a header without a name");
    }
    if !name.iter().all(|&byte| IN_NAME[usize::from(byte)]) {
        let capital = name.iter().any(u8::is_ascii_uppercase);
        return Err(if capital { "a header name with capitals" } else { "a header name that is no token" });
    }
    check_value(value)?;
    match name {
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err("a header of HTTP/1 connections")
        }
        b"te" if !in_request => Err("TE in a response"),
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err("TE other than trailers"),
        _ => Ok(()),
    }
}

/// Checks the value of any field.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if value.iter().any(|&byte| byte < 0x20 && byte != b'\t' || byte == 0x7f) {
        return Err("a control byte in a header value");
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return Err("white space around a header value");
    }
    Ok(())
}

/// The length that a message's content must have, from its `content-length` fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContentLength(Option<u64>);

impl ContentLength {
    /// Takes the value of a `content-length` field.
    ///
    /// # Errors
    /// Not a number of at most 63 bits, or not the first.
    pub(super) fn take(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.0.is_some() {
            return Err("more than one Content-Length");
        }
        let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        let number = number.filter(|&number: &u64| i64::try_from(number).is_ok());
        self.0 = Some(number.ok_or("Content-Length is not a number of at most 63 bits")?);
        Ok(())
    }

    /// Whether content of `bytes` so far, and all if it `ended`, can be right.
    pub(super) fn admits(self, bytes: u64, ended: bool) -> bool {
        self.0.is_none_or(|length| if ended { bytes == length } else { bytes <= length })
    }
}
