//! The origin's HTTP/1.1.

use std::io::{Error, Result};
use std::sync::atomic::Ordering;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, WriteHalf, split};

use super::{Plan, Seen, Shared, described, plan};
use crate::http1::{Io, Left, Reader, chunk, written};
use crate::message::{Content, Fields, Head, values};

/// What a WebSocket's answer is made of besides the key (RFC 6455, 1.3).
const SOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct Connection<'a> {
    reader: Reader,
    writer: WriteHalf<Io>,
    shared: &'a Shared,
}

/// Serves a connection to its end.
pub(super) async fn serve(io: Io, shared: &Shared) -> Result<()> {
    let (reader, writer) = split(io);
    let mut connection = Connection { reader: Reader::new(reader), writer, shared };
    while connection.turn().await? {}
    Ok(())
}

impl Connection<'_> {
    /// One request; whether there may be another.
    async fn turn(&mut self) -> Result<bool> {
        let Some((start, fields)) = self.reader.head().await? else { return Ok(false) };
        let words: Vec<_> = start.split(' ').collect();
        let &[method, path, "HTTP/1.1"] = &words[..] else { return Err(Error::other(start)) };
        if values(&fields, "host").len() != 1 {
            return Err(Error::other(format!("not one Host: {fields:?}")));
        }
        self.reader.begin(&fields, Left::Nothing)?;
        let seen = Seen { method: method.to_owned(), path: path.to_owned(), fields };
        match plan(&seen) {
            Plan::Answer(head, content) => {
                self.reader.rest().await?;
                self.answer(&seen.method, &head, &content).await?;
            }
            Plan::Echo(interim) => {
                self.interim(&interim).await?;
                let body = self.reader.rest().await?;
                let content = Content::Known(described(&seen, &body, &self.reader.trailers));
                self.answer(&seen.method, &Head { status: 200, ..Head::default() }, &content).await?;
            }
            Plan::Early(status) => {
                let fields = vec![("connection".to_owned(), "close".to_owned())];
                let content = Content::Known(Bytes::from_static(b"too much"));
                self.answer("POST", &Head { interim: Vec::new(), status, fields }, &content).await?;
                self.linger().await?;
                return Ok(false);
            }
            Plan::ResetHead => return Ok(false),
            Plan::ResetBody(part) => {
                let fields = vec![("content-length".to_owned(), (part.len() * 2).to_string())];
                self.send(&written("HTTP/1.1 200 OK", &fields, &Content::None)).await?;
                self.send(&part).await?;
                return Ok(false);
            }
            Plan::Hang => {
                self.shared.hanging.fetch_add(1, Ordering::SeqCst);
                // The end of the connection is all that may come.
                let _ = self.reader.io.fill_buf().await;
                self.shared.given_up.fetch_add(1, Ordering::SeqCst);
                return Ok(false);
            }
            Plan::Gate => {
                let fields = vec![("transfer-encoding".to_owned(), "chunked".to_owned())];
                let first = [written("HTTP/1.1 200 OK", &fields, &Content::None), chunk(b"first")].concat();
                self.send(&first).await?;
                self.shared.gate.acquire().await.map_err(Error::other)?.forget();
                self.send(&[&chunk(b"second")[..], b"0\r\n\r\n"].concat()).await?;
            }
            Plan::Socket => return self.socket(&seen).await.map(|()| false),
            Plan::Call => return Err(Error::other("gRPC is HTTP/2")),
        }
        Ok(true)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }

    async fn interim(&mut self, statuses: &[u16]) -> Result<()> {
        for status in statuses {
            self.send(format!("HTTP/1.1 {status} So Far\r\nx-interim: yes\r\n\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, method: &str, head: &Head, content: &Content) -> Result<()> {
        self.interim(&head.interim).await?;
        let bytes = written(&format!("HTTP/1.1 {} Done", head.status), &head.fields, content);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let without = matches!(content, Content::None) && head.status == 200;
        if without {
            return Err(Error::other("an answer of unknown length"));
        }
        self.send(if method == "HEAD" { &bytes[..end] } else { &bytes }).await
    }

    /// Reads what still comes for a while, so that the answer is not lost to a reset.
    async fn linger(&mut self) -> Result<()> {
        self.writer.shutdown().await?;
        let mut buffer = [0; 16 * 1024];
        while self.reader.io.read(&mut buffer).await? > 0 {}
        Ok(())
    }

    async fn socket(&mut self, seen: &Seen) -> Result<()> {
        let one = |name: &str| values(&seen.fields, name).first().copied().unwrap_or_default().to_owned();
        if !one("upgrade").eq_ignore_ascii_case("websocket") || seen.method != "GET" {
            return Err(Error::other(format!("no WebSocket handshake: {:?}", seen.fields)));
        }
        let text = one("sec-websocket-key") + SOCKET_GUID;
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let fields: Fields = vec![
            ("connection".to_owned(), "Upgrade".to_owned()),
            ("upgrade".to_owned(), "websocket".to_owned()),
            ("sec-websocket-accept".to_owned(), STANDARD.encode(hash)),
        ];
        self.send(&written("HTTP/1.1 101 Switching Protocols", &fields, &Content::None)).await?;
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.reader.io.read(&mut buffer).await? {
                0 => return self.writer.shutdown().await,
                length => self.send(&buffer[..length]).await?,
            }
        }
    }
}
