//! What the peer allows this side to send: its settings, and the connection's window.
//!
//! Not here: the windows of streams (`outgoing.rs`), and what this side allows the peer (`window.rs`).

use super::frame::{self, FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX, Fault, WINDOW_DEFAULT, WINDOW_MAX, setting};
use super::hpack::{TABLE_BYTES, TABLE_OFF};

/// How many streams are opened before the peer has said how many it takes: what RFC 9113, section
/// 6.5.2, recommends every peer to allow at least.
const STREAMS_UNTIL_SETTINGS: u32 = 100;

/// Which side the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// The other side of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    role: Role,
    /// How many bytes of content the connection still takes; never below zero.
    pub(super) window: i64,
    /// The window of a stream that opens now.
    pub(super) stream_window: u32,
    /// The longest payload it takes.
    pub(super) frame_bytes_max: usize,
    /// How many streams it takes at once.
    pub(super) streams_max: u32,
    /// Whether its settings came: they must be its first frame.
    pub(super) is_heard: bool,
    /// Whether it takes `:protocol` (RFC 8441); it can't take that back.
    connect_protocol: bool,
    table: Encoding,
}

/// What the peer's decoder supposes of this side's encoder, which uses no dynamic table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// A table of the default size, which stays empty.
    Default,
    /// The peer allows less than that: the next block must say that the table is smaller.
    Due,
    /// It was said that there is none.
    Off,
}

impl Peer {
    /// Before anything was heard of it.
    pub(super) fn new(role: Role) -> Self {
        Peer {
            role,
            window: i64::from(WINDOW_DEFAULT),
            stream_window: WINDOW_DEFAULT,
            frame_bytes_max: FRAME_BYTES_DEFAULT as usize,
            streams_max: STREAMS_UNTIL_SETTINGS,
            is_heard: false,
            connect_protocol: false,
            table: Encoding::Default,
        }
    }

    /// Takes its settings. Returns by how much the windows of open streams change.
    ///
    /// # Errors
    /// A value that its setting can't have.
    pub(super) fn on_settings(&mut self, payload: &[u8]) -> Result<i64, Fault> {
        if !self.is_heard {
            self.is_heard = true;
            self.streams_max = u32::MAX;
        }
        let before = self.stream_window;
        for pair in payload.chunks_exact(6) {
            let &[a, b, c, d, e, f] = pair else { continue };
            self.on_setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))?;
        }
        Ok(i64::from(self.stream_window) - i64::from(before))
    }

    fn on_setting(&mut self, setting: u16, value: u32) -> Result<(), Fault> {
        match setting {
            setting::HEADER_TABLE_SIZE
                if (value as usize) < TABLE_BYTES && self.table == Encoding::Default =>
            {
                self.table = Encoding::Due;
            }
            // A server has nothing that it could be pushed.
            setting::ENABLE_PUSH if value > 1 || self.role == Role::Server && value == 1 => {
                return Err(Fault::protocol("ENABLE_PUSH of a wrong value"));
            }
            setting::MAX_CONCURRENT_STREAMS => self.streams_max = value,
            setting::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(Fault::flow("INITIAL_WINDOW_SIZE above the limit"));
            }
            setting::INITIAL_WINDOW_SIZE => self.stream_window = value,
            setting::MAX_FRAME_SIZE if !(FRAME_BYTES_DEFAULT..=FRAME_BYTES_MAX).contains(&value) => {
                return Err(Fault::protocol("MAX_FRAME_SIZE outside its limits"));
            }
            setting::MAX_FRAME_SIZE => self.frame_bytes_max = value as usize,
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 || self.connect_protocol && value == 0 => {
                return Err(Fault::protocol("ENABLE_CONNECT_PROTOCOL of a wrong value"));
            }
            setting::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
            _ => {}
        }
        Ok(())
    }

    /// The connection's window grows.
    ///
    /// # Errors
    /// By nothing, or above the limit.
    pub(super) fn on_window_update(&mut self, increment: u32) -> Result<(), Fault> {
        if increment == 0 {
            return Err(Fault::protocol("WINDOW_UPDATE of nothing"));
        }
        self.window += i64::from(increment);
        if self.window > i64::from(WINDOW_MAX) {
            return Err(Fault::flow("the connection's window above the limit"));
        }
        Ok(())
    }

    /// Writes a header block to it.
    pub(super) fn headers(&mut self, stream: u32, block: &[u8], end: bool, out: &mut Vec<u8>) {
        let first: &[u8] = match self.table {
            Encoding::Due => {
                self.table = Encoding::Off;
                &[TABLE_OFF]
            }
            Encoding::Default | Encoding::Off => &[],
        };
        frame::headers(stream, [first, block], end, self.frame_bytes_max, out);
    }
}
