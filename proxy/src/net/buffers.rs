//! A shard's pool of receive and send buffers: two sizes, free lists, one memory limit.
//!
//! ```text
//!   take(Small)  -> 16 KiB: heads, small bodies         dropping a Buffer pushes its storage
//!   take(Large)  -> 64 KiB: large bodies, large heads   back on the free list of its size
//! ```
//!
//! Small buffers begin at places that differ modulo the page. Received heads would otherwise all lie in the
//! same few sets of the caches, whose places repeat with every page (first level) or 16 buffers (second):
//!
//! ```text
//!   | front 128 | received ...        |        FRONT_BYTES + 0 × FRONT_STEP
//!   | front 192     | received ...    |        FRONT_BYTES + 1 × FRONT_STEP ... FRONTS times
//! ```
//!
//! Invariants:
//! - bytes handed out plus bytes on free lists never exceed the limit;
//! - in steady state taking and giving back allocate nothing;
//! - `trim` gives back what the last period did not need, beyond a floor that ordinary load lives on.
//!
//! HOT: 0 allocations, 0 locks, 0 system calls a take in steady state.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::rc::Rc;

use pinion_core::limits::{BUFFER_BYTES, BUFFER_LARGE_BYTES};

use crate::sys::buffer::{Buffer, Storage};

/// The two sizes of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// [`BUFFER_BYTES`].
    Small,
    /// [`BUFFER_LARGE_BYTES`].
    Large,
}

impl Size {
    /// Bytes of storage.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Size::Small => BUFFER_BYTES,
            Size::Large => BUFFER_LARGE_BYTES,
        }
    }

    /// Bytes that every buffer has room for.
    pub(crate) const fn room(self) -> usize {
        match self {
            Size::Small => BUFFER_BYTES - FRONT_BYTES - FRONT_STEP * (FRONTS - 1),
            Size::Large => BUFFER_LARGE_BYTES,
        }
    }

    /// The smallest with room for `bytes`; the largest if none has.
    pub(crate) const fn of(bytes: usize) -> Self {
        if bytes <= Size::Small.room() { Size::Small } else { Size::Large }
    }
}

/// Left free in front of what a small buffer receives: fields added to a response's head usually fit here,
/// beside the place of the head that is replaced.
const FRONT_BYTES: usize = 128;
/// How fronts differ: by a cache line.
const FRONT_STEP: usize = 64;
/// How many different fronts there are. 2 KiB of them leave room for a head and 10 KiB.
const FRONTS: usize = 32;

/// Bytes of free storage of each size that `trim` leaves alone: 128 small or 32 large buffers, enough for
/// 64 requests at once, so that load which comes and goes does not allocate each time.
const FREE_BYTES_KEPT: usize = 2 * 1024 * 1024;

/// Buffers the pool grows by at least, and at most.
const GROWTH_MIN: usize = 4;
const GROWTH_MAX: usize = 1_024;

struct Shelf {
    size: Size,
    #[expect(clippy::vec_box, reason = "a buffer is one pointer: it moves between this list and futures")]
    free: RefCell<Vec<Box<Storage>>>,
    /// Storage made so far.
    made: Cell<usize>,
    out: Cell<usize>,
    /// The most that were out at once since the last trim.
    peak: Cell<usize>,
}

impl Shelf {
    fn new(size: Size) -> Self {
        let zero = || Cell::new(0);
        Shelf { size, free: RefCell::new(Vec::new()), made: zero(), out: zero(), peak: zero() }
    }

    // ALLOC: see `BufferPool::grow`.
    fn make(&self) -> Box<Storage> {
        let made = self.made.get();
        self.made.set(made.wrapping_add(1));
        let mut bytes = Vec::with_capacity(self.size.bytes());
        if self.size == Size::Small {
            bytes.resize(FRONT_BYTES + FRONT_STEP * (made % FRONTS), 0);
        }
        Storage::new(bytes, self.size)
    }
}

struct Shelves {
    small: Shelf,
    large: Shelf,
    /// Bytes that exist, handed out or free.
    bytes: Cell<usize>,
    limit: usize,
}

impl Shelves {
    fn shelf(&self, size: Size) -> &Shelf {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }
}

/// The pool of one shard. Clones share it.
#[derive(Clone)]
pub(crate) struct BufferPool(Rc<Shelves>);

/// Where a buffer's storage goes when it is dropped.
pub(crate) struct Home(Rc<Shelves>);

impl Home {
    /// Takes back storage in which only the front is left.
    pub(crate) fn give_back(&self, storage: Box<Storage>) {
        let size = storage.size();
        let shelf = self.0.shelf(size);
        shelf.out.set(shelf.out.get() - 1);
        // A buffer that had to grow (rare: very long added header fields) is not kept.
        if storage.capacity() == size.bytes() {
            shelf.free.borrow_mut().push(storage);
        } else {
            self.0.bytes.set(self.0.bytes.get() - size.bytes());
        }
    }
}

