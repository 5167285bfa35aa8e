//! Windows in the direction that this side receives (RFC 9113, section 5.2).
//!
//! ```text
//! |◀────────────────── window ──────────────────▶|
//! | left: the peer may send | taken: came, not yet given back |
//! ```
//!
//! Invariant: `left` + `taken` is the window; what came is given back when it is half of that.

use super::frame::WINDOW_DEFAULT;

/// How much the peer may still send on one stream, or on the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceiveWindow {
    /// Below zero after SETTINGS made the window smaller than what had come.
    left: i64,
    taken: u32,
    window: u32,
}

impl ReceiveWindow {
    /// A window that the peer knows.
    pub(super) fn new(window: u32) -> Self {
        ReceiveWindow { left: i64::from(window), taken: 0, window }
    }

    /// The peer learns of another size: `window` instead of the default.
    pub(super) fn settle(&mut self, window: u32) {
        self.left += i64::from(window) - i64::from(WINDOW_DEFAULT);
        self.window = window;
    }

    /// So many bytes came. Says whether the peer was allowed to send them.
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        self.left -= i64::from(bytes);
        self.taken = self.taken.saturating_add(bytes);
        self.left >= 0 || bytes == 0
    }

    /// What is to be given back now.
    pub(super) fn due(&mut self) -> Option<u32> {
        if self.taken == 0 || self.taken < self.window / 2 {
            return None;
        }
        self.left += i64::from(self.taken);
        Some(std::mem::take(&mut self.taken))
    }
}
