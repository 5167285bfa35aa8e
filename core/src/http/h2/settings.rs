//! SETTINGS (RFC 9113 section 6.5): what the peer asks for, and what we say.
//!
//! Invariants: a value outside its range never gets in; identifiers that are not known are ignored.
//!
//! Not here: what follows from a change (`connection`).

use super::error::ConnectionError;
use super::frame::{
    ErrorCode, FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX, FrameHead, Kind, TABLE_BYTES_DEFAULT, WINDOW_DEFAULT,
    WINDOW_MAX, setting,
};

/// Bytes of one parameter.
pub(super) const ENTRY_BYTES: usize = 6;

/// What the peer has asked for so far; what holds before it says anything is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerSettings {
    /// Bytes of the table that we may use for compression.
    pub table_bytes: u32,
    /// Streams that we may have open.
    pub concurrent_streams: u32,
    /// The window of each new stream.
    pub stream_window: u32,
    /// The largest payload it takes.
    pub frame_bytes: u32,
    /// The largest header list it takes, as far as it said: `u32::MAX` is no limit.
    pub header_list_bytes: u32,
    /// It understands extended CONNECT (RFC 8441).
    pub extended_connect: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        PeerSettings {
            table_bytes: TABLE_BYTES_DEFAULT,
            concurrent_streams: u32::MAX,
            stream_window: WINDOW_DEFAULT,
            frame_bytes: FRAME_BYTES_DEFAULT,
            header_list_bytes: u32::MAX,
            extended_connect: false,
        }
    }
}

impl PeerSettings {
    /// Takes over the parameters of one SETTINGS frame, in their order.
    ///
    /// # Errors
    /// A value is outside its range.
    pub(super) fn apply(&mut self, payload: &[u8], from_server: bool) -> Result<(), ConnectionError> {
        for entry in payload.chunks_exact(ENTRY_BYTES) {
            let &[i0, i1, v0, v1, v2, v3] = entry else { continue };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            self.set(u16::from_be_bytes([i0, i1]), value, from_server)?;
        }
        Ok(())
    }

    fn set(&mut self, id: u16, value: u32, from_server: bool) -> Result<(), ConnectionError> {
        match id {
            setting::HEADER_TABLE_SIZE => self.table_bytes = value,
            setting::ENABLE_PUSH if value > u32::from(!from_server) => {
                return Err(ConnectionError::protocol("ENABLE_PUSH out of range"));
            }
            setting::MAX_CONCURRENT_STREAMS => self.concurrent_streams = value,
            setting::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(ConnectionError::new(
                    ErrorCode::FLOW_CONTROL_ERROR,
                    "INITIAL_WINDOW_SIZE out of range",
                ));
            }
            setting::INITIAL_WINDOW_SIZE => self.stream_window = value,
            setting::MAX_FRAME_SIZE if !(FRAME_BYTES_DEFAULT..=FRAME_BYTES_MAX).contains(&value) => {
                return Err(ConnectionError::protocol("MAX_FRAME_SIZE out of range"));
            }
            setting::MAX_FRAME_SIZE => self.frame_bytes = value,
            setting::MAX_HEADER_LIST_SIZE => self.header_list_bytes = value,
            // RFC 8441 section 3: never back to 0.
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 || value == 0 && self.extended_connect => {
                return Err(ConnectionError::protocol("ENABLE_CONNECT_PROTOCOL out of range"));
            }
            setting::ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
            // RFC 9218 section 2.1.
            setting::NO_RFC7540_PRIORITIES if value > 1 => {
                return Err(ConnectionError::protocol("NO_RFC7540_PRIORITIES out of range"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Appends a SETTINGS frame.
pub(super) fn put(out: &mut Vec<u8>, entries: &[(u16, u32)]) {
    let length = (entries.len() * ENTRY_BYTES) as u32;
    out.extend_from_slice(&FrameHead { length, kind: Kind::Settings, flags: 0, stream: 0 }.encode());
    for (id, value) in entries {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_ranges() {
        const FLOW: u32 = ErrorCode::FLOW_CONTROL_ERROR.0;
        #[rustfmt::skip]
        let rows: &[(u16, u32, bool, Option<u32>)] = &[
            (setting::ENABLE_PUSH, 0, false, None),
            (setting::ENABLE_PUSH, 1, false, None),
            (setting::ENABLE_PUSH, 2, false, Some(1)),
            (setting::ENABLE_PUSH, 0, true, None),
            (setting::ENABLE_PUSH, 1, true, Some(1)),
            (setting::INITIAL_WINDOW_SIZE, WINDOW_MAX, false, None),
            (setting::INITIAL_WINDOW_SIZE, WINDOW_MAX + 1, false, Some(FLOW)),
            (setting::MAX_FRAME_SIZE, 16_383, false, Some(1)),
            (setting::MAX_FRAME_SIZE, 16_384, false, None),
            (setting::MAX_FRAME_SIZE, 16_777_215, false, None),
            (setting::MAX_FRAME_SIZE, 16_777_216, false, Some(1)),
            (setting::ENABLE_CONNECT_PROTOCOL, 1, true, None),
            (setting::ENABLE_CONNECT_PROTOCOL, 2, true, Some(1)),
            (setting::NO_RFC7540_PRIORITIES, 1, true, None),
            (setting::NO_RFC7540_PRIORITIES, 2, true, Some(1)),
            (setting::HEADER_TABLE_SIZE, u32::MAX, false, None),
            (0x0a0a, 7, false, None),
        ];
        for &(id, value, from_server, expected) in rows {
            let mut out = Vec::new();
            put(&mut out, &[(id, value)]);
            let applied = PeerSettings::default().apply(&out[9..], from_server);
            assert_eq!(applied.err().map(|error| error.code.0), expected, "{id} = {value}");
        }
    }

    #[test]
    fn the_last_of_several_counts() {
        let mut out = Vec::new();
        let id = setting::INITIAL_WINDOW_SIZE;
        put(&mut out, &[(id, 1), (setting::MAX_CONCURRENT_STREAMS, 0), (id, 2)]);
        let mut settings = PeerSettings::default();
        assert_eq!(settings.apply(&out[9..], false), Ok(()));
        assert_eq!((settings.stream_window, settings.concurrent_streams), (2, 0));
    }

    #[test]
    fn extended_connect_is_never_taken_back() {
        let mut settings = PeerSettings::default();
        let id = setting::ENABLE_CONNECT_PROTOCOL;
        assert!(settings.set(id, 0, true).is_ok() && settings.set(id, 1, true).is_ok());
        assert!(settings.extended_connect && settings.set(id, 0, true).is_err());
    }
}
