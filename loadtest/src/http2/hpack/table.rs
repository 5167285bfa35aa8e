//! HPACK's tables (RFC 7541, section 2.3): the static one, and the dynamic one of a decoder.
//!
//! ```text
//! index:   1 … 61   62 ─────────────▶ oldest
//!          static   dynamic, newest first
//!
//! bytes:   [ dropped │ name value │ name value │ … │ newest name value ]
//!                    ▲ oldest entry's position; what stands before it goes when it is more than what is kept
//! ```
//!
//! Invariant: the size as RFC 7541 counts it (32 bytes an entry above its text) never exceeds the limit.

use std::collections::VecDeque;

/// What an entry counts above its name and value, in bytes (RFC 7541, section 4.1).
pub(super) const ENTRY_BYTES: usize = 32;

/// Below this many dropped bytes nothing is moved.
const DROPPED_BYTES_MIN: usize = 4_096;

/// RFC 7541, appendix A; index 1 is the first.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
    ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""),
    ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""),
    ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
];

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its name begins, counted from the first byte ever stored.
    at: u64,
    name_bytes: usize,
    value_bytes: usize,
}

impl Entry {
    fn text_bytes(self) -> usize {
        self.name_bytes + self.value_bytes
    }
}

/// The static table and a dynamic one behind it.
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Position of `bytes[0]`, counted from the first byte ever stored.
    base: u64,
    /// Oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    /// An empty one of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Table { bytes: Vec::new(), base: 0, entries: VecDeque::new(), size: 0, limit }
    }

    /// Changes the limit; entries that no longer fit go.
    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(0);
    }

    /// Name and value at `index`.
    pub(super) fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let Some(dynamic) = index.checked_sub(STATIC.len() + 1) else {
            let (name, value) = STATIC[index.checked_sub(1)?];
            return Some((name.as_bytes(), value.as_bytes()));
        };
        let newest = self.entries.len().checked_sub(1)?;
        let entry = self.entries[newest.checked_sub(dynamic)?];
        let at = (entry.at - self.base) as usize;
        let (name, value) = self.bytes[at..at + entry.text_bytes()].split_at(entry.name_bytes);
        Some((name, value))
    }

    /// Adds an entry. One that is larger than the table empties it (RFC 7541, section 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        if self.make_room(name.len(), value.len()) {
            let at = self.end();
            self.bytes.extend_from_slice(name);
            self.push(at, name.len(), value);
        }
    }

    /// As [`insert`](Self::insert), with the name of the entry at `index`, which may be one that goes.
    pub(super) fn insert_named(&mut self, index: usize, value: &[u8]) {
        match index.checked_sub(STATIC.len() + 1) {
            None => {
                if let Some((name, _)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
                    self.insert(name.as_bytes(), value);
                }
            }
            Some(dynamic) => {
                let Some(place) = self.entries.len().checked_sub(dynamic + 1) else { return };
                let source = self.entries[place];
                if self.make_room(source.name_bytes, value.len()) {
                    // Entries that went are still in `bytes`: only `push` lets go of them.
                    let (at, from) = (self.end(), (source.at - self.base) as usize);
                    self.bytes.extend_from_within(from..from + source.name_bytes);
                    self.push(at, source.name_bytes, value);
                }
            }
        }
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn make_room(&mut self, name_bytes: usize, value_bytes: usize) -> bool {
        let needed = name_bytes + value_bytes + ENTRY_BYTES;
        self.evict(needed);
        needed <= self.limit
    }

    /// Drops the oldest until `needed` bytes are free, or nothing is left.
    fn evict(&mut self, needed: usize) {
        while self.size + needed > self.limit {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.text_bytes() + ENTRY_BYTES;
        }
    }

    /// The name stands at `at`, last in `bytes`; adds the value and the entry.
    fn push(&mut self, at: u64, name_bytes: usize, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        let entry = Entry { at, name_bytes, value_bytes: value.len() };
        self.entries.push_back(entry);
        self.size += entry.text_bytes() + ENTRY_BYTES;
        let oldest = self.entries.front().map_or(at, |entry| entry.at);
        let dropped = (oldest - self.base) as usize;
        if dropped >= DROPPED_BYTES_MIN.max(self.bytes.len() - dropped) {
            self.bytes.drain(..dropped);
            self.base = oldest;
        }
    }

    /// What it counts now, in bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn it_is_a_queue_with_a_limit_in_bytes() {
        // Against the plain model: whole entries in a list, newest first.
        let mut random = Random::seeded(7);
        let mut table = Table::new(200);
        let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut limit = 200;
        let mut most = 0;
        for step in 0..20_000 {
            let value = vec![step as u8; (random.bits() % 60) as usize];
            let name = match random.bits() % 4 {
                0 => {
                    limit = [0, 40, 200, 1_000][(random.bits() % 4) as usize];
                    table.resize(limit);
                    None
                }
                1 => {
                    let name = vec![b'n'; (random.bits() % 60) as usize];
                    table.insert(&name, &value);
                    Some(name)
                }
                2 => {
                    table.insert_named(28, &value);
                    Some(b"content-length".to_vec())
                }
                _ if model.is_empty() => None,
                _ => {
                    let at = random.bits() as usize % model.len();
                    table.insert_named(62 + at, &value);
                    Some(model[at].0.clone())
                }
            };
            if let Some(name) = name {
                model.insert(0, (name, value));
            }
            let size = |model: &[(Vec<u8>, Vec<u8>)]| {
                model.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
            };
            while size(&model) > limit {
                // An entry that is too large goes last, and empties the table.
                model.pop();
            }
            assert_eq!(table.size(), size(&model), "step {step}");
            for (at, (name, value)) in model.iter().enumerate() {
                assert_eq!(table.field(62 + at), Some((&name[..], &value[..])), "step {step}");
            }
            assert_eq!(table.field(62 + model.len()), None);
            most = most.max(table.bytes.len());
        }
        assert!(most < 3 * DROPPED_BYTES_MIN, "{most} bytes held for a table of 1,000");
        assert_eq!(table.field(0), None);
        assert_eq!(table.field(61), Some((&b"www-authenticate"[..], &b""[..])));
    }
}
