//! The downstream side: a client's connection, and what it asks for.

use std::rc::Rc;

use pinion_core::fault::Fault;
use pinion_core::http::h2::{Connection, Limits};

use super::moving::Resting;
use super::pump::Ended;
use super::session::{Session, Settings};
use super::stream::Stream;
use crate::net::socket::Socket;
use crate::serve::trip::Trip;
use crate::shard::Shard;
use crate::sys::buffer::Buffer;

/// A request that has just begun.
pub(crate) struct NewRequest {
    /// Its body comes, and its answer goes, here.
    pub(crate) stream: Stream,
    /// Its head is in here; to be given back to the shard's trips.
    pub(crate) trip: Box<Trip>,
    /// The text that the head's spans lie in.
    pub(crate) text: Buffer,
    /// It has no body.
    pub(crate) end: bool,
    /// The head can't be served (the head in `trip` is not valid): it gets this answer.
    pub(crate) refused: Option<Fault>,
}

/// How a connection begins.
pub(crate) enum Start {
    /// Anew: the client's preface comes.
    Fresh(Limits),
    /// As it was on another shard.
    Resumed(Box<Resting>),
}

/// How serving a connection ended.
pub(crate) enum Served {
    /// It is closed.
    Closed,
    /// It is to go to shard `to`; the socket is still open.
    Moved {
        /// The shard.
        to: usize,
        /// How it goes on there, with [`Start::Resumed`].
        resting: Box<Resting>,
    },
}

/// Serves a client's connection until it ends or is moved. `inbuf` is what has been received of it; `on_request`
/// gets every request that begins, and must not wait.
pub(crate) async fn serve_connection(
    shard: &Rc<Shard>,
    socket: Socket,
    settings: Settings,
    start: Start,
    inbuf: Option<Buffer>,
    mut on_request: impl FnMut(NewRequest),
) -> Served {
    let (session, waiting) = match start {
        Start::Fresh(limits) => {
            let make = |out: &mut Vec<u8>| Connection::server(limits, out);
            (Session::new(shard, socket, settings, false, make), Vec::new())
        }
        Start::Resumed(resting) => {
            let Resting { machine, begun, waiting } = *resting;
            let session = Session::new(shard, socket, settings, true, |_| machine);
            session.begun.set(begun);
            session.work_seen.set(begun);
            (session, waiting)
        }
    };
    if session.settings().movable {
        shard.h2.placement.add(&session);
    }
    session.resume(waiting, &mut on_request);
    match session.run(inbuf, &mut on_request, || ()).await {
        Ended::Closed => Served::Closed,
        Ended::Moved(to) => match session.into_resting() {
            Some(resting) => Served::Moved { to, resting: Box::new(resting) },
            // Somebody holds a handle without a stream. Nobody does, but to lose a connection is better than to
            // serve it twice.
            None => Served::Closed,
        },
    }
}
