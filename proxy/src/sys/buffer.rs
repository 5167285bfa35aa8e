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

    /// Where the room begins, and how many bytes it has, for the kernel to write to.
    pub(super) fn room_parts(&mut self) -> (*mut u8, usize) {
        let room = self.bytes.spare_capacity_mut();
        (room.as_mut_ptr().cast(), room.len())
    }

    /// Notes that the first `n` bytes of the room were written.
    ///
    /// # Safety
    ///
    /// They were, at the place that [`Buffer::room_parts`] gave, and nothing else happened to the buffer since.
    pub(super) unsafe fn received(&mut self, n: usize) {
        let len = self.bytes.len() + n;
        debug_assert!(len <= self.bytes.capacity());
        // SAFETY: the caller promises that `n` bytes behind the initialised part are initialised now.
        unsafe { self.bytes.set_len(len) };
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