impl BufferPool {
    /// An empty pool that never holds more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        // ALLOC: once a shard.
        BufferPool(Rc::new(Shelves {
            small: Shelf::new(Size::Small),
            large: Shelf::new(Size::Large),
            bytes: Cell::new(0),
            limit,
        }))
    }

    /// An empty buffer, or `None` when the shard's memory limit is reached.
    pub(crate) fn take(&self, size: Size) -> Option<Buffer> {
        let shelf = self.0.shelf(size);
        let recycled = shelf.free.borrow_mut().pop();
        let storage = match recycled {
            Some(storage) => storage,
            None => self.grow(size)?,
        };
        shelf.out.set(shelf.out.get() + 1);
        shelf.peak.set(shelf.peak.get().max(shelf.out.get()));
        Some(Buffer::new(storage, Home(self.0.clone())))
    }

    /// A copy of `bytes`, or `None` when the shard's memory limit is reached.
    pub(crate) fn copy(&self, bytes: &[u8]) -> Option<Buffer> {
        let mut buffer = self.take(Size::of(bytes.len()))?;
        buffer.as_vec().extend_from_slice(bytes);
        Some(buffer)
    }

    /// New storage, as much as there is already: chance peaks a little above the last one must not allocate.
    fn grow(&self, size: Size) -> Option<Box<Storage>> {
        let shelf = self.0.shelf(size);
        let room = self.0.limit.saturating_sub(self.0.bytes.get()) / size.bytes();
        let more = shelf.out.get().clamp(GROWTH_MIN, GROWTH_MAX).min(room);
        self.0.bytes.set(self.0.bytes.get() + more * size.bytes());
        let mut free = shelf.free.borrow_mut();
        // ALLOC: the pool grows to its high-water mark once.
        free.extend((0..more).map(|_| shelf.make()));
        free.pop()
    }

    /// Frees the storage that was not needed since the last call; says how many buffers that were.
    pub(crate) fn trim(&self) -> usize {
        let mut freed = 0;
        for shelf in [&self.0.small, &self.0.large] {
            let idle = shelf.free.borrow().len();
            let kept = FREE_BYTES_KEPT / shelf.size.bytes();
            let peak = shelf.peak.get() + shelf.peak.get() / 4;
            let needed = (peak - shelf.out.get()).max(kept);
            let surplus = idle.saturating_sub(needed);
            shelf.peak.set(shelf.out.get());
            if surplus > 0 {
                let mut free = shelf.free.borrow_mut();
                // The lowest addresses stay and are used first: what is kept lies together, and the pages
                // of the rest can be given back.
                free.sort_unstable_by_key(|storage| Reverse(storage.place()));
                free.drain(..surplus);
                self.0.bytes.set(self.0.bytes.get() - surplus * shelf.size.bytes());
                freed += surplus;
            }
        }
        freed
    }

    /// Buffers handed out.
    pub(crate) fn in_use(&self) -> usize {
        self.0.small.out.get() + self.0.large.out.get()
    }

    /// Bytes that exist, handed out or free.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_storage_is_reused() {
        let pool = BufferPool::new(BUFFER_BYTES * 2);
        let first = pool.take(Size::Small).unwrap();
        let second = pool.take(Size::Small).unwrap();
        assert!(pool.take(Size::Small).is_none() && pool.take(Size::Large).is_none());
        let place = first.unread().as_ptr();
        drop(first);
        assert_eq!(pool.take(Size::Small).unwrap().unread().as_ptr(), place);
        drop(second);
        assert_eq!((pool.in_use(), pool.bytes()), (0, BUFFER_BYTES * 2));
    }

    #[test]
    fn small_buffers_begin_at_different_places_and_have_the_promised_room() {
        let pool = BufferPool::new(usize::MAX);
        let mut buffers: Vec<_> = (0..2 * FRONTS).map(|_| pool.take(Size::Small).unwrap()).collect();
        let mut fronts: Vec<_> = buffers.iter().map(|buffer| BUFFER_BYTES - buffer.room()).collect();
        fronts.sort_unstable();
        fronts.dedup();
        assert_eq!(fronts.len(), FRONTS);
        for buffer in &mut buffers {
            assert!(buffer.room() >= Size::Small.room());
            // The front is there for every use of the storage, whatever the last one left.
            for _ in 0..2 {
                buffer.as_vec().extend_from_slice(b"body");
                assert!(buffer.prepend(&[b'h'; FRONT_BYTES]));
                assert_eq!(buffer.unread().len(), FRONT_BYTES + 4);
                buffer.take(FRONT_BYTES + 2);
                assert_eq!(buffer.unread(), b"dy");
                buffer.clear();
            }
        }
        drop(buffers);
        let mut again = pool.take(Size::Small).unwrap();
        assert!(again.unread().is_empty() && again.room() >= Size::Small.room());
        again.as_vec().extend_from_slice(b"one two");
        again.take(4);
        again.compact();
        assert_eq!(again.unread(), b"two");
        let mut large = pool.take(Size::Large).unwrap();
        assert_eq!(large.room(), Size::Large.room());
        assert!(!large.prepend(b"x"), "there is nothing in front");
    }

    #[test]
    fn trim_keeps_what_the_last_period_used_and_a_floor() {
        let pool = BufferPool::new(usize::MAX);
        let floor = FREE_BYTES_KEPT / BUFFER_BYTES;
        let some = |count: usize| (0..count).map(|_| pool.take(Size::Small).unwrap()).collect::<Vec<_>>();
        drop(some(8 * floor));
        pool.trim();
        assert!(pool.bytes() >= 8 * FREE_BYTES_KEPT);
        drop(some(4 * floor));
        pool.trim();
        assert_eq!(pool.bytes(), 5 * FREE_BYTES_KEPT);
        pool.trim();
        assert_eq!(pool.bytes(), FREE_BYTES_KEPT);
        pool.trim();
        assert_eq!(pool.bytes(), FREE_BYTES_KEPT);
    }
}
