//! How an answer is judged (RFC 9113, section 8.1), and what is kept of it: status, gRPC status, the
//! counted header, how much content there was.
//!
//! ```text
//! Nothing ─1xx─▶ Nothing ─final head─▶ Content ─DATA─▶ Content ─trailers or END_STREAM─▶ complete
//! ```

use crate::http2::fields::{self, ContentLength};

/// How [`encode_request`](crate::http2::encode_request) begins a HEAD request: a literal, not indexed,
/// under the name at index 2, in the four bytes that Huffman text would not shorten.
const HEAD_BLOCK: &[u8] = b"\x02\x04HEAD";

/// gRPC's UNKNOWN: what a status that is no number counts as.
const GRPC_UNKNOWN: u16 = 2;

/// Whether this block asks for a head only.
pub(super) fn is_head(block: &[u8]) -> bool {
    block.starts_with(HEAD_BLOCK)
}

/// An answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Answer {
    is_head: bool,
    /// 0 until the final head has come.
    pub(super) status: u16,
    pub(super) grpc_status: Option<u16>,
    pub(super) content_bytes: u64,
    pub(super) counted: Option<String>,
    length: ContentLength,
}

impl Answer {
    /// Nothing has come.
    pub(super) fn new(is_head: bool) -> Self {
        Answer { is_head, ..Answer::default() }
    }

    /// Whether the final head has come.
    pub(super) fn has_head(&self) -> bool {
        self.status != 0
    }

    /// Whether it comes from somebody who does not speak gRPC, a proxy's error page for example: gRPC always
    /// answers 200. Its content is no messages.
    pub(super) fn is_no_call(&self) -> bool {
        self.has_head() && self.status != 200
    }

    /// Takes a block of fields: an interim head, the final head, or trailers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn on_block(&mut self, block: Block, end: bool) -> Result<(), &'static str> {
        if let Some(wrong) = block.wrong {
            return Err(wrong);
        }
        if block.is_trailers {
            if !end {
                return Err("trailers that are not the end");
            }
            self.grpc_status = block.grpc_status.or(self.grpc_status);
            return Ok(());
        }
        match (block.status, end) {
            (0, _) => Err("a response without a status"),
            (101, _) => Err("101, which HTTP/2 does not have"),
            (100..=199, true) => Err("an interim response that is the end"),
            (100..=199, false) => Ok(()),
            _ => {
                self.status = block.status;
                self.length = block.length;
                self.counted = block.counted;
                // A status in a head that is not the end is not the call's: that one is in the trailers.
                self.grpc_status = block.grpc_status.filter(|_| end);
                Ok(())
            }
        }
    }

    /// Takes content, or the end of the answer without content.
    ///
    /// # Errors
    /// Content where none may be, or another length than announced.
    pub(super) fn on_content(&mut self, bytes: usize, end: bool) -> Result<(), &'static str> {
        if !self.has_head() {
            return Err("content before a response");
        }
        self.content_bytes += bytes as u64;
        if self.is_head || matches!(self.status, 204 | 304) {
            return if self.content_bytes == 0 { Ok(()) } else { Err("content where none may be") };
        }
        if self.length.admits(self.content_bytes, end) { Ok(()) } else { Err("content of a wrong length") }
    }
}

/// What matters of a header block; filled field by field.
#[derive(Debug)]
pub(super) struct Block {
    counted_name: Option<&'static str>,
    is_trailers: bool,
    wrong: Option<&'static str>,
    status: u16,
    has_regular: bool,
    grpc_status: Option<u16>,
    counted: Option<String>,
    length: ContentLength,
}

impl Block {
    /// Without fields yet.
    pub(super) fn new(is_trailers: bool, counted_name: Option<&'static str>) -> Self {
        Block {
            counted_name,
            is_trailers,
            wrong: None,
            status: 0,
            has_regular: false,
            grpc_status: None,
            counted: None,
            length: ContentLength::default(),
        }
    }

    /// Takes the next field; what is wrong with it is kept, and the rest is no longer looked at.
    pub(super) fn on_field(&mut self, name: &[u8], value: &[u8]) {
        if self.wrong.is_none() {
            self.wrong = self.take(name, value).err();
        }
    }

    /// The list was too long.
    pub(super) fn on_too_long(&mut self) {
        self.wrong = Some("a header list too long");
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if name.first() == Some(&b':') {
            return self.take_pseudo(name, value);
        }
        self.has_regular = true;
        fields::check(name, value, false)?;
        if name == b"content-length" && !self.is_trailers {
            self.length.take(value)?;
        } else if name == b"grpc-status" {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.grpc_status = Some(number.unwrap_or(GRPC_UNKNOWN));
        }
        if self.counted_name.is_some_and(|counted| counted.as_bytes() == name) && self.counted.is_none() {
            // ALLOC: asked for, and only where a header is counted.
            self.counted = Some(String::from_utf8_lossy(value).into_owned());
        }
        Ok(())
    }

    fn take_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.is_trailers {
            return Err("a pseudo-header in trailers");
        }
        if self.has_regular {
            return Err("a pseudo-header behind a regular one");
        }
        if name != b":status" {
            return Err("an unknown pseudo-header in a response");
        }
        if self.status != 0 {
            return Err("more than one status");
        }
        match value {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                let digit = |byte: &u8| u16::from(byte - b'0');
                self.status = digit(a) * 100 + digit(b) * 10 + digit(c);
                Ok(())
            }
            _ => Err("a status that is not three digits"),
        }
    }
}

/// Where the messages of a streaming answer stand: each has a prefix of one byte (compressed or not) and
/// four bytes of length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; 5],
    prefix_bytes: usize,
    /// What is missing of the message whose prefix is complete.
    left: u64,
}

impl Messages {
    /// Takes content; the length of each message goes to `complete` when its last byte has come.
    ///
    /// # Errors
    /// A prefix that no message has.
    pub(super) fn on_content(
        &mut self,
        mut content: &[u8],
        mut complete: impl FnMut(u64),
    ) -> Result<(), &'static str> {
        while !content.is_empty() {
            if self.prefix_bytes < self.prefix.len() {
                let taken = content.len().min(self.prefix.len() - self.prefix_bytes);
                self.prefix[self.prefix_bytes..][..taken].copy_from_slice(&content[..taken]);
                self.prefix_bytes += taken;
                content = &content[taken..];
                if self.prefix_bytes < self.prefix.len() {
                    break;
                }
                if self.prefix[0] > 1 {
                    return Err("a message prefix that gRPC does not have");
                }
                self.left = self.length();
            }
            let taken = content.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            content = &content[taken..];
            self.left -= taken as u64;
            if self.left == 0 {
                complete(self.length());
                self.prefix_bytes = 0;
            }
        }
        Ok(())
    }

    /// Whether no message has begun and not ended.
    pub(super) fn is_between(&self) -> bool {
        self.prefix_bytes == 0
    }

    fn length(&self) -> u64 {
        let [_, length @ ..] = self.prefix;
        u64::from(u32::from_be_bytes(length))
    }
}
