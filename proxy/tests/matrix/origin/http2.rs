//! The origin's HTTP/2, by the `h2` crate.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};

use super::{Plan, Seen, Shared, described, plan};
use crate::client::{listed, mapped};
use crate::http1::Io;
use crate::message::{Broken, Content, Fields, Head};

/// Serves a connection to its end.
pub(super) async fn serve(io: Io, shared: &Arc<Shared>) -> Result<(), Broken> {
    let mut connection = h2::server::Builder::new().enable_connect_protocol().handshake(io).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let shared = Arc::clone(shared);
        tokio::spawn(async move { drop(turn(request, respond, &shared).await) });
    }
    Ok(())
}

/// One request.
async fn turn(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
) -> Result<(), Broken> {
    let (parts, mut body) = request.into_parts();
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != shared.scheme) {
        let head = Head { status: 421, ..Head::default() };
        return answer(&mut respond, "GET", &head, &Content::Known(Bytes::from_static(b"another scheme")));
    }
    let path = parts.uri.path_and_query().map_or("*", |path| path.as_str()).to_owned();
    let seen = Seen { method: parts.method.to_string(), path, fields: listed(&parts.headers) };
    match plan(&seen) {
        Plan::Answer(head, content) => {
            read(&mut body).await?;
            answer(&mut respond, &seen.method, &head, &content)
        }
        Plan::Echo(interim) => {
            let head = Head { interim, status: 200, fields: Fields::new() };
            say_interim(&mut respond, &head.interim)?;
            let (content, trailers) = read(&mut body).await?;
            let head = Head { interim: Vec::new(), ..head };
            answer(&mut respond, &seen.method, &head, &Content::Known(described(&seen, &content, &trailers)))
        }
        Plan::Early(status) => {
            let head = Head { status, ..Head::default() };
            answer(&mut respond, "POST", &head, &Content::Known(Bytes::from_static(b"too much")))?;
            settle().await;
            respond.send_reset(Reason::NO_ERROR);
            Ok(())
        }
        Plan::ResetHead => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Plan::ResetBody(part) => {
            let response =
                Response::builder().status(200).header("content-length", part.len() * 2).body(())?;
            let mut stream = respond.send_response(response, false)?;
            send(&mut stream, part).await?;
            settle().await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Plan::Hang => {
            shared.hanging.fetch_add(1, Ordering::SeqCst);
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
            shared.given_up.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        Plan::Gate => {
            let mut stream = respond.send_response(Response::new(()), false)?;
            stream.send_data(Bytes::from_static(b"first"), false)?;
            shared.gate.acquire().await?.forget();
            Ok(stream.send_data(Bytes::from_static(b"second"), true)?)
        }
        Plan::Socket => socket(&parts.extensions, body, respond).await,
        Plan::Call => call(&seen, body, respond).await,
    }
}

/// Lets the library send what it has: a reset would throw that away.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// All content, and the trailers.
async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Fields), Broken> {
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        content.extend_from_slice(&piece);
    }
    Ok((content, listed(&body.trailers().await?.unwrap_or_default())))
}

fn say_interim(respond: &mut SendResponse<Bytes>, statuses: &[u16]) -> Result<(), Broken> {
    for &status in statuses {
        respond
            .send_informational(Response::builder().status(status).header("x-interim", "yes").body(())?)?;
    }
    Ok(())
}

fn answer(
    respond: &mut SendResponse<Bytes>,
    method: &str,
    head: &Head,
    content: &Content,
) -> Result<(), Broken> {
    say_interim(respond, &head.interim)?;
    let mut response = Response::builder().status(head.status).body(())?;
    *response.headers_mut() = mapped(&head.fields);
    if let Content::Known(body) = content {
        response.headers_mut().insert("content-length", body.len().into());
    }
    let is_empty = method == "HEAD" || matches!(content, Content::None);
    let mut stream = respond.send_response(response, is_empty)?;
    match content {
        _ if is_empty => {}
        Content::None => {}
        Content::Known(body) => stream.send_data(body.clone(), true)?,
        Content::Parts(parts, trailers) => {
            for part in parts {
                stream.send_data(part.clone(), false)?;
            }
            stream.send_trailers(mapped(trailers))?;
        }
    }
    Ok(())
}

/// Sends all of it as the windows allow.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Broken> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.ok_or_else(|| Broken("the stream is gone".to_owned()))??;
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}

/// Sends back whatever comes, until it ends.
async fn echo(mut body: RecvStream, stream: &mut SendStream<Bytes>) -> Result<(), Broken> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        send(stream, piece).await?;
    }
    Ok(())
}

async fn socket(
    extensions: &http::Extensions,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Broken> {
    if extensions.get::<Protocol>().is_none_or(|protocol| protocol.as_str() != "websocket") {
        return answer(&mut respond, "GET", &Head { status: 400, ..Head::default() }, &Content::None);
    }
    let mut stream = respond.send_response(Response::new(()), false)?;
    echo(body, &mut stream).await?;
    Ok(stream.send_data(Bytes::new(), true)?)
}

async fn call(seen: &Seen, mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Result<(), Broken> {
    let response = Response::builder().header("content-type", "application/grpc");
    if seen.path.ends_with("/Fail") {
        read(&mut body).await?;
        let response = response.header("grpc-status", "5").header("grpc-message", "not here");
        respond.send_response(response.body(())?, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(response.body(())?, false)?;
    echo(body, &mut stream).await?;
    Ok(stream.send_trailers(mapped(&vec![("grpc-status".to_owned(), "0".to_owned())]))?)
}
