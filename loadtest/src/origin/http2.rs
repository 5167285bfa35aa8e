//! One HTTP/2 connection of the origin: moves bytes between the socket and its streams, and wakes those
//! whose time has come. One task does it all.
//!
//! ```text
//!        ┌──────────── what is due goes out ◀─────────────┐
//! read ──┴─▶ streams ─▶ output ─▶ written whole ─▶ wait: ─┴─ bytes came, or the next due time
//! ```
//!
//! Invariants: one read is always under way and is never given up (on io_uring its bytes would be lost);
//! the output is written before the connection waits.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use super::connection::Facts;
use super::state::{Busy, Thread};
use super::streams::Streams;
use super::wire::{LINGER, Reader, Stream, Wire};

/// Serves one connection to its end; `input` is what has been read of it.
pub(super) async fn serve<S: Stream>(
    wire: Wire<S>,
    mut input: Vec<u8>,
    facts: Facts,
    thread: Rc<Thread>,
) -> io::Result<()> {
    let busy = Busy::new(&thread);
    let Wire { reader, mut writer, raw } = wire;
    let mut streams = Streams::new(facts, Rc::clone(&thread));
    let mut output = Vec::new();
    streams.begin(&mut output);
    let mut reading = pin!(read(reader, raw));
    loop {
        let outcome = streams.feed(&input, &mut output);
        input.clear();
        busy.set(streams.is_busy());
        while streams.advance(Instant::now(), &mut output) {
            writer.write(&mut output).await?;
        }
        writer.write(&mut output).await?;
        if outcome.is_err() || streams.is_over() {
            break;
        }
        busy.set(streams.is_busy());
        let read_or_due = wait(reading.as_mut(), streams.due(), &thread);
        if let Some((reader, result, mut buffer)) = read_or_due.await {
            let ended = result? == 0 || writer.open(&mut buffer, &mut input).await?;
            buffer.clear();
            reading.set(read(reader, buffer));
            if ended {
                // What the peer still sent is answered before the end.
                let _ = streams.feed(&input, &mut output);
                while streams.advance(Instant::now(), &mut output) {}
                writer.write(&mut output).await?;
                break;
            }
        }
    }
    writer.shutdown().await?;
    // Closing with unread input would reset the connection and could destroy what is on its way.
    let drained = async {
        loop {
            let (reader, result, mut buffer) = reading.as_mut().await;
            if result? == 0 {
                return Ok(());
            }
            buffer.clear();
            reading.set(read(reader, buffer));
        }
    };
    monoio::time::timeout(LINGER, drained).await.unwrap_or(Ok(()))
}

type Read<S> = (Reader<S>, io::Result<usize>, Vec<u8>);

/// A read that owns all it needs, so that it can go on while other things happen.
async fn read<S: Stream>(mut reader: Reader<S>, buffer: Vec<u8>) -> Read<S> {
    let (result, buffer) = reader.read(buffer).await;
    (reader, result, buffer)
}

/// Waits for bytes, or for `due`.
async fn wait<S: Stream, F: Future<Output = Read<S>>>(
    mut reading: Pin<&mut F>,
    due: Option<Instant>,
    thread: &Thread,
) -> Option<Read<S>> {
    let mut timer = due.map(|at| thread.alarm.until(at));
    poll_fn(|context| {
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Some(read));
        }
        match &mut timer {
            Some(timer) => Pin::new(timer).poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
