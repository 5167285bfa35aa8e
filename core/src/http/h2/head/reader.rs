//! Takes a header block apart: pseudo-headers first, then fields, line by line, into the text of a head.
//!
//! ```text
//!   :method …  ─▶ aside, until all are known and the start line can be written
//!   name value ─▶ text: appended, looked at, kept in the list of fields or taken back
//!   cookie     ─▶ joined to the first: at once in the line before, or aside and inserted at the end
//! ```
//!
//! Invariants:
//! - each pseudo-header comes at most once and before all fields;
//! - a block is read to its end whatever is wrong with it, so that the table is in step;
//! - what a text grows to is bounded by the header list's limit.
//!
//! HOT: no allocation once `text` has room; a field that is an index costs one copy.
//!
//! Not here: start lines and what a head means (`decode`), names and values one by one (`hpack::kind`).

use super::super::hpack::{Block, Decoder, Got, Kind, Line, reason};
use super::BlockError;
use crate::http::h1::decimal;
use crate::http::head::{Field, Fields};
use crate::http::known::is;
use crate::http::normalize::authority_host;
use crate::http::{Known, Span};
use crate::limits::HEADER_BYTES_MAX;

/// Runs `read` over a block, and whatever it says about the head, reads the block to its end.
#[inline]
pub(super) fn whole(
    decoder: &mut Decoder,
    block: &[u8],
    bytes_max: usize,
    text: &mut Vec<u8>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<(), BlockError>,
) -> Result<(), BlockError> {
    text.clear();
    let block = decoder.begin(block)?;
    let mut aside = std::mem::take(&mut decoder.aside);
    aside.clear();
    let room = bytes_max.min(HEADER_BYTES_MAX);
    let mut reader = Reader { decoder: &mut *decoder, block, text, aside, room };
    let mut result = read(&mut reader);
    if result.is_err() {
        result = reader.finish(result);
    }
    let aside = reader.aside;
    decoder.aside = aside;
    result
}

/// Bytes of pseudo-headers and late cookies for which memory is kept after a refused block.
const ASIDE_BYTES_KEPT: usize = 4 * 1024;

/// One block on its way to a text.
pub(super) struct Reader<'a> {
    decoder: &'a mut Decoder,
    block: Block<'a>,
    pub(super) text: &'a mut Vec<u8>,
    /// Pseudo-headers, then late cookies.
    pub(super) aside: Vec<u8>,
    /// What the rest of the header list may come to (RFC 9113 section 6.5.2).
    room: usize,
}

/// The values of pseudo-headers.
#[derive(Clone, Copy, Default)]
pub(super) struct Pseudo {
    pub(super) method: Option<Value>,
    pub(super) scheme: Option<Value>,
    pub(super) authority: Option<Value>,
    pub(super) path: Option<Value>,
    pub(super) status: Option<Value>,
    pub(super) protocol: Option<Value>,
}

/// A pseudo-header's value.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Of the static table.
    Fixed(&'static [u8]),
    /// From here to there in [`Reader::aside`].
    Aside(usize, usize),
}

impl Value {
    #[inline]
    pub(super) fn of(self, aside: &[u8]) -> &[u8] {
        match self {
            Value::Fixed(value) => value,
            Value::Aside(start, end) => aside.get(start..end).unwrap_or(&[]),
        }
    }
}

impl Pseudo {
    /// Takes a value; false if there was one before. `Some` only for pseudo-headers.
    #[inline]
    fn set(&mut self, kind: Kind, value: Value) -> Option<bool> {
        let slot = match kind {
            Kind::Method => &mut self.method,
            Kind::Scheme => &mut self.scheme,
            Kind::Authority => &mut self.authority,
            Kind::Path => &mut self.path,
            Kind::Status => &mut self.status,
            Kind::Protocol => &mut self.protocol,
            Kind::Field | Kind::Cookie | Kind::Malformed => return None,
        };
        Some(slot.replace(value).is_none())
    }
}

/// What fields said that matters to the head.
#[derive(Clone, Copy, Default)]
pub(super) struct Facts {
    /// Fields so far.
    pub(super) count: usize,
    pub(super) length: Option<u64>,
    pub(super) expects: bool,
    /// The number of the field with the authority.
    pub(super) authority: Option<usize>,
    pub(super) hosts: u8,
    /// The number of the cookie field.
    pub(super) cookie: Option<usize>,
    /// Where cookies that could not be appended begin in [`Reader::aside`].
    pub(super) late_cookies: Option<usize>,
}

