//! Bytes that come back, on a bare TCP or TLS connection: a request is its content, its answer as many bytes.

use super::failure::Failure;
use super::request::Prepared;
use super::wire::{Answer, Event, Output, Ticket};

/// One exchange at a time.
#[derive(Default)]
pub(crate) struct Echo {
    /// The request, the bytes that it had, and how many of them are still to come.
    awaited: Option<(Ticket, usize, usize)>,
}

impl Echo {
    /// One at a time.
    pub(crate) fn room(&self) -> usize {
        usize::from(self.awaited.is_none())
    }

    /// Writes the content; at least one byte, without which there would be no answer.
    pub(crate) fn send(&mut self, ticket: Ticket, request: &Prepared, out: &mut Output<'_>) {
        let body = request.body(out.random);
        let bytes = if body.is_empty() { &b"\n"[..] } else { &body[..] };
        out.bytes.extend_from_slice(bytes);
        self.awaited = Some((ticket, bytes.len(), bytes.len()));
    }

    /// Counts what comes back.
    ///
    /// # Errors
    /// More came than was sent.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let Some((ticket, length, left)) = &mut self.awaited else {
            return if bytes.is_empty() { Ok(()) } else { Err(Failure::Malformed) };
        };
        *left = left.checked_sub(bytes.len()).ok_or(Failure::Malformed)?;
        if *left == 0 {
            let answer = Answer { status: 200, content_bytes: *length as u64, ..Answer::default() };
            events.push(Event::Answered { ticket: *ticket, answer });
            self.awaited = None;
        }
        Ok(())
    }
}
