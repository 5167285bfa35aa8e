//! What the server's frames do to a client.
//!
//! HOT: a frame that came whole is read where it stands.
//!
//! Invariant: header blocks are decoded even for streams that are no longer there, because the table
//! must follow the server's.

use super::answer::Block;
use super::{Cause, Client, ClientEvent};
use crate::http2::frame::{self, Fault, HEADER_LIST_BYTES_MAX, code};
use crate::http2::reader::{Incoming, Reader};
use crate::message::Malformed;

impl Client {
    /// Takes the next bytes; frames to send go to `out`, what happened to `events`.
    ///
    /// # Errors
    /// The server broke the protocol: the connection is lost (GOAWAY was written), and whatever is in
    /// flight with it. Later calls say the same.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Malformed> {
        if let Some(lost) = self.lost {
            return Err(lost);
        }
        let mut reader: Reader = std::mem::take(&mut self.reader);
        let outcome = loop {
            match reader.next(&mut bytes) {
                Ok(None) => break Ok(()),
                Ok(Some(incoming)) => {
                    if let Err(fault) = self.on_frame(incoming, out, events) {
                        break Err(fault);
                    }
                }
                Err(fault) => break Err(fault),
            }
        };
        self.reader = reader;
        outcome.map_err(|fault| {
            frame::go_away(0, fault.code, fault.text, out);
            *self.lost.insert(Malformed(fault.text))
        })
    }

    fn on_frame(
        &mut self,
        incoming: Incoming<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Fault> {
        if !self.peer.is_heard && !matches!(incoming, Incoming::Settings(_)) {
            return Err(Fault::protocol("a server that does not begin with its settings"));
        }
        match incoming {
            Incoming::Head { stream, block, end } => self.on_head(stream, block, end, out, events),
            Incoming::Data { stream, bytes, end, flow } => {
                self.on_data(stream, bytes, end, flow, out, events)
            }
            Incoming::Reset { stream, code } => self.on_reset(stream, code, events),
            Incoming::Settings(payload) => self.on_settings(payload, out),
            Incoming::SettingsAck if self.is_settled => Err(Fault::protocol("settings acknowledged twice")),
            Incoming::SettingsAck => {
                self.is_settled = true;
                Ok(())
            }
            Incoming::Ping(opaque) => {
                frame::ping_ack(opaque, out);
                Ok(())
            }
            Incoming::GoAway { last } => self.on_go_away(last, events),
            Incoming::WindowUpdate { stream, increment } => {
                self.on_window_update(stream, increment, out, events)
            }
            Incoming::Nothing => Ok(()),
        }
    }

    /// A frame on a stream that never was.
    fn not_idle(&self, stream: u32) -> Result<(), Fault> {
        if stream.is_multiple_of(2) || stream >= self.next_stream {
            return Err(Fault::protocol("a frame on a stream that was not opened"));
        }
        Ok(())
    }

    /// A frame on a stream that has ended for the server.
    fn is_excused(&self, stream: u32) -> Result<(), Fault> {
        if self.resets.excuse(stream) {
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
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Fault> {
        self.not_idle(id)?;
        let Some(stream) = self.streams.by_id(id).filter(|stream| stream.ticket.is_some()) else {
            self.decoder.decode(block, 0, |_, _| ())?;
            return self.is_excused(id);
        };
        let mut fields = Block::new(stream.answer.has_head(), self.options.counted);
        let fits =
            self.decoder.decode(block, HEADER_LIST_BYTES_MAX, |name, value| fields.on_field(name, value))?;
        if !fits {
            fields.on_too_long();
        }
        match stream.answer.on_block(fields, end) {
            Ok(()) => {
                if stream.answer.is_no_call() {
                    stream.messages = None;
                }
                if end {
                    self.on_end(id, 0, out, events);
                }
            }
            Err(wrong) => self.fail(id, code::PROTOCOL_ERROR, wrong, out, events),
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        id: u32,
        bytes: &[u8],
        end: bool,
        flow: u32,
        out: &mut Vec<u8>,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Fault> {
        self.not_idle(id)?;
        if !self.window.take(flow) {
            return Err(Fault::flow("more content than the connection's window"));
        }
        if let Some(increment) = self.window.due() {
            frame::window_update(0, increment, out);
        }
        let Some(stream) = self.streams.by_id(id) else { return self.is_excused(id) };
        let Some(ticket) = stream.ticket else { return self.is_excused(id) };
        if !stream.window.take(flow) {
            self.fail(id, code::FLOW_CONTROL_ERROR, "more content than the stream's window", out, events);
            return Ok(());
        }
        let messages = stream.messages.as_mut().map_or(Ok(()), |messages| {
            messages.on_content(bytes, |bytes| events.push(ClientEvent::Message { ticket, bytes }))
        });
        if let Err(wrong) = messages {
            self.fail(id, code::PROTOCOL_ERROR, wrong, out, events);
        } else if end {
            self.on_end(id, bytes.len(), out, events);
        } else if let Err(wrong) = stream.answer.on_content(bytes.len(), false) {
            self.fail(id, code::PROTOCOL_ERROR, wrong, out, events);
        } else if let Some(increment) = stream.window.due() {
            frame::window_update(id, increment, out);
        }
        Ok(())
    }

    /// The answer is complete with these bytes of content.
    fn on_end(&mut self, id: u32, bytes: usize, out: &mut Vec<u8>, events: &mut Vec<ClientEvent>) {
        let Some(stream) = self.streams.by_id(id) else { return };
        let cut_off = stream.messages.is_some_and(|messages| !messages.is_between());
        let verdict = stream.answer.on_content(bytes, true);
        if let Err(wrong) = verdict.and(if cut_off { Err("a message cut off") } else { Ok(()) }) {
            return self.fail(id, code::PROTOCOL_ERROR, wrong, out, events);
        }
        if let Some(ticket) = stream.ticket.take() {
            self.by_ticket.remove(&ticket);
            events.push(ClientEvent::Answered {
                ticket,
                status: stream.answer.status,
                grpc_status: stream.answer.grpc_status,
                content_bytes: stream.answer.content_bytes,
                counted: stream.answer.counted.take(),
            });
        }
        if stream.outgoing.is_ended() {
            self.streams.close(id);
        } else if stream.outgoing.is_open() {
            // A call whose other end is gone: nobody can finish this side any more.
            self.reset(id, code::NO_ERROR, out);
        }
        // Otherwise the rest of the body still goes out (RFC 9113, section 8.1).
    }

    /// The stream is given up because of what the server sent on it.
    fn fail(
        &mut self,
        id: u32,
        code: u32,
        wrong: &'static str,
        out: &mut Vec<u8>,
        events: &mut Vec<ClientEvent>,
    ) {
        frame::reset(id, code, out);
        self.resets.add(id);
        self.close_failed(id, Cause::Malformed(wrong), events);
    }

    /// Closes a stream; its request failed, unless it was answered before.
    fn close_failed(&mut self, id: u32, cause: Cause, events: &mut Vec<ClientEvent>) {
        if let Some(ticket) = self.streams.close(id).and_then(|stream| stream.ticket.take()) {
            self.by_ticket.remove(&ticket);
            events.push(ClientEvent::Failed { ticket, cause });
        }
    }

    fn on_reset(&mut self, id: u32, code: u32, events: &mut Vec<ClientEvent>) -> Result<(), Fault> {
        self.not_idle(id)?;
        let cause = if code == code::REFUSED_STREAM { Cause::Unprocessed } else { Cause::Reset(code) };
        self.close_failed(id, cause, events);
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

    fn on_go_away(&mut self, last: u32, events: &mut Vec<ClientEvent>) -> Result<(), Fault> {
        if self.last_stream.is_some_and(|before| last > before) {
            return Err(Fault::protocol("GOAWAY takes back what it said"));
        }
        self.last_stream = Some(last);
        let mut above: Vec<u32> = self.streams.ids().filter(|&id| id > last).collect();
        above.sort_unstable();
        for id in above {
            self.resets.add(id);
            self.close_failed(id, Cause::Unprocessed, events);
        }
        Ok(())
    }

    fn on_window_update(
        &mut self,
        id: u32,
        increment: u32,
        out: &mut Vec<u8>,
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Fault> {
        if id == 0 {
            self.peer.on_window_update(increment)?;
            self.pump(out);
            return Ok(());
        }
        self.not_idle(id)?;
        let Some(stream) = self.streams.by_id(id) else { return Ok(()) };
        if increment == 0 {
            self.fail(id, code::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing", out, events);
        } else if !stream.outgoing.on_window(i64::from(increment)) {
            self.fail(id, code::FLOW_CONTROL_ERROR, "a stream's window above the limit", out, events);
        } else {
            self.ready.list(id, &mut stream.outgoing);
            self.pump(out);
        }
        Ok(())
    }
}
