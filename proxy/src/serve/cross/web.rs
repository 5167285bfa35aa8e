//! gRPC-Web on its way: a browser's request becomes gRPC's, and the answer becomes a browser's.
//!
//! ```text
//!   request   content-type changed ─▶ text decoded, part by part ─▶ upstream (HTTP/2)
//!   response  content-type changed ─▶ text encoded, trailers as the last message ─▶ client
//! ```
//!
//! Not here: the formats (`core`: `http::grpc::web`), which routes do so (`[routes.grpc] web`).

use pinion_core::fault::Fault;
use pinion_core::http::ResponseHead;
use pinion_core::http::grpc::web::{ResponseBody, TextDecoder, own_trailers};
use pinion_core::http::grpc::{Code, Web};

use super::part::{Behind, Part, take};
use crate::net::buffers::BufferPool;

/// The longest message format that is answered in kind, such as `+proto`.
const FORMAT_BYTES_MAX: usize = 16;

/// A request of gRPC-Web.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    web: Web,
    format: [u8; FORMAT_BYTES_MAX],
    length: usize,
}

impl Bridge {
    /// A request of that form, whose content-type names `format`.
    pub(in super::super) fn new(web: Web, format: &[u8]) -> Self {
        let length = format.len().min(FORMAT_BYTES_MAX);
        let mut bridge = Bridge { web, format: [0; FORMAT_BYTES_MAX], length };
        bridge.format[..length].copy_from_slice(&format[..length]);
        bridge
    }

    /// What decodes the request's content, if that is text.
    pub(super) fn decoder(&self) -> Option<TextDecoder> {
        (self.web == Web::Text).then(TextDecoder::default)
    }

    /// Makes the response's head a browser's, in `text`; and what makes its content so, unless there is none.
    // ALLOC: once a response of gRPC-Web.
    pub(super) fn answer(
        &self,
        bytes: &[u8],
        head: &mut ResponseHead,
    ) -> Option<(Vec<u8>, Option<ResponseBody>)> {
        let mut text = bytes.to_vec();
        let before = text.len();
        let translated = self.web.response(&self.format[..self.length], &mut text, head);
        (text.len() > before).then(|| (text, translated.then(|| ResponseBody::new(self.web))))
    }
}

/// Decodes a part of a request.
pub(super) fn decode(decoder: &mut TextDecoder, pool: &BufferPool, part: Part) -> Result<Part, Fault> {
    let mut content = take(pool, part.content.unread().len())?;
    decoder.decode(part.content.unread(), content.as_vec()).map_err(|_| Fault::BadBody)?;
    if part.behind.is_end() && !decoder.is_complete() {
        return Err(Fault::BadBody);
    }
    Ok(Part { content, behind: part.behind })
}

/// Encodes what is there of a response: content, and the trailers as its last message.
pub(super) fn encode(
    body: &mut ResponseBody,
    pool: &BufferPool,
    content: &[u8],
    behind: &Behind,
) -> Result<Part, Fault> {
    let lines = behind.trailers().unwrap_or_default();
    let mut out = take(pool, ResponseBody::bound(content.len() + lines.len()))?;
    body.data(content, out.as_vec());
    match behind {
        Behind::More => return Ok(Part { content: out, behind: Behind::More }),
        Behind::Trailers(_) => body.trailers(lines, out.as_vec()),
        Behind::End => {
            let mut lines = Vec::with_capacity(64);
            own_trailers(Code::UNKNOWN, b"the upstream sent no status", &mut lines);
            body.trailers(&lines, out.as_vec());
        }
    }
    Ok(Part { content: out, behind: Behind::End })
}

/// Encodes a part of a response.
pub(super) fn encode_part(body: &mut ResponseBody, pool: &BufferPool, part: Part) -> Result<Part, Fault> {
    encode(body, pool, part.content.unread(), &part.behind)
}
