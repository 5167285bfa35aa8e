//! One pooled buffer: bytes received and not yet taken, in storage that is given back when dropped.
//!
//! ```text
//!   0         base          start            len           capacity
//!   |  front  |  taken      |  unread bytes  |  room       |
//! ```
//!
//! What is received begins at `base`. The front is for a head that is put before it ([`Buffer::prepend`]), and
//! its length differs from buffer to buffer, see `net::buffers`.
//!
//! Invariants:
//! - while the kernel owns a buffer (an operation in flight) the driver owns the value, so nobody reads it;
//! - `base <= len`, `start <= len <= capacity`; the bytes never move while an operation is in flight;
//! - a buffer is one pointer: it goes from hand to hand in every request, and copying a wider value that was
//!   just written makes the processor wait for every store before it.

use crate::net::buffers::{Home, Size};

/// What a buffer consists of, and what the pool keeps.
pub(crate) struct Storage {
    bytes: Vec<u8>,
    start: u32,
    base: u32,
    size: Size,
    /// `None` while the pool has it.
    home: Option<Home>,
}

impl Storage {
    /// New storage, whose bytes are the front.
    // ALLOC: the pool grows to its high-water mark once.
    pub(crate) fn new(bytes: Vec<u8>, size: Size) -> Box<Self> {
        let base = bytes.len() as u32;
        Box::new(Storage { bytes, start: base, base, size, home: None })
    }

    /// Of which size it is.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// How many bytes it holds; more than its size if it had to grow.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where its bytes lie.
    pub(crate) fn place(&self) -> usize {
        self.bytes.as_ptr().addr()
    }

    fn clear(&mut self) {
        self.bytes.truncate(self.base as usize);
        self.start = self.base;
    }
}

/// A buffer from a shard's pool, or a stand-in without storage for one that the kernel has.
pub(crate) struct Buffer(Option<Box<Storage>>);

impl Buffer {
    /// An empty buffer that goes home when it is dropped.
    pub(crate) fn new(mut storage: Box<Storage>, home: Home) -> Self {
        storage.home = Some(home);
        Buffer(Some(storage))
    }

    /// A stand-in.
    pub(crate) const fn stand_in() -> Self {
        Buffer(None)
    }

    /// The unread bytes.
    pub(crate) fn unread(&self) -> &[u8] {
        match &self.0 {
            Some(storage) => &storage.bytes[storage.start as usize..],
            None => &[],
        }
    }

    /// The unread bytes, to be changed in place.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Some(storage) => &mut storage.bytes[storage.start as usize..],
            None => &mut [],
        }
    }

    /// Marks the first `n` unread bytes as taken.
    pub(crate) fn take(&mut self, n: usize) {
        debug_assert!(n <= self.unread().len());
        if let Some(storage) = &mut self.0 {
            let start = storage.start as usize + n;
            if start >= storage.bytes.len() {
                storage.clear();
            } else {
                storage.start = start as u32;
            }
        }
    }

    /// Keeps only the first `n` unread bytes.
    pub(crate) fn truncate(&mut self, n: usize) {
        if let Some(storage) = &mut self.0 {
            let len = storage.start as usize + n;
            storage.bytes.truncate(len.max(storage.base as usize));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if let Some(storage) = &mut self.0 {
            storage.clear();
        }
    }

    /// Moves the unread bytes to the front, so that all room is behind them.
    pub(crate) fn compact(&mut self) {
        if let Some(storage) = &mut self.0
            && storage.start > storage.base
        {
            let (start, base) = (storage.start as usize, storage.base as usize);
            storage.bytes.copy_within(start.., base);
            storage.bytes.truncate(storage.bytes.len() - (start - base));
            storage.start = storage.base;
        }
    }

    /// Puts `head` in front of the unread bytes without moving them; `false` when there is no room for it.
    pub(crate) fn prepend(&mut self, head: &[u8]) -> bool {
        let Some(storage) = &mut self.0 else {
            return false;
        };
        let end = storage.start as usize;
        let Some(start) = end.checked_sub(head.len()) else {
            return false;
        };
        storage.bytes[start..end].copy_from_slice(head);
        storage.start = start as u32;
        true
    }

    /// How many bytes fit behind the unread ones.
    pub(crate) fn room(&self) -> usize {
        self.0.as_ref().map_or(0, |storage| storage.bytes.capacity() - storage.bytes.len())
    }

    /// How many bytes the storage holds.
    pub(crate) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |storage| storage.capacity())
    }

    /// Where the room begins, and how many bytes it has, for the kernel to write to.
    pub(super) fn room_parts(&mut self) -> (*mut u8, usize) {
        let room = self.as_vec().spare_capacity_mut();
        (room.as_mut_ptr().cast(), room.len())
    }

    /// Notes that the first `n` bytes of the room were written.
    ///
    /// # Safety
    ///
    /// They were, at the place that [`Buffer::room_parts`] gave, and nothing else happened to the buffer since.
    pub(super) unsafe fn received(&mut self, n: usize) {
        let bytes = self.as_vec();
        let len = bytes.len() + n;
        debug_assert!(len <= bytes.capacity());
        // SAFETY: the caller promises that `n` bytes behind the initialised part are initialised now.
        unsafe { bytes.set_len(len) };
    }

    /// The storage as a vector to append to. Growing beyond the capacity allocates.
    pub(crate) fn as_vec(&mut self) -> &mut Vec<u8> {
        // ALLOC: only for a stand-in, which nobody appends to.
        let storage = self.0.get_or_insert_with(|| Storage::new(Vec::new(), Size::Small));
        &mut storage.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(mut storage) = self.0.take()
            && let Some(home) = storage.home.take()
        {
            storage.clear();
            home.give_back(storage);
        }
    }
}
