//! What the client's frames do to a server.
//!
//! Invariant: header blocks are decoded even for streams that are not served, because the table must
//! follow the client's.

use super::request::Request;
use super::{Server, ServerEvent};
use crate::http2::frame::{self, Fault, HEADER_LIST_BYTES_MAX, PREFACE, WINDOW_DEFAULT, code};
use crate::http2::reader::Incoming;
use crate::http2::window::ReceiveWindow;
use crate::message::Malformed;

impl Server {
    /// Takes the next bytes; frames to send go to `out`, what happened to `events`.
    ///
    /// # Errors
    /// The client broke the protocol: the connection is lost (GOAWAY was written), and whatever is open
    /// with it. Later calls say the same.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), Malformed> {
        if let Some(lost) = self.lost {
            return Err(lost);
        }
        let mut reader = std::mem::take(&mut self.reader);
        let mut outcome = self.on_preface(&mut bytes);
        while outcome.is_ok() {
            outcome = match reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(incoming)) => self.on_frame(incoming, out, events),
                Err(fault) => Err(fault),
            };
        }
        self.reader = reader;
        outcome.map_err(|fault| {
            frame::go_away(self.last_stream, fault.code, fault.text, out);
            *self.lost.insert(Malformed(fault.text))
        })
    }

    fn on_preface(&mut self, bytes: &mut &[u8]) -> Result<(), Fault> {
        let missing = &PREFACE[self.preface_bytes..];
        let (now, later) = bytes.split_at(missing.len().min(bytes.len()));
        if !missing.starts_with(now) {
            return Err(Fault::protocol("not the preface of HTTP/2"));
        }
        self.preface_bytes += now.len();
        *bytes = later;
        Ok(())
    }

    fn on_frame(
        &mut self,
        incoming: Incoming<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), Fault> {
        if !self.peer.is_heard && !matches!(incoming, Incoming::Settings(_)) {
            return Err(Fault::protocol("a client that does not begin with its settings"));
        }
        match incoming {
            Incoming::Head { stream, block, end } => self.on_head(stream, block, end, out, events),
            Incoming::Data { stream, bytes, end, flow } => {
                self.on_data(stream, bytes, end, flow, out, events)
            }
            Incoming::Reset { stream, .. } => self.on_reset(stream, events),
            Incoming::Settings(payload) => self.on_settings(payload, out),
            Incoming::SettingsAck => self.on_settled(out),
            Incoming::Ping(opaque) => {
                frame::ping_ack(opaque, out);
                Ok(())
            }
            Incoming::WindowUpdate { stream, increment } => {
                self.on_window_update(stream, increment, out, events)
            }
            // The client's GOAWAY is about streams that a server opens, and this one opens none.
            Incoming::GoAway { .. } | Incoming::Nothing => Ok(()),
        }
    }

    /// A frame on a stream that never was.
    fn not_idle(&self, stream: u32) -> Result<(), Fault> {
        if stream.is_multiple_of(2) || stream > self.last_stream {
            return Err(Fault::protocol("a frame on a stream that was not opened"));
        }
        Ok(())
    }

    /// A frame on a stream that has ended for the client.
    fn is_excused(&self, stream: u32) -> Result<(), Fault> {
        if self.resets.excuse(stream) || self.last_served.is_some_and(|last| stream > last) {
            return Ok(());
        }
        Err(Fault { code: code::STREAM_CLOSED, text: "a frame on a stream that has ended" })
    }

    fn on_head(
        &mut self,
        id: u32,
        block: &[u8],
        end: bool,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), Fault> {
        if id.is_multiple_of(2) {
            return Err(Fault::protocol("a client's stream of an even number"));
        }
        let is_new = id > self.last_stream;
        let is_open = self.streams.by_id(id).is_some_and(|stream| !stream.is_complete);
        let is_served = is_new && self.last_served.is_none();
        if !is_served && !is_open {
            self.last_stream = self.last_stream.max(id);
            self.decoder.decode(block, 0, |_, _| ())?;
            return if is_new { Ok(()) } else { self.is_excused(id) };
        }
        let mut request = Request::new(is_open);
        let fits =
            self.decoder.decode(block, HEADER_LIST_BYTES_MAX, |name, value| request.on_field(name, value))?;
        let verdict = request.check(fits, end, self.options.connect_protocol);
        if is_open {
            self.on_trailers(id, request, verdict, out, events);
        } else {
            self.last_stream = id;
            self.on_request(id, request, verdict, end, out, events);
        }
        Ok(())
    }

    fn on_request(
        &mut self,
        id: u32,
        request: Request,
        verdict: Result<(), &'static str>,
        end: bool,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) {
        if let Err(why) = verdict {
            return self.reject(id, code::PROTOCOL_ERROR, why, out, events);
        }
        if self.streams.len() >= self.options.max_streams as usize {
            frame::reset(id, code::REFUSED_STREAM, out);
            self.resets.add(id);
            return;
        }
        let window = if self.is_settled { self.options.window } else { WINDOW_DEFAULT };
        let stream = self.streams.open(id);
        stream.window = ReceiveWindow::new(window);
        stream.outgoing.begin(self.peer.stream_window, false);
        (stream.is_answered, stream.is_complete) = (false, end);
        (stream.length, stream.received) = (request.length, 0);
        events.push(ServerEvent::Head { stream: id, fields: request.fields, end });
    }

    fn on_trailers(
        &mut self,
        id: u32,
        request: Request,
        verdict: Result<(), &'static str>,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) {
        let Some(stream) = self.streams.by_id(id) else { return };
        let whole = stream.length.admits(stream.received, true);
        let whole = if whole { Ok(()) } else { Err("content of a wrong length") };
        match verdict.and(whole) {
            Ok(()) => {
                events.push(ServerEvent::Trailers { stream: id, fields: request.fields });
                self.on_complete(id);
            }
            Err(why) => self.reject(id, code::PROTOCOL_ERROR, why, out, events),
        }
    }

    fn on_data(
        &mut self,
        id: u32,
        bytes: &[u8],
        end: bool,
        flow: u32,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), Fault> {
        self.not_idle(id)?;
        if !self.window.take(flow) {
            return Err(Fault::flow("more content than the connection's window"));
        }
        if let Some(increment) = self.window.due() {
            frame::window_update(0, increment, out);
        }
        let stream = self.streams.by_id(id).filter(|stream| !stream.is_complete);
        let Some(stream) = stream else { return self.is_excused(id) };
        stream.received += bytes.len() as u64;
        if !stream.window.take(flow) {
            self.reject(id, code::FLOW_CONTROL_ERROR, "more content than the stream's window", out, events);
        } else if !stream.length.admits(stream.received, end) {
            self.reject(id, code::PROTOCOL_ERROR, "content of a wrong length", out, events);
        } else {
            if !end && let Some(increment) = stream.window.due() {
                frame::window_update(id, increment, out);
            }
            if end || !bytes.is_empty() {
                events.push(ServerEvent::Data { stream: id, bytes: bytes.to_vec(), end });
            }
            if end {
                self.on_complete(id);
            }
        }
        Ok(())
    }

    /// The request has ended.
    fn on_complete(&mut self, id: u32) {
        let Some(stream) = self.streams.by_id(id) else { return };
        stream.is_complete = true;
        if stream.outgoing.is_ended() {
            self.streams.close(id);
        }
    }

    /// The stream is given up because of what the client sent on it.
    fn reject(
        &mut self,
        id: u32,
        code: u32,
        why: &'static str,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) {
        frame::reset(id, code, out);
        self.resets.add(id);
        self.streams.close(id);
        events.push(ServerEvent::Rejected { stream: id, why });
    }

    fn on_reset(&mut self, id: u32, events: &mut Vec<ServerEvent>) -> Result<(), Fault> {
        self.not_idle(id)?;
        if self.streams.close(id).is_some() {
            events.push(ServerEvent::Reset { stream: id });
        }
        Ok(())
    }

    fn on_settings(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let change = self.peer.on_settings(payload)?;
        frame::settings_ack(out);
        if change != 0 {
            self.ready.on_windows(&mut self.streams, change)?;
            self.pump(out);
        }
        Ok(())
    }

    /// The client knows this side's settings: what it sends from now on keeps to the streams' windows.
    fn on_settled(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.is_settled, true) {
            return Err(Fault::protocol("settings acknowledged twice"));
        }
        let window = self.options.window;
        self.streams.each(|id, stream| {
            stream.window.settle(window);
            if !stream.is_complete
                && let Some(increment) = stream.window.due()
            {
                frame::window_update(id, increment, out);
            }
        });
        Ok(())
    }

    fn on_window_update(
        &mut self,
        id: u32,
        increment: u32,
        out: &mut Vec<u8>,
        events: &mut Vec<ServerEvent>,
    ) -> Result<(), Fault> {
        if id == 0 {
            self.peer.on_window_update(increment)?;
            self.pump(out);
            return Ok(());
        }
        self.not_idle(id)?;
        let Some(stream) = self.streams.by_id(id) else { return Ok(()) };
        if increment == 0 {
            self.reject(id, code::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing", out, events);
        } else if !stream.outgoing.on_window(i64::from(increment)) {
            self.reject(id, code::FLOW_CONTROL_ERROR, "a stream's window above the limit", out, events);
        } else {
            self.ready.list(id, &mut stream.outgoing);
            self.pump(out);
        }
        Ok(())
    }
}
