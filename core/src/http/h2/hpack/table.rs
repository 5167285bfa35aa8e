//! The dynamic table (RFC 7541 sections 2.3.2 and 4), of lines as heads hold them.
//!
//! ```text
//!   bytes    ░░░░░░░│a: b\r\n│name: value\r\n│x: y\r\n│      room
//!             gone   oldest                    newest  len
//!   entries  ring by number: where the line begins, how long its name and value are, what it is
//! ```
//!
//! A line is kept as `name: value CR LF`: an index becomes a piece of a head by one copy, and a line that is to
//! be sent is found by one comparison. New lines go behind the others; when there is no room, what is gone
//! is closed up, or the buffer grows to twice what is kept.
//!
//! Invariants:
//! - the size as RFC 7541 section 4.1 counts it (32 bytes an entry more than name and value) is at most the
//!   maximum, which is at most [`TABLE_BYTES_MAX`];
//! - the buffer holds at most twice the maximum.
//!
//! HOT: no allocation once the buffers have grown to the table's size.

use super::super::super::known::Known;
use super::kind::Kind;

/// The most that any table may hold, whatever a peer would allow: at 32 bytes an entry, 2,048 entries.
pub const TABLE_BYTES_MAX: usize = 64 * 1024;
/// What an entry counts beyond its name and value (RFC 7541 section 4.1).
pub(super) const ENTRY_BYTES: usize = 32;
/// `: ` and CR LF.
const AROUND: usize = 4;

/// What a line is, apart from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// Bytes of the name.
    pub(crate) name: u32,
    /// Bytes of the value.
    pub(crate) value: u32,
    /// What it is to a head.
    pub(crate) kind: Kind,
    /// Which field it is, if it matters to a proxy.
    pub(crate) known: Known,
    /// The value may stand there.
    pub(crate) valid: bool,
}

impl Line {
    /// Bytes as text.
    #[inline]
    pub(crate) const fn len(self) -> usize {
        self.name as usize + self.value as usize + AROUND
    }

    /// What it counts (RFC 7541 section 4.1, RFC 9113 section 6.5.2).
    #[inline]
    pub(crate) const fn size(self) -> usize {
        self.name as usize + self.value as usize + ENTRY_BYTES
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the line begins, counted from the first line ever; wraps.
    start: u32,
    line: Line,
}

const NO_ENTRY: Entry = Entry {
    start: 0,
    line: Line { name: 0, value: 0, kind: Kind::Malformed, known: Known::Other, valid: false },
};

/// The dynamic table of one direction.
#[derive(Clone, Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// What [`Entry::start`] is of the first byte in `bytes`.
    base: u32,
    /// A ring; the length is a power of two, or zero.
    entries: Vec<Entry>,
    /// The number of the next entry; wraps.
    next: u32,
    /// Entries kept.
    count: u32,
    size: usize,
    max: usize,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        let max = max.min(TABLE_BYTES_MAX);
        Table { bytes: Vec::new(), base: 0, entries: Vec::new(), next: 0, count: 0, size: 0, max }
    }

    /// The maximum size.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// The entries kept.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Their size.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Changes the maximum; the oldest entries beyond it go.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max.min(TABLE_BYTES_MAX);
        self.evict(self.max);
    }

    /// The line at this place, the newest at 0, and its text.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<(Line, &[u8])> {
        if place >= self.count as usize {
            return None;
        }
        self.numbered(self.next.wrapping_sub(1 + place as u32))
    }

    /// The line of that number, and its text.
    #[inline]
    fn numbered(&self, number: u32) -> Option<(Line, &[u8])> {
        let mask = self.entries.len().wrapping_sub(1);
        let entry = self.entries.get(number as usize & mask)?;
        let start = entry.start.wrapping_sub(self.base) as usize;
        Some((entry.line, self.bytes.get(start..start + entry.line.len())?))
    }

    /// The place of the entry of that number, if it is kept and has this name and value.
    #[inline]
    pub(super) fn place_of(&self, number: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let place = self.next.wrapping_sub(number).wrapping_sub(1);
        if place >= self.count {
            return None;
        }
        let (line, text) = self.numbered(number)?;
        if (line.name as usize != name.len()) | (line.value as usize != value.len()) {
            return None;
        }
        let kept = text.get(..name.len())? == name && text.get(name.len() + 2..text.len() - 2)? == value;
        kept.then_some(place as usize)
    }

    /// Adds a line, for which the oldest ones go; one that is beyond the maximum empties the table (RFC 7541
    /// section 4.4). `parts` are the line's text. Returns its number if it was kept.
    #[inline]
    pub(super) fn insert<const N: usize>(&mut self, line: Line, parts: [&[u8]; N]) -> Option<u32> {
        debug_assert_eq!(line.len(), parts.iter().map(|part| part.len()).sum::<usize>());
        let size = line.size();
        if size > self.max {
            self.evict(0);
            return None;
        }
        self.evict(self.max - size);
        if self.bytes.capacity() - self.bytes.len() < line.len() {
            self.make_room(line.len());
        }
        if self.count as usize == self.entries.len() {
            self.more_entries();
        }
        let number = self.next;
        let mask = self.entries.len().wrapping_sub(1);
        if let Some(slot) = self.entries.get_mut(number as usize & mask) {
            *slot = Entry { start: self.base.wrapping_add(self.bytes.len() as u32), line };
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.next = number.wrapping_add(1);
        self.count += 1;
        self.size += size;
        Some(number)
    }

    /// Lets the oldest entries go until the size is at most `size`.
    #[inline]
    fn evict(&mut self, size: usize) {
        let mask = self.entries.len().wrapping_sub(1);
        while self.size > size && self.count > 0 {
            let oldest = self.next.wrapping_sub(self.count) as usize & mask;
            self.size -= self.entries.get(oldest).map_or(self.size, |entry| entry.line.size());
            self.count -= 1;
        }
    }

    /// Closes up what is gone, and grows if half of the buffer is in use.
    #[cold]
    fn make_room(&mut self, bytes: usize) {
        let oldest = self.next.wrapping_sub(self.count);
        let mask = self.entries.len().wrapping_sub(1);
        let gone = match self.entries.get(oldest as usize & mask) {
            Some(entry) if self.count > 0 => entry.start.wrapping_sub(self.base) as usize,
            _ => self.bytes.len(),
        };
        self.bytes.copy_within(gone.., 0);
        self.bytes.truncate(self.bytes.len() - gone);
        self.base = self.base.wrapping_add(gone as u32);
        // Twice what is kept, so that as many bytes are added as are moved.
        let wanted = ((self.bytes.len() + bytes) * 2).next_power_of_two().min(self.max * 2);
        if self.bytes.capacity() < wanted {
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
    }

    /// Doubles the ring.
    #[cold]
    fn more_entries(&mut self) {
        let length = (self.entries.len() * 2).max(16);
        // ALLOC: until there are as many as the table can hold.
        let mut entries = vec![NO_ENTRY; length];
        for place in 0..self.count {
            let number = self.next.wrapping_sub(1 + place) as usize;
            let mask = self.entries.len().wrapping_sub(1);
            if let (Some(from), Some(to)) =
                (self.entries.get(number & mask), entries.get_mut(number & (length - 1)))
            {
                *to = *from;
            }
        }
        self.entries = entries;
    }
}

#[cfg(test)]
mod tests;