impl Reader<'_> {
    /// The next line and where it begins in the text. A line that may not be in any head ends in an error.
    #[inline]
    pub(super) fn line(&mut self) -> Result<Option<(usize, Got)>, BlockError> {
        let start = self.text.len();
        let Some(got) = self.decoder.next(&mut self.block, self.text, self.room)? else { return Ok(None) };
        if !(got.written & got.line.valid) {
            return Err(self.refused(start, &got));
        }
        self.room -= got.line.size();
        Ok(Some((start, got)))
    }

    /// After an error: the table has to be what the rest of the block makes of it.
    #[cold]
    fn finish(&mut self, result: Result<(), BlockError>) -> Result<(), BlockError> {
        self.aside.clear();
        self.aside.shrink_to(ASIDE_BYTES_KEPT);
        if result != Err(BlockError::Compression) {
            self.decoder.finish(&mut self.block)?;
        }
        result
    }

    /// Reads all pseudo-headers, and the line behind them, which is aside then, too.
    #[inline]
    pub(super) fn pseudo(&mut self) -> Result<(Pseudo, Option<First>), BlockError> {
        const REPEATED: BlockError = BlockError::Malformed("repeated pseudo-header field");
        let mut pseudo = Pseudo::default();
        loop {
            if let Some(fixed) = self.block.fixed_pseudo() {
                self.room = self.room.checked_sub(fixed.line.size()).ok_or(BlockError::TooLarge)?;
                if !fixed.line.valid {
                    return Err(refuse(&fixed.line, b":authority"));
                }
                if pseudo.set(fixed.line.kind, Value::Fixed(fixed.value())) != Some(true) {
                    return Err(REPEATED);
                }
                continue;
            }
            let start = self.aside.len();
            let Some(got) = self.decoder.next(&mut self.block, &mut self.aside, self.room)? else {
                return Ok((pseudo, None));
            };
            if !got.written {
                return Err(BlockError::TooLarge);
            }
            let line = got.line;
            if !line.valid {
                return Err(refuse(&line, &self.aside[start..]));
            }
            self.room -= line.size();
            let value = start + line.name as usize + 2;
            match pseudo.set(line.kind, Value::Aside(value, value + line.value as usize)) {
                Some(true) => {}
                Some(false) => return Err(REPEATED),
                None => return Ok((pseudo, Some(First { start, got }))),
            }
        }
    }

    /// Reads all fields. `first` is the one that ended the pseudo-headers.
    #[inline]
    pub(super) fn fields<const REQUEST: bool>(
        &mut self,
        first: Option<First>,
        list: &mut [Field],
        facts: &mut Facts,
    ) -> Result<(), BlockError> {
        let Some(first) = first else { return Ok(()) };
        let mut start = self.text.len();
        let mut got = first.got;
        self.text.extend_from_slice(&self.aside[first.start..]);
        let mut count = facts.count;
        let mut room = self.room;
        loop {
            let Line { kind, known, .. } = got.line;
            let field = span(start, &got);
            if (kind == Kind::Field && known == Known::Other) || {
                facts.count = count;
                self.note::<REQUEST>(start, field, kind, list, facts)? == Keep::Yes
            } {
                *list.get_mut(count).ok_or(BlockError::TooLarge)? = field;
                count += 1;
            }
            start = self.text.len();
            match self.decoder.next(&mut self.block, self.text, room)? {
                Some(next) => got = next,
                None => break,
            }
            if !(got.written & got.line.valid) {
                return Err(self.refused(start, &got));
            }
            room -= got.line.size();
        }
        facts.count = count;
        Ok(())
    }

    /// Why a line is in no head.
    #[cold]
    fn refused(&self, start: usize, got: &Got) -> BlockError {
        if got.written { refuse(&got.line, &self.text[start..]) } else { BlockError::TooLarge }
    }

    /// Takes note of a field that matters, the next one in the list, and says whether it stays.
    #[inline(never)]
    fn note<const REQUEST: bool>(
        &mut self,
        start: usize,
        field: Field,
        kind: Kind,
        list: &mut [Field],
        facts: &mut Facts,
    ) -> Result<Keep, BlockError> {
        if kind != Kind::Field {
            if kind != Kind::Cookie {
                return Err(BlockError::Malformed("pseudo-header field behind fields"));
            }
            if REQUEST && let Some(cookie) = facts.cookie {
                self.join_cookie(start, field, cookie, list, facts);
                return Ok(Keep::No);
            }
            facts.cookie = Some(facts.count);
            return Ok(Keep::Yes);
        }
        let value = field.value.of(self.text);
        match field.known {
            Known::ContentLength => {
                if facts.length.is_some() {
                    return Err(BlockError::Malformed("repeated content-length"));
                }
                facts.length = decimal(value);
            }
            Known::Expect => {
                if !is(value, b"100-continue") {
                    return Err(BlockError::Expectation);
                }
                facts.expects = true;
            }
            // RFC 9113 section 8.2.2 allows it in requests.
            Known::Te if !REQUEST => return Err(BlockError::Malformed("te in a response")),
            Known::Host if REQUEST => {
                if facts.hosts > 0 {
                    return Err(BlockError::Malformed("repeated host"));
                }
                if authority_host(value).is_none() {
                    return Err(BlockError::Malformed("invalid host"));
                }
                facts.hosts += 1;
                if let Some(authority) = facts.authority {
                    let authority = list.get(authority).copied().unwrap_or_default().value.of(self.text);
                    // RFC 9113 section 8.3.1: two different ones would be two readings.
                    if !authority.eq_ignore_ascii_case(value) {
                        return Err(BlockError::Malformed(":authority and host differ"));
                    }
                    self.text.truncate(start);
                    return Ok(Keep::No);
                }
                facts.authority = Some(facts.count);
            }
            _ => {}
        }
        Ok(Keep::Yes)
    }

    /// Joins one more cookie to the first (RFC 9113 section 8.2.3): at once if that is the line before, else at
    /// the end.
    fn join_cookie(
        &mut self,
        start: usize,
        field: Field,
        cookie: usize,
        list: &mut [Field],
        facts: &mut Facts,
    ) {
        let Some(first) = list.get_mut(cookie) else { return };
        first.sensitive |= field.sensitive;
        if field.value.is_empty() {
            self.text.truncate(start);
        } else if cookie + 1 == facts.count && facts.late_cookies.is_none() {
            // Over the CR LF of the line before and this line's name.
            let to = if first.value.is_empty() { start - 2 } else { start };
            self.text[start - 2..start].copy_from_slice(b"; ");
            self.text.copy_within(usize::from(field.value.start).., to);
            self.text.truncate(to + field.value.len() + 2);
            first.value = Span::at(usize::from(first.value.start), to + field.value.len());
            first.canonical = true;
        } else {
            facts.late_cookies.get_or_insert(self.aside.len());
            self.aside.extend_from_slice(b"; ");
            self.aside.extend_from_slice(field.value.of(self.text));
            self.text.truncate(start);
        }
    }

    /// Ends the text: late cookies and the empty line.
    #[inline]
    pub(super) fn end(&mut self, fields: &mut Fields, facts: &Facts) {
        if let (Some(cookie), Some(late)) = (facts.cookie, facts.late_cookies) {
            self.insert_cookies(fields.as_mut_slice(), cookie, late);
        }
        self.text.extend_from_slice(b"\r\n");
    }

    /// Inserts the cookies that came late, and moves what is behind them.
    #[cold]
    fn insert_cookies(&mut self, list: &mut [Field], cookie: usize, late: usize) {
        let Some((first, behind)) = list.get_mut(cookie..).and_then(<[Field]>::split_first_mut) else {
            return;
        };
        let mut late = self.aside.get(late..).unwrap_or(&[]);
        if first.value.is_empty() {
            late = late.get(2..).unwrap_or(&[]);
        }
        let at = usize::from(first.value.end);
        let end = self.text.len();
        self.text.extend_from_slice(late);
        self.text.copy_within(at..end, at + late.len());
        self.text[at..at + late.len()].copy_from_slice(late);
        first.value = Span::at(usize::from(first.value.start), at + late.len());
        first.canonical = !first.value.is_empty();
        let moved =
            |span: Span| Span::at(usize::from(span.start) + late.len(), usize::from(span.end) + late.len());
        for field in behind {
            field.name = moved(field.name);
            field.value = moved(field.value);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// The line behind the pseudo-headers.
pub(super) struct First {
    start: usize,
    got: Got,
}

/// The field that the line at `start` of the text is.
#[inline]
fn span(start: usize, got: &Got) -> Field {
    let colon = start + got.line.name as usize;
    let end = colon + 2 + got.line.value as usize;
    Field {
        name: Span::at(start, colon),
        value: Span::at(colon + 2, end),
        known: got.line.known,
        hop: got.line.known.is_hop(),
        canonical: got.line.value > 0,
        sensitive: got.sensitive,
    }
}

#[cold]
fn refuse(line: &Line, text: &[u8]) -> BlockError {
    BlockError::Malformed(reason(line.kind, line.known, text.get(..line.name as usize).unwrap_or(&[])))
}
