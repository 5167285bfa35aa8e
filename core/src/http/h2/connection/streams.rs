//! The streams of one connection: places that are used again, the way from an identifier to its place, and the queue
//! of those that wait for the connection's window.
//!
//! ```text
//!   id ──▶ index (open addressing by id/2, at most half full) ──▶ slots[place]
//!   queue: first ⇄ … ⇄ last   through `next` and `previous` of the slots;   free: through `next`
//! ```
//!
//! Identifiers of one side only grow, so `id / 2` spreads neighbours perfectly: nothing is hashed.
//!
//! Invariants:
//! - a key holds its stream's identifier, which is never used again: a stale key finds nothing;
//! - a slot is free, or in the index exactly once; a queued one is in the queue exactly once.
//!
//! HOT: no allocation once there were as many streams at a time. Not here: what streams mean (`stream`).

use super::stream::{Stream, flag};

/// One stream of one connection. It goes stale when the stream is gone: then it does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    pub(super) id: u32,
    pub(super) place: u16,
}

impl Key {
    /// The stream's identifier, for logs.
    pub const fn id(self) -> u32 {
        self.id
    }

    /// A small number that no other stream of the connection has while this one is there, for tables beside
    /// the machine.
    pub const fn place(self) -> usize {
        self.place as usize
    }
}

/// No slot.
pub(super) const NONE: u16 = u16::MAX;
/// The index begins with this many places, for half as many streams.
const INDEX_LEAST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 0: free.
    id: u32,
    place: u16,
}

const FREE: Entry = Entry { id: 0, place: NONE };

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    index: Vec<Entry>,
    free: u16,
    open: u32,
    first: u16,
    last: u16,
}

impl Streams {
    pub(super) const fn new() -> Self {
        Streams { slots: Vec::new(), index: Vec::new(), free: NONE, open: 0, first: NONE, last: NONE }
    }

    /// How many there are.
    #[inline]
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// The stream of a key.
    #[inline]
    pub(super) fn of(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots.get_mut(usize::from(key.place)).filter(|stream| stream.id == key.id)
    }

    /// Whether the stream of a key is there.
    #[inline]
    pub(super) fn has(&self, key: Key) -> bool {
        self.slots.get(usize::from(key.place)).is_some_and(|stream| stream.id == key.id)
    }

