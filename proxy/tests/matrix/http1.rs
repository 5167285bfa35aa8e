//! HTTP/1.1 as both ends of the matrix speak it: heads and bodies over any stream, read strictly.
//!
//! It is small on purpose and shares nothing with the program: no repairs, no pipelining.

use std::io::{Error, Result};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, ReadHalf};

use crate::message::{Content, Fields, values};

/// A connection of any kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection of some kind.
pub(crate) type Io = Box<dyn Stream>;

/// What is left of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Length(u64),
    /// Between two chunks.
    Chunked,
    /// Inside one.
    Chunk(u64),
    /// To the end of the connection.
    Close,
}

/// The receiving half of a connection.
pub(crate) struct Reader {
    pub(crate) io: BufReader<ReadHalf<Io>>,
    pub(crate) left: Left,
    pub(crate) trailers: Fields,
}

impl Reader {
    pub(crate) fn new(io: ReadHalf<Io>) -> Self {
        Reader { io: BufReader::new(io), left: Left::Nothing, trailers: Fields::new() }
    }

    /// The next line without its end; `None` where the connection has ended.
    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.io.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(Some(String::from_utf8(line.to_vec()).map_err(Error::other)?)),
            None => Err(Error::other(format!("a line without its end: {line:?}"))),
        }
    }

    /// Start line and fields; `None` where the connection has ended.
    pub(crate) async fn head(&mut self) -> Result<Option<(String, Fields)>> {
        let Some(start) = self.line().await? else { return Ok(None) };
        Ok(Some((start, self.fields().await?)))
    }

    async fn fields(&mut self) -> Result<Fields> {
        let mut fields = Fields::new();
        loop {
            let line = self.line().await?.ok_or_else(|| Error::other("the end inside a head"))?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| Error::other(format!("no field: {line}")))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// What these fields say about the body; `otherwise` if they say nothing.
    pub(crate) fn begin(&mut self, fields: &Fields, otherwise: Left) -> Result<()> {
        self.trailers.clear();
        self.left = match (&values(fields, "transfer-encoding")[..], &values(fields, "content-length")[..]) {
            ([], []) => otherwise,
            (["chunked"], []) => Left::Chunked,
            ([], [length]) => Left::Length(length.parse().map_err(Error::other)?),
            other => return Err(Error::other(format!("two readings of the body: {other:?}"))),
        };
        Ok(())
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.left == Left::Chunked {
            let line = self.line().await?.ok_or_else(|| Error::other("the end between chunks"))?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(Error::other)?;
            self.left = Left::Chunk(size);
            if size == 0 {
                self.trailers = self.fields().await?;
                self.left = Left::Nothing;
            }
        }
        let most = match self.left {
            Left::Nothing | Left::Length(0) => return Ok(None),
            Left::Length(left) | Left::Chunk(left) => left.min(64 * 1024),
            Left::Chunked | Left::Close => 64 * 1024,
        };
        let mut piece = vec![0; most as usize];
        let length = self.io.read(&mut piece).await?;
        piece.truncate(length);
        match &mut self.left {
            Left::Close if length == 0 => {
                self.left = Left::Nothing;
                return Ok(None);
            }
            Left::Length(_) | Left::Chunk(_) if length == 0 => {
                return Err(Error::other("the end inside a body"));
            }
            Left::Length(left) => *left -= length as u64,
            Left::Chunk(left) => {
                *left -= length as u64;
                if *left == 0 {
                    self.left = Left::Chunked;
                    let end = self.line().await?;
                    if end.as_deref() != Some("") {
                        return Err(Error::other(format!("behind a chunk: {end:?}")));
                    }
                }
            }
            Left::Nothing | Left::Chunked | Left::Close => {}
        }
        Ok(Some(piece.into()))
    }

    /// The rest of the body.
    pub(crate) async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// A message as it is sent.
pub(crate) fn written(start: &str, fields: &Fields, content: &Content) -> Vec<u8> {
    let mut out = format!("{start}\r\n");
    for (name, value) in fields {
        out += &format!("{name}: {value}\r\n");
    }
    let mut out = match content {
        Content::None => out + "\r\n",
        Content::Known(body) => out + &format!("content-length: {}\r\n\r\n", body.len()),
        Content::Parts(_, trailers) => {
            let names: Vec<_> = trailers.iter().map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                out += &format!("trailer: {}\r\n", names.join(", "));
            }
            out + "transfer-encoding: chunked\r\n\r\n"
        }
    }
    .into_bytes();
    match content {
        Content::None => {}
        Content::Known(body) => out.extend_from_slice(body),
        Content::Parts(parts, trailers) => {
            for part in parts.iter().filter(|part| !part.is_empty()) {
                out.extend(chunk(part));
            }
            out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                out.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// One chunk.
pub(crate) fn chunk(part: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
}
