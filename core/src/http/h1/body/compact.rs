//! The buffer that a body came in, with what is kept of it moved to the front.
//!
//! Invariants: what is kept never grows past what was read, so that nothing unread is written over.
//!
//! HOT: bytes move only behind something that was taken out.

/// The part of the buffer that is kept, growing behind the reading position.
pub(super) struct Compactor<'b> {
    pub(super) buf: &'b mut [u8],
    pub(super) kept: usize,
    pub(super) framed: bool,
    /// The last byte kept is a `0` that began a size in this very buffer.
    pub(super) fresh_zero: bool,
}

impl Compactor<'_> {
    #[inline]
    pub(super) fn keep(&mut self, at: usize, len: usize) {
        if at != self.kept {
            self.buf.copy_within(at..at + len, self.kept);
        }
        self.kept += len;
    }

    #[inline]
    pub(super) fn framing(&mut self, byte: u8) {
        if self.framed {
            self.buf[self.kept] = byte;
            self.kept += 1;
        }
    }

    /// A digit of a chunk size. Zeros in front are dropped; only when the input was torn right behind
    /// one has it been sent already, and stays (`0a` has one reading, too).
    #[inline]
    pub(super) fn digit(&mut self, byte: u8, first: bool, only_zeros: bool) {
        if only_zeros && !first {
            if byte == b'0' {
                return;
            }
            if self.fresh_zero && self.framed {
                self.kept -= 1;
            }
        }
        self.framing(byte);
        self.fresh_zero = first && byte == b'0';
    }
}
