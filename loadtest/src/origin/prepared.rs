//! The last answer of an HTTP/2 connection, encoded: a client that asks for the same path again is
//! answered without reading the path or encoding the head once more. And the last head of a gRPC call,
//! which depends on little.
//!
//! Invariant: only an answer that is the same every time is kept: a GET's, small, without delay or fault.

use super::answer::{Content, Plan};
use super::content::Source;
use super::exchange::text;
use crate::http2::server::Server;
use crate::http2::{Fields, encode_answer};

/// The largest content that is kept, in bytes.
const CONTENT_BYTES_MAX: u64 = 16 * 1024;

/// An encoded answer and what it is the answer to.
#[derive(Default)]
pub(super) struct Prepared {
    path: Vec<u8>,
    block: Vec<u8>,
    content: Option<(Source, u64)>,
    call: CallHead,
}

/// The head of a gRPC call's answer, and what it follows from.
#[derive(Default)]
struct CallHead {
    content_type: Vec<u8>,
    encoding: Option<Vec<u8>>,
    block: Vec<u8>,
}

impl Prepared {
    /// Answers the request of these fields, which has no content, if it is the known one; says whether.
    pub(super) fn answer(
        &self,
        stream: u32,
        fields: &Fields,
        server: &mut Server,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((source, length)) = &self.content else { return false };
        if fields.value(":method") != Some(b"GET") || fields.value(":path") != Some(&self.path) {
            return false;
        }
        server.answer_block(stream, &self.block, *length == 0, out);
        if *length > 0 {
            server.data(stream, source.piece(0, *length), true, out);
        }
        true
    }

    /// Keeps this answer, if it may be kept.
    pub(super) fn keep(
        &mut self,
        request: &Fields,
        plan: &Plan,
        head: &[(&str, &str)],
        source: &Source,
        length: u64,
    ) {
        let is_fixed = plan.delay.is_none() && plan.rate.is_none() && plan.cut.is_none() && !plan.close;
        let is_small = length <= CONTENT_BYTES_MAX && plan.content != Content::Echo;
        let (Some(b"GET"), Some(path)) = (request.value(":method"), request.value(":path")) else { return };
        if is_fixed && is_small {
            self.path.clear();
            self.path.extend_from_slice(path);
            self.block = encode_answer(plan.status, head);
            self.content = Some((source.clone(), length));
        }
    }

    /// The head of the answer to a gRPC call with these fields: what its messages are, as it said itself.
    pub(super) fn call_head(&mut self, request: &Fields, label: &str) -> &[u8] {
        let content_type = request.value("content-type").unwrap_or_default();
        let encoding = request.value("grpc-encoding");
        let head = &mut self.call;
        let is_known = head.content_type == content_type && head.encoding.as_deref() == encoding;
        if head.block.is_empty() || !is_known {
            let mut fields = vec![("x-served-by", label), ("content-type", text(request, "content-type"))];
            fields.extend(encoding.is_some().then(|| ("grpc-encoding", text(request, "grpc-encoding"))));
            head.block = encode_answer(200, &fields);
            head.content_type = content_type.to_vec();
            head.encoding = encoding.map(<[u8]>::to_vec);
        }
        &head.block
    }
}