    /// The key of an identifier.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<Key> {
        let mask = self.index.len().wrapping_sub(1);
        let mut at = (id >> 1) as usize & mask;
        loop {
            let entry = self.index.get(at)?;
            if entry.id == 0 {
                return None;
            }
            if entry.id == id {
                return Some(Key { id, place: entry.place });
            }
            at = (at + 1) & mask;
        }
    }

    /// All streams, and their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Stream)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter(|(_, stream)| stream.id != 0)
            .map(|(place, stream)| (Key { id: stream.id, place: place as u16 }, stream))
    }

    /// How many places there are, used or free.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The stream at a place.
    pub(super) fn at(&mut self, place: usize) -> Option<(Key, &mut Stream)> {
        let stream = self.slots.get_mut(place).filter(|stream| stream.id != 0)?;
        Some((Key { id: stream.id, place: place as u16 }, stream))
    }

    /// Adds a stream, whose identifier is new. The caller keeps the number below [`crate::limits::H2_STREAMS_MAX`].
    // ALLOC: only while there have never been as many at a time.
    #[inline]
    pub(super) fn insert(&mut self, stream: Stream) -> Key {
        debug_assert!(stream.id != 0 && self.find(stream.id).is_none());
        let id = stream.id;
        let place = if self.free == NONE {
            self.slots.push(stream);
            (self.slots.len() - 1) as u16
        } else {
            let place = self.free;
            let slot = &mut self.slots[usize::from(place)];
            self.free = slot.next;
            *slot = stream;
            place
        };
        self.open += 1;
        if self.open as usize * 2 > self.index.len() {
            self.enlarge();
        } else {
            self.enter(Entry { id, place });
        }
        Key { id, place }
    }

    /// Takes a stream out. `None`: it is gone already.
    pub(super) fn remove(&mut self, key: Key) -> Option<Stream> {
        let stream = *self.of(key)?;
        self.unqueue(key);
        self.forget(key.id);
        let free = std::mem::replace(&mut self.free, key.place);
        self.slots[usize::from(key.place)] = Stream { next: free, ..Stream::GONE };
        self.open -= 1;
        Some(stream)
    }

    /// Puts a stream at the end of the queue, unless it is in it.
    pub(super) fn enqueue(&mut self, key: Key) {
        let last = self.last;
        let Some(stream) = self.of(key) else { return };
        if stream.has(flag::QUEUED) {
            return;
        }
        stream.flags |= flag::QUEUED;
        stream.previous = last;
        stream.next = NONE;
        self.last = key.place;
        match self.slots.get_mut(usize::from(last)) {
            Some(stream) => stream.next = key.place,
            None => self.first = key.place,
        }
    }

    /// The first of the queue, taken out of it.
    pub(super) fn dequeue(&mut self) -> Option<Key> {
        let place = self.first;
        let id = self.slots.get(usize::from(place))?.id;
        let key = Key { id, place };
        self.unqueue(key);
        Some(key)
    }

    fn unqueue(&mut self, key: Key) {
        let Some(stream) = self.of(key).filter(|stream| stream.has(flag::QUEUED)) else { return };
        stream.flags &= !flag::QUEUED;
        let (previous, next) = (stream.previous, stream.next);
        match self.slots.get_mut(usize::from(previous)) {
            Some(stream) => stream.next = next,
            None => self.first = next,
        }
        match self.slots.get_mut(usize::from(next)) {
            Some(stream) => stream.previous = previous,
            None => self.last = previous,
        }
    }

    #[inline]
    fn enter(&mut self, entry: Entry) {
        let mask = self.index.len() - 1;
        let mut at = (entry.id >> 1) as usize & mask;
        while self.index[at].id != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = entry;
    }

    /// Takes an identifier out of the index, and closes the gap: later entries of its run move up.
    fn forget(&mut self, id: u32) {
        let mask = self.index.len() - 1;
        let mut gap = (id >> 1) as usize & mask;
        while self.index[gap].id != id {
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let entry = self.index[at];
            if entry.id == 0 {
                break;
            }
            // It may move if its own place is not behind the gap.
            let home = (entry.id >> 1) as usize & mask;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.index[gap] = entry;
                gap = at;
            }
        }
        self.index[gap] = FREE;
    }

    #[cold]
    fn enlarge(&mut self) {
        let places = (self.index.len() * 2).max(INDEX_LEAST);
        self.index.clear();
        self.index.resize(places, FREE);
        for place in 0..self.slots.len() {
            let id = self.slots[place].id;
            if id != 0 {
                self.enter(Entry { id, place: place as u16 });
            }
        }
    }

    /// Gives back memory that only a burst of streams needed, when there are none.
    pub(super) fn shrink(&mut self) {
        if self.open == 0 {
            *self = Streams::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use super::*;
    use crate::rng::Rng;

    fn stream(id: u32) -> Stream {
        Stream { id, ..Stream::GONE }
    }

    #[test]
    fn it_does_what_a_map_and_a_queue_do() {
        for seed in 0..50 {
            let mut rng = Rng::seeded(seed);
            let mut streams = Streams::new();
            let mut map: BTreeMap<u32, Key> = BTreeMap::new();
            let mut queue: VecDeque<u32> = VecDeque::new();
            let mut id = 1;
            for _ in 0..2_000 {
                let any = map.values().nth(rng.below(map.len() as u64) as usize).copied();
                match (rng.below(6), any) {
                    (0 | 1, _) if map.len() < 100 => {
                        id += 2 * (1 + rng.below(40) as u32);
                        map.insert(id, streams.insert(stream(id)));
                    }
                    (2, Some(key)) => {
                        assert_eq!(streams.remove(key).map(|stream| stream.id), Some(key.id));
                        assert_eq!(streams.remove(key), None, "stale");
                        assert!(!streams.has(key));
                        map.remove(&key.id);
                        queue.retain(|&id| id != key.id);
                    }
                    (3, Some(key)) => {
                        streams.enqueue(key);
                        if !queue.contains(&key.id) {
                            queue.push_back(key.id);
                        }
                    }
                    (4, _) => assert_eq!(streams.dequeue().map(Key::id), queue.pop_front()),
                    _ => {}
                }
                assert_eq!(streams.open() as usize, map.len());
            }
            for (&id, &key) in &map {
                assert_eq!(streams.find(id), Some(key));
                assert_eq!(streams.find(id + 1), None);
            }
            assert_eq!(streams.iter_mut().count(), map.len());
            while let Some(key) = streams.dequeue() {
                assert_eq!(Some(key.id), queue.pop_front());
            }
            assert_eq!(queue.len(), 0);
        }
    }

    #[test]
    fn an_empty_one_finds_nothing() {
        let mut streams = Streams::new();
        assert_eq!(streams.find(1), None);
        assert_eq!(streams.dequeue(), None);
        let key = streams.insert(stream(1));
        assert_eq!(streams.find(0), None, "0 marks what is free");
        streams.shrink();
        assert!(streams.has(key), "nothing is taken from open streams");
        streams.remove(key);
        streams.shrink();
        assert_eq!((streams.slots.capacity(), streams.find(1)), (0, None));
    }
}
