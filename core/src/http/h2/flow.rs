//! Windows of flow control (RFC 9113 section 6.9): what may be sent, and what the peer may send.
//!
//! ```text
//!   granted by the peer ──▶ SendWindow ──▶ DATA we send          may fall below zero (section 6.9.2)
//!
//!   announced ──┬─ open: the peer may still send it
//!               ├─ held: received, not yet passed on             (not counted here)
//!               └─ owed: passed on, not yet announced again ──▶ WINDOW_UPDATE when it is half a window
//! ```
//!
//! Invariants: no window exceeds 2^31 - 1; arithmetic never wraps.
//!
//! HOT: no allocation. Not here: frames; whose error an overflow is.

use super::frame::WINDOW_MAX;

/// What we may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SendWindow(i32);

/// A window would exceed 2^31 - 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Overflow;

impl SendWindow {
    pub(super) const fn new(bytes: u32) -> Self {
        debug_assert!(bytes <= WINDOW_MAX);
        SendWindow(bytes as i32)
    }

    /// Bytes that may be sent now.
    #[inline]
    pub(super) const fn bytes(self) -> u32 {
        if self.0 > 0 { self.0 as u32 } else { 0 }
    }

    /// So many bytes are sent: at most [`Self::bytes`].
    #[inline]
    pub(super) const fn take(&mut self, bytes: u32) {
        debug_assert!(bytes <= self.bytes());
        self.0 -= bytes as i32;
    }

    /// The peer allows more, or less (a changed SETTINGS_INITIAL_WINDOW_SIZE).
    #[inline]
    pub(super) fn change(&mut self, by: i64) -> Result<(), Overflow> {
        let sum = i64::from(self.0) + by;
        if sum > i64::from(WINDOW_MAX) {
            return Err(Overflow);
        }
        // The least is -(2^31 - 1): a window of zero less the greatest initial window.
        self.0 = sum.max(i64::from(i32::MIN)) as i32;
        Ok(())
    }
}

/// What the peer may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ReceiveWindow {
    open: i32,
    owed: u32,
}

impl ReceiveWindow {
    pub(super) const fn new(bytes: u32) -> Self {
        debug_assert!(bytes <= WINDOW_MAX);
        ReceiveWindow { open: bytes as i32, owed: 0 }
    }

    /// Bytes that the peer may send now.
    #[inline]
    pub(super) const fn bytes(self) -> u32 {
        if self.open > 0 { self.open as u32 } else { 0 }
    }

    /// The peer has sent so many bytes. `false`: it was not allowed to.
    #[inline]
    pub(super) const fn take(&mut self, bytes: u32) -> bool {
        if bytes > self.bytes() {
            return false;
        }
        self.open -= bytes as i32;
        true
    }

    /// So many bytes were passed on.
    #[inline]
    pub(super) const fn owe(&mut self, bytes: u32) {
        self.owed = self.owed.saturating_add(bytes);
    }

    /// What a WINDOW_UPDATE should announce now, if `least` or more is owed. It counts as announced.
    #[inline]
    pub(super) fn announce(&mut self, least: u32) -> Option<u32> {
        if self.owed < least || self.owed == 0 {
            return None;
        }
        // INVARIANT: what is owed was taken from the window before, so the sum is at most what it began with.
        let owed = std::mem::take(&mut self.owed).min(WINDOW_MAX - self.bytes());
        self.open = self.open.saturating_add(owed as i32);
        Some(owed)
    }

    /// The window is smaller than it was assumed to be.
    pub(super) const fn shrink(&mut self, by: u32) {
        self.open = self.open.saturating_sub_unsigned(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_may_be_negative_but_not_too_large() {
        let mut window = SendWindow::new(10);
        window.take(10);
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.change(-i64::from(WINDOW_MAX)), Ok(()));
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.change(i64::from(WINDOW_MAX)), Ok(()), "back at zero");
        assert_eq!(window.bytes(), 0);
        assert_eq!(window.change(i64::from(WINDOW_MAX)), Ok(()));
        assert_eq!(window.change(1), Err(Overflow));
        assert_eq!(window.bytes(), WINDOW_MAX);
    }

    #[test]
    fn what_was_passed_on_is_announced_in_parts() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(60));
        assert!(!window.take(41), "beyond the window");
        assert_eq!(window.announce(0), None);
        window.owe(49);
        assert_eq!(window.announce(50), None);
        window.owe(1);
        assert_eq!(window.announce(50), Some(50));
        assert_eq!((window.bytes(), window.announce(1)), (90, None));
        window.shrink(200);
        assert_eq!(window.bytes(), 0);
        assert!(window.take(0) && !window.take(1));
    }
}
