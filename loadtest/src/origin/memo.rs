//! The last request of a connection and its answer, as bytes. A client that asks for the same again and
//! again, as load generators and many services do, is answered by one comparison and one copy.
//!
//! Invariants: only an answer that is the same every time is remembered (no delay, chance, queue or body);
//! the request was read in full and found right when it came first, so the same bytes are right again. A
//! head ends at its first empty line, so input that begins with the remembered head has it as its head.

/// The largest answer that is remembered, in bytes, without content that needs no memory: a connection's
/// own memory stays small.
const ANSWER_BYTES_MAX: usize = 2048;

/// The largest head that is remembered, in bytes.
const HEAD_BYTES_MAX: usize = 2048;

/// What is remembered.
#[derive(Default)]
pub(super) struct Memo {
    head: Vec<u8>,
    answer: Vec<u8>,
    /// Content behind `answer`.
    content: &'static [u8],
    /// Whether `answer` is the answer to `head`.
    is_fixed: bool,
}

impl Memo {
    /// The length of the remembered head, if `input` begins with it.
    pub(super) fn matches(&self, input: &[u8]) -> Option<usize> {
        // Without a head it is lent out, and every input begins with none.
        let is_known = self.is_fixed && !self.head.is_empty();
        (is_known && input.starts_with(&self.head)).then_some(self.head.len())
    }

    /// Appends the remembered answer.
    pub(super) fn answer(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.answer);
        output.extend_from_slice(self.content);
    }

    /// Forgets what was, and lends out the memory for the next head, which is `head`.
    pub(super) fn take(&mut self, head: &[u8]) -> Vec<u8> {
        self.is_fixed = false;
        let mut memory = std::mem::take(&mut self.head);
        memory.clear();
        memory.extend_from_slice(head);
        memory
    }

    /// The head that was lent out with [`Memo::take`], answered.
    pub(super) fn give_back(&mut self, head: Vec<u8>) {
        if head.len() <= HEAD_BYTES_MAX {
            self.head = head;
        } else {
            self.is_fixed = false;
        }
    }

    /// Whenever the head that is lent out comes again, this is its answer: these bytes, then this content.
    pub(super) fn remember(&mut self, answer: &[u8], content: &'static [u8]) {
        if answer.len() <= ANSWER_BYTES_MAX {
            self.answer.clear();
            self.answer.extend_from_slice(answer);
            self.content = content;
            self.is_fixed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_head_is_recognised_and_only_with_its_answer() {
        let mut memo = Memo::default();
        assert_eq!(memo.matches(b""), None);
        let head = memo.take(b"GET /a\r\n\r\n");
        memo.remember(b"A", b"a");
        assert_eq!(memo.matches(b"GET /a\r\n\r\n"), None);
        memo.give_back(head);
        assert_eq!(memo.matches(b"GET /a\r\n\r\nGET /b"), Some(10));
        let mut output = Vec::new();
        memo.answer(&mut output);
        assert_eq!(output, b"Aa");
        for other in [&b"GET /a\r\n\r"[..], b"GET /b\r\n\r\n", b"GET /a\r\nx: y\r\n\r\n", b""] {
            assert_eq!(memo.matches(other), None);
        }
        // A head whose answer is not remembered takes the place of the last one.
        let head = memo.take(b"GET /b\r\n\r\n");
        memo.give_back(head);
        assert_eq!(memo.matches(b"GET /b\r\n\r\n"), None);
        assert_eq!(memo.matches(b"GET /a\r\n\r\n"), None);
        // What is too large is not remembered.
        let head = memo.take(b"GET /c\r\n\r\n");
        memo.remember(&[b'x'; ANSWER_BYTES_MAX + 1], b"");
        memo.give_back(head);
        assert_eq!(memo.matches(b"GET /c\r\n\r\n"), None);
        let long = [b'y'; HEAD_BYTES_MAX + 1];
        let head = memo.take(&long);
        memo.remember(b"C", b"");
        memo.give_back(head);
        assert_eq!(memo.matches(&long), None);
    }
}
