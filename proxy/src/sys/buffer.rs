//! One pooled buffer: bytes received and not yet taken, in storage that is given back when dropped.
//!
//! ```text
//!   0        start            len           capacity
//!   | taken  |  unread bytes  |  room       |
//! ```
//!
//! Invariants:
//! - while the kernel owns a buffer (an operation in flight) the driver owns the value, so nobody reads it;
//! - `start <= len <= capacity`; the storage never moves while an operation is in flight.

use monoio::buf::{IoBuf, IoBufMut};

use crate::net::buffers::Home;

/// A buffer from a shard's pool.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    home: Home,
}

impl Buffer {
    pub(crate) fn new(bytes: Vec<u8>, home: Home) -> Self {
        Buffer { bytes, start: 0, home }
    }

    /// The unread bytes.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The unread bytes, to be changed in place.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Marks the first `n` unread bytes as taken.
    pub(crate) fn take(&mut self, n: usize) {
        debug_assert!(n <= self.unread().len());
        self.start = (self.start + n).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Keeps only the first `n` unread bytes.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.bytes.truncate(self.start + n);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Moves the unread bytes to the front, so that all room is behind them.
    pub(crate) fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(self.bytes.len() - self.start);
            self.start = 0;
        }
    }

    /// Keeps `bytes` free in front of what an empty buffer will receive, for [`Buffer::prepend`].
    pub(crate) fn reserve_front(&mut self, bytes: usize) {
        debug_assert!(self.bytes.is_empty(), "only an empty buffer has no bytes to move");
        self.bytes.resize(bytes, 0);
        self.start = bytes;
    }

    /// Puts `head` in front of the unread bytes without moving them; `false` when there is no room for it.
    pub(crate) fn prepend(&mut self, head: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(head.len()) else {
            return false;
        };
        self.bytes[start..self.start].copy_from_slice(head);
        self.start = start;
        true
    }

    /// How many bytes fit behind the unread ones.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// How many bytes the storage holds.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The storage as a vector to append to. Growing beyond the capacity allocates.
    pub(crate) fn as_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

// SAFETY: `read_ptr` points at `bytes_init` initialised bytes of a heap block owned by this value; the block
// does not move when the value moves, and the driver owns the value while the kernel reads it.
unsafe impl IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.unread().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.unread().len()
    }
}

// SAFETY: `write_ptr` points at `bytes_total` bytes of spare capacity of a heap block owned by this value; the
// block does not move when the value moves, and the driver owns the value while the kernel writes it.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        let len = self.bytes.len() + pos;
        debug_assert!(len <= self.bytes.capacity());
        // SAFETY: the caller promises that the kernel wrote `pos` bytes at `write_ptr`, which is the end of
        // the initialised part, and at most `bytes_total` of them.
        unsafe { self.bytes.set_len(len) };
    }
}
