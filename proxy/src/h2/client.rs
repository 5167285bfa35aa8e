//! The upstream side: a connection to an endpoint, whose streams are shared by requests.

use std::rc::Rc;

use pinion_core::http::h2::{Connection, Limits};

use super::session::{Session, Settings};
use crate::net::socket::Socket;
use crate::shard::Shard;

/// Begins to speak on a connection that was just made. Streams may be opened at once, as many as
/// `streams_assumed` until the peer says how many; [`serve`] must follow.
pub(crate) fn begin(
    shard: &Rc<Shard>,
    socket: Socket,
    settings: Settings,
    limits: Limits,
    streams_assumed: usize,
) -> Rc<Session> {
    let session = Session::new(shard, socket, settings, false, |out| Connection::client(limits, out));
    session.streams_assumed.set(streams_assumed);
    session
}

/// Moves the connection's bytes until it ends; calls `on_turn` after received bytes were taken in.
pub(crate) async fn serve(session: &Rc<Session>, on_turn: impl Fn()) {
    // Only clients ask for something.
    let _ = session.run(None, &mut |_| (), on_turn).await;
}
