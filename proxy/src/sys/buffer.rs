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
//! - `base <= len`, `start <= len <= capacity`; the storage never moves while an operation is in flight.

use crate::net::buffers::Home;

/// A buffer from a shard's pool.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: u32,
    base: u32,
    home: Home,
}

impl Buffer {
    /// A buffer in that storage, whose bytes are the front.
    pub(crate) fn new(bytes: Vec<u8>, home: Home) -> Self {
        let base = bytes.len() as u32;
        Buffer { bytes, start: base, base, home }
    }

    fn start(&self) -> usize {
        self.start as usize
    }

    /// The unread bytes.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// The unread bytes, to be changed in place.
    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.bytes[start..]
    }

    /// Marks the first `n` unread bytes as taken.
    pub(crate) fn take(&mut self, n: usize) {
        debug_assert!(n <= self.unread().len());
        let start = (self.start() + n).min(self.bytes.len());
        self.start = start as u32;
        if start == self.bytes.len() {
            self.clear();
        }
    }

    /// Keeps only the first `n` unread bytes.
    pub(crate) fn truncate(&mut self, n: usize) {
        self.bytes.truncate((self.start() + n).max(self.base as usize));
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(self.base as usize);
        self.start = self.base;
    }

    /// Moves the unread bytes to the front, so that all room is behind them.
    pub(crate) fn compact(&mut self) {
        if self.start > self.base {
            let (start, base) = (self.start(), self.base as usize);
            self.bytes.copy_within(start.., base);
            self.bytes.truncate(self.bytes.len() - (start - base));
            self.start = self.base;
        }
    }

    /// Puts `head` in front of the unread bytes without moving them; `false` when there is no room for it.
    pub(crate) fn prepend(&mut self, head: &[u8]) -> bool {
        let end = self.start();
        let Some(start) = end.checked_sub(head.len()) else {
            return false;
        };
        self.bytes[start..end].copy_from_slice(head);
        self.start = start as u32;
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
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.base as usize);
        self.home.give_back(bytes);
    }
}
