//! A part of a body on its way from one framing to another: content, and what follows it.

use pinion_core::fault::Fault;
use pinion_core::http::h1::encode::{CHUNK_END, LAST_CHUNK, SizeLine, encode_chunk_size};

use crate::h2::Piece;
use crate::net::buffers::{BufferPool, Size};
use crate::sys::buffer::Buffer;

/// Content, possibly none, and what follows it.
pub(in super::super) struct Part {
    pub(in super::super) content: Buffer,
    pub(in super::super) behind: Behind,
}

/// What follows content.
pub(in super::super) enum Behind {
    /// More content, or the end, which has not come yet.
    More,
    /// The end of the body.
    End,
    /// The end of the body, with these lines `name: value\r\n`.
    Trailers(Buffer),
}

impl Behind {
    /// The end, with trailers if there are `lines`.
    pub(super) fn end(pool: &BufferPool, lines: &[u8]) -> Result<Self, Fault> {
        if lines.is_empty() { Ok(Behind::End) } else { Ok(Behind::Trailers(copy(pool, lines)?)) }
    }

    /// The trailers' lines, if there are any.
    pub(in super::super) fn trailers(&self) -> Option<&[u8]> {
        match self {
            Behind::Trailers(lines) => Some(lines.unread()),
            Behind::More | Behind::End => None,
        }
    }

    /// Whether no content follows.
    pub(in super::super) const fn is_end(&self) -> bool {
        !matches!(self, Behind::More)
    }
}

impl From<Piece> for Part {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(content, false) => Part { content, behind: Behind::More },
            Piece::Data(content, true) => Part { content, behind: Behind::End },
            Piece::Trailers(lines) => Part { content: Buffer::stand_in(), behind: Behind::Trailers(lines) },
            Piece::End => Part { content: Buffer::stand_in(), behind: Behind::End },
        }
    }
}

/// `bytes` in a buffer of their own.
pub(super) fn copy(pool: &BufferPool, bytes: &[u8]) -> Result<Buffer, Fault> {
    pool.copy(bytes).ok_or(Fault::MemoryLimit)
}

/// A buffer for `needed` bytes, if they fit one.
pub(in super::super) fn take(pool: &BufferPool, needed: usize) -> Result<Buffer, Fault> {
    let size = Size::of(needed);
    pool.take(size).ok_or(Fault::MemoryLimit)
}

/// `part` as HTTP/1 frames it; in place where its buffer has the room. May be empty.
pub(super) fn framed(pool: &BufferPool, part: Part, chunked: bool) -> Result<Buffer, Fault> {
    if !chunked {
        return Ok(part.content);
    }
    let mut piece = part.content;
    let content = piece.unread().len();
    let behind = CHUNK_END.len() + LAST_CHUNK.len();
    if content > 0 && piece.room() >= behind && piece.prepend(SizeLine::new(content).as_bytes()) {
        piece.as_vec().extend_from_slice(CHUNK_END);
    } else if content > 0 || part.behind.is_end() {
        let mut out = take(pool, SizeLine::BYTES_MAX + content + behind)?;
        append_chunk(out.as_vec(), piece.unread());
        piece = out;
    }
    if part.behind.is_end() {
        append_end(&mut piece, part.behind.trailers());
    }
    Ok(piece)
}

/// Appends `content` as a chunk; nothing when it is empty, since an empty chunk ends the body.
pub(super) fn append_chunk(out: &mut Vec<u8>, content: &[u8]) {
    if !content.is_empty() {
        encode_chunk_size(out, content.len());
        out.extend_from_slice(content);
        out.extend_from_slice(CHUNK_END);
    }
}

/// Appends what ends a chunked body. Trailers beyond the buffer's room grow it.
pub(super) fn append_end(out: &mut Buffer, trailers: Option<&[u8]>) {
    let out = out.as_vec();
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}
