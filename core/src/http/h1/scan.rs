//! Splits a head into its start line and field lines: the part of parsing that looks at every byte.
//!
//! ```text
//!   start line CR LF │ name ":" OWS value OWS CR LF │ ... │ CR LF
//!                    └─▲────▲──────────────▲───────┘
//!             token_end┘    │    control_at┘ : eight bytes at a time
//! ```
//!
//! Invariants:
//! - lines end with CR LF, and neither byte is anywhere else;
//! - names are tokens, values have no control bytes but tabs (RFC 9110 sections 5.1 and 5.5);
//! - a line is looked at once, from left to right: what is refused is refused as soon as it is there.
//!
//! HOT: no allocation, no copy; about 120 instructions a line.
//!
//! Not here: what fields mean (`fields`), start lines (`parse`).

use super::super::edits::{is_token, is_value};
use super::super::head::{Field, Fields, Known, Span};
use super::super::known::classify;
use super::error::HeadError;
use super::fields::Facts;
use crate::limits::HEADER_COUNT_MAX;

const fn tokens() -> [bool; 256] {
    let mut tokens = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        tokens[byte] = is_token(byte as u8);
        byte += 1;
    }
    tokens
}

static TOKEN: [bool; 256] = tokens();

/// One in each byte of a word.
const ONES: u64 = u64::from_le_bytes([1; 8]);
/// The high bit of each byte of a word.
const HIGH: u64 = ONES << 7;

/// The word at offset `at`, its first byte lowest; `None` when fewer than eight bytes are left.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Which place of a word the lowest high bit marks.
#[inline]
const fn place(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// Marks control bytes (and DEL). Carries can mark bytes wrongly, but only behind a right mark, so that
/// the first one is always right.
#[inline]
const fn controls(word: u64) -> u64 {
    let delete = word ^ (ONES * 0x7F);
    (word.wrapping_sub(ONES * 0x20) & !word | delete.wrapping_sub(ONES) & !delete) & HIGH
}

/// Marks bytes that are neither ASCII letters nor `-`, without carries between bytes.
#[inline]
const fn not_name(word: u64) -> u64 {
    let low = (word | (ONES * 0x20)) & !HIGH;
    let letter = (low + ONES * (0x80 - b'a' as u64)) & !(low + ONES * (0x7F - b'z' as u64));
    let hyphen = (word & !HIGH) ^ (ONES * b'-' as u64);
    let not_hyphen = hyphen + !HIGH;
    (!letter & not_hyphen | word) & HIGH
}

/// Where the token bytes that begin at `at` end.
#[inline]
fn token_end(bytes: &[u8], mut at: usize) -> usize {
    // Names are letters and `-`, mostly; the table decides on the rest.
    while let Some(word) = word(bytes, at) {
        let marks = not_name(word);
        if marks == 0 {
            at += 8;
            continue;
        }
        at += place(marks);
        if !TOKEN[usize::from(bytes[at])] {
            return at;
        }
        at += 1;
    }
    while at < bytes.len() && TOKEN[usize::from(bytes[at])] {
        at += 1;
    }
    at
}

/// How many token bytes come first.
#[inline]
pub(super) fn token_len(bytes: &[u8]) -> usize {
    token_end(bytes, 0)
}

/// Where the first control byte but a tab is, from `at` on; the length when there is none.
#[inline]
pub(crate) fn control_at(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let marks = controls(word);
        if marks == 0 {
            at += 8;
            continue;
        }
        at += place(marks);
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    while at < bytes.len() && is_value(bytes[at]) {
        at += 1;
    }
    at
}

/// The first line without its CR LF; `None` when its LF has not come.
#[inline]
pub(super) fn first_line(bytes: &[u8]) -> Result<Option<&[u8]>, HeadError> {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    match &bytes[..end] {
        [line @ .., b'\r'] => Ok(Some(line)),
        _ => Err(HeadError::LineEnding),
    }
}

/// Reads the field lines that begin at offset `start` of `bytes`, up to the empty line. Returns the length
/// of the whole head, or `None` when it is not complete.
#[inline]
pub(super) fn fields(
    bytes: &[u8],
    start: usize,
    fields: &mut Fields,
    facts: &mut Facts,
) -> Result<Option<usize>, HeadError> {
    let list = fields.resize(HEADER_COUNT_MAX);
    let mut count = 0;
    let mut at = start;
    loop {
        match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => break,
            Some([] | [b'\r']) | None => return Ok(None),
            _ => {}
        }
        let Some(slot) = list.get_mut(count) else { return Err(HeadError::TooManyFields) };
        let Some((field, next)) = field(bytes, at)? else { return Ok(None) };
        *slot = field;
        if field.known != Known::Other {
            facts.note(field, bytes)?;
        }
        count += 1;
        at = next;
    }
    fields.resize(count);
    if facts.has_connection() {
        facts.read_connection(bytes, fields)?;
    }
    Ok(Some(at + 2))
}

/// The field line that begins at offset `at`, and where the next line begins; `None` when it is not complete.
#[inline]
fn field(bytes: &[u8], at: usize) -> Result<Option<(Field, usize)>, HeadError> {
    let colon = token_end(bytes, at);
    // A folded line and white space before the colon end here, too (RFC 9112 sections 5.1 and 5.2).
    match bytes.get(colon) {
        Some(b':') if colon > at => {}
        None if colon > at => return Ok(None),
        Some(b'\n') => return Err(HeadError::LineEnding),
        _ => return Err(HeadError::FieldName),
    }
    let end = control_at(bytes, colon + 1);
    match bytes.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([] | [b'\r']) | None => return Ok(None),
        Some([b'\r' | b'\n', ..]) => return Err(HeadError::LineEnding),
        Some(_) => return Err(HeadError::FieldValue),
    }
    let known = classify(&bytes[at..colon]).map_err(|_| HeadError::FieldLookAlike)?;
    let (value, canonical) = match &bytes[colon + 1..end] {
        // The usual form.
        [b' ', first, .., last] if is_visible(*first) && is_visible(*last) => {
            (Span::at(colon + 2, end), true)
        }
        [b' ', only] if is_visible(*only) => (Span::at(colon + 2, end), true),
        rest => (trim(rest, colon + 1), false),
    };
    let field =
        Field { name: Span::at(at, colon), value, known, hop: known.is_hop(), canonical, sensitive: false };
    Ok(Some((field, end + 2)))
}

#[inline]
const fn is_visible(byte: u8) -> bool {
    byte != b' ' && byte != b'\t'
}

/// The span of a value at `at` without surrounding white space.
fn trim(value: &[u8], at: usize) -> Span {
    let start = value.iter().position(|&byte| is_visible(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|&byte| is_visible(byte)).map_or(start, |last| last + 1);
    Span::at(at + start, at + end)
}
