//! One request of a client and what has come of its answer.

use super::Ticket;
use super::answer::{Answer, Messages};
use crate::http2::outgoing::{Outgoing, Sends};
use crate::http2::window::ReceiveWindow;

/// One open stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// None once the answer is complete, while the body is still being sent.
    pub(super) ticket: Option<Ticket>,
    /// What the server may still send.
    pub(super) window: ReceiveWindow,
    pub(super) outgoing: Outgoing,
    pub(super) answer: Answer,
    /// In a streaming call: where the messages of the answer stand.
    pub(super) messages: Option<Messages>,
}

impl Stream {
    /// Begins anew, with the memory there is.
    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        is_head: bool,
        window: u32,
        peer_window: u32,
        is_ended: bool,
    ) {
        self.ticket = Some(ticket);
        self.window = ReceiveWindow::new(window);
        self.outgoing.begin(peer_window, is_ended);
        self.answer = Answer::new(is_head);
        self.messages = None;
    }

    /// From now on content is taken apart into messages.
    pub(super) fn begin_messages(&mut self) {
        self.messages = Some(Messages::default());
    }
}

impl Sends for Stream {
    fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }
}
