//! Why a connection is given up, and which kind of flood it was if it was one.
//!
//! Stream errors are no errors here: the machine resets the stream and tells with an event.
//!
//! Not here: how much of each kind is too much (`budget`).

use super::frame::ErrorCode;

/// The connection is at its end (RFC 9113 section 5.4.1). A GOAWAY was appended to the output: it is sent, then the
/// connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// What GOAWAY says.
    pub code: ErrorCode,
    /// A short reason for logs.
    pub reason: &'static str,
    /// The budget that was used up, for a counter.
    pub flood: Option<Flood>,
}

impl ConnectionError {
    /// A breach of the protocol.
    pub(super) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        ConnectionError { code, reason, flood: None }
    }

    /// PROTOCOL_ERROR, the usual one.
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self::new(ErrorCode::PROTOCOL_ERROR, reason)
    }

    /// A frame whose size does not suit its type.
    pub(super) const fn size(reason: &'static str) -> Self {
        Self::new(ErrorCode::FRAME_SIZE_ERROR, reason)
    }

    /// Too much of something that is allowed.
    pub(super) const fn flood(flood: Flood) -> Self {
        ConnectionError { code: ErrorCode::ENHANCE_YOUR_CALM, reason: flood.reason(), flood: Some(flood) }
    }
}

macro_rules! floods {
    ($($(#[$doc:meta])* $name:ident $label:literal $reason:literal;)*) => {
        /// What a peer did too often; each has a budget in [`crate::limits`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Flood { $($(#[$doc])* $name,)* }

        impl Flood {
            /// Every kind, in the order of their numbers.
            pub const ALL: &'static [Flood] = &[$(Flood::$name,)*];
            /// How many kinds there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The word for metrics and logs, snake case.
            pub const fn label(self) -> &'static str {
                match self { $(Flood::$name => $label,)* }
            }

            /// A short reason for logs.
            pub const fn reason(self) -> &'static str {
                match self { $(Flood::$name => $reason,)* }
            }
        }
    };
}

floods! {
    /// Requests taken back before they could cost the client anything (CVE-2023-44487).
    RapidReset "rapid_reset" "requests reset as soon as they were sent";
    /// Streams that we had to reset for what the peer did on them (CVE-2025-8671).
    ProvokedReset "provoked_reset" "too many streams broken by the client";
    /// Streams beyond SETTINGS_MAX_CONCURRENT_STREAMS.
    Refused "refused" "too many streams beyond the limit";
    /// CONTINUATION frames, or a header block beyond all measure (CVE-2024-27316).
    Continuation "continuation" "header block of too many frames or bytes";
    /// Header lists over the limit, among them HPACK bombs (CVE-2016-6581).
    HeaderList "header_list" "too many header lists over the limit";
    /// PINGs (CVE-2019-9512).
    Ping "ping" "too many pings";
    /// SETTINGS (CVE-2019-9515).
    Settings "settings" "too many settings";
    /// Frames that do nothing: without content, of unknown types, on streams that are gone (CVE-2019-9518).
    Empty "empty" "too many frames that do nothing";
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priority "priority" "too many priority frames";
    /// WINDOW_UPDATEs that nothing was sent for.
    WindowUpdate "window_update" "too many window updates";
    /// Windows so small that each frame sent carries next to nothing (CVE-2019-9511).
    TinyWindow "tiny_window" "windows too small to send anything in";
    /// Streams that were given no window for long (CVE-2019-9517).
    WindowStall "window_stall" "too many streams without a window";
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.label(), self.reason)
    }
}

impl std::error::Error for ConnectionError {}
