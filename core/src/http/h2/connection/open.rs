//! The beginning of a connection: the preface, what we ask for, and the value itself (RFC 9113 section 3.4).
//!
//! Not here: the peer's preface (`receive`).

use std::collections::VecDeque;

use super::super::flow::{ReceiveWindow, SendWindow};
use super::super::frame::{
    ErrorCode, FRAME_BYTES_DEFAULT, FrameHead, Kind, PREFACE, TABLE_BYTES_DEFAULT, WINDOW_DEFAULT, setting,
};
use super::super::settings::{self, PeerSettings};
use super::{
    Connection, Decoder, Drain, Encoder, Instant, Limits, Meter, Past, Reading, Role, Streams, control,
};

/// A server says how much it takes, and that it heeds no PRIORITY.
pub(super) fn server(limits: Limits, out: &mut Vec<u8>) -> Connection {
    let own = [
        (setting::MAX_CONCURRENT_STREAMS, limits.concurrent_streams),
        (setting::MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
        (setting::NO_RFC7540_PRIORITIES, 1),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
    ];
    let own = if limits.extended_connect { &own[..] } else { &own[..3] };
    greet(Role::Server, limits, own, out)
}

/// A client wants no pushed streams.
pub(super) fn client(limits: Limits, out: &mut Vec<u8>) -> Connection {
    out.extend_from_slice(PREFACE);
    let own = [(setting::ENABLE_PUSH, 0), (setting::MAX_HEADER_LIST_SIZE, limits.header_list_bytes)];
    greet(Role::Client, limits, &own, out)
}

/// Appends SETTINGS with what is not the protocol's default, and opens the connection's window.
fn greet(role: Role, limits: Limits, own: &[(u16, u32)], out: &mut Vec<u8>) -> Connection {
    let common = [
        (setting::HEADER_TABLE_SIZE, limits.table_bytes, TABLE_BYTES_DEFAULT),
        (setting::INITIAL_WINDOW_SIZE, limits.stream_window, WINDOW_DEFAULT),
        (setting::MAX_FRAME_SIZE, limits.frame_bytes, FRAME_BYTES_DEFAULT),
    ];
    let mut entries = [(0, 0); 8];
    let mut count = 0;
    let changed = common.iter().filter(|(_, value, default)| value != default);
    for entry in own.iter().copied().chain(changed.map(|&(id, value, _)| (id, value))) {
        entries[count] = entry;
        count += 1;
    }
    settings::put(out, &entries[..count]);
    let more = limits.connection_window - WINDOW_DEFAULT;
    if more > 0 {
        control::put_window_update(out, 0, more);
    }
    let mut decoder = Decoder::new();
    // A smaller table holds once the peer knows of it.
    decoder.set_limit(limits.table_bytes.max(TABLE_BYTES_DEFAULT) as usize);
    Connection {
        role,
        limits,
        peer: PeerSettings::default(),
        acknowledged: false,
        greeted: false,
        reading: if role == Role::Server { Reading::Preface(0) } else { Reading::Head },
        head: [0; super::HEAD_BYTES],
        head_len: 0,
        partial: Vec::new(),
        block: Vec::new(),
        block_of: None,
        decoder,
        encoder: Encoder::new(TABLE_BYTES_DEFAULT as usize),
        streams: Streams::new(),
        past: Past::new(),
        newest: 0,
        send: SendWindow::new(WINDOW_DEFAULT),
        receive: ReceiveWindow::new(limits.connection_window),
        held: 0,
        promised: 0,
        clock: Instant::ZERO,
        meter: Meter::new(limits.budget),
        flood: None,
        drain: Drain::No,
        peer_last: None,
        pings: 0,
        lost: VecDeque::new(),
        dead: None,
    }
}

impl Connection {
    /// Appends GOAWAY.
    pub(super) fn put_goaway(&self, last: u32, code: ErrorCode, out: &mut Vec<u8>) {
        out.extend_from_slice(&FrameHead { length: 8, kind: Kind::GoAway, flags: 0, stream: 0 }.encode());
        out.extend_from_slice(&last.to_be_bytes());
        out.extend_from_slice(&code.0.to_be_bytes());
    }
}
