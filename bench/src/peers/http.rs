//! The smallest HTTP/1.1 client that reads whole answers, over either kind of connection.
//!
//! Not here: anything from `core` or `pinion-load`: a comparison's client is its own witness.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::address::{Address, Stream};
use crate::Problem;

/// How much is read at once: the whole of most answers.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// How long one answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An answer whose head is in the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Of the head, in bytes.
    end: usize,
    /// All bytes that are there.
    filled: usize,
    content_bytes: usize,
}

/// A connection that is asked one thing after the other.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) fn open(address: &Address) -> Result<Self, Problem> {
        let stream = address.connect(PATIENCE).map_err(|e| format!("can't connect to {address}: {e}"))?;
        Ok(Connection::over(stream))
    }

    /// A connection that somebody has made.
    pub(super) fn over(stream: Stream) -> Self {
        Connection { stream }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<(), Problem> {
        self.stream.write_all(request).map_err(|e| format!("can't send: {e}"))
    }

    /// Reads one answer, which must be a 200 with that many bytes of content, to its end.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn skip_answer(&mut self, buffer: &mut [u8], expect_bytes: usize) -> Result<(), Problem> {
        let head = self.head(buffer)?;
        if head.content_bytes != expect_bytes {
            return Err("an answer does not have the length that was asked for".to_owned());
        }
        let mut left = (head.end + expect_bytes).checked_sub(head.filled).ok_or("bytes behind an answer")?;
        while left > 0 {
            let most = left.min(buffer.len());
            left -= self.read(&mut buffer[..most])?;
        }
        Ok(())
    }

    /// Sends a request and gives the content of the answer, which must be a 200.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn content(&mut self, request: &[u8]) -> Result<Vec<u8>, Problem> {
        self.send(request)?;
        self.read_content()
    }

    /// The content of the next answer, which must be a 200.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn read_content(&mut self) -> Result<Vec<u8>, Problem> {
        let mut buffer = vec![0; READ_BYTES];
        let head = self.head(&mut buffer)?;
        let mut content = buffer[head.end..head.filled].to_vec();
        while content.len() < head.content_bytes {
            let length = self.read(&mut buffer)?;
            content.extend_from_slice(&buffer[..length]);
        }
        if content.len() == head.content_bytes { Ok(content) } else { Err("bytes behind an answer".into()) }
    }

    /// Reads until the head is there.
    fn head(&mut self, buffer: &mut [u8]) -> Result<Head, Problem> {
        let mut filled = 0;
        let end = loop {
            filled += self.read(&mut buffer[filled..])?;
            if let Some(at) = find(&buffer[..filled], b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = &buffer[..end];
        if !head.starts_with(b"HTTP/1.1 200") {
            return Err(format!("not a 200: {}", String::from_utf8_lossy(&head[..end.min(200)])));
        }
        let content_bytes = content_length(head).ok_or("an answer without Content-Length")?;
        Ok(Head { end, filled, content_bytes })
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        match self.stream.read(into) {
            Ok(0) => Err("the proxy closed a connection, or its head is too long".to_owned()),
            Ok(length) => Ok(length),
            Err(error) => Err(format!("no answer: {error}")),
        }
    }
}

/// A request like a browser's smallest: six header lines.
pub(super) fn request(authority: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: lockstep/1\r\naccept: */*\r\n\
         accept-language: en\r\nx-request-id: 0123456789abcdef\r\ncookie: session=0123456789\r\n\r\n"
    )
    .into_bytes()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn content_length(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(head).ok()?.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked_to_their_last_byte() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for part in ["HTTP/1.1 200 OK\r\nContent-", "Length: 3\r\n\r\na", "bc"] {
                stream.write_all(part.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").unwrap();
        });
        let mut connection = Connection::open(&address).unwrap();
        let mut buffer = vec![0; 1024];
        assert_eq!(connection.skip_answer(&mut buffer, 3), Ok(()));
        assert!(connection.skip_answer(&mut buffer, 3).unwrap_err().contains("length"));
        server.join().unwrap();
    }

    #[test]
    fn content_is_whole_and_refusals_are_problems() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").unwrap();
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(b"cd").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let mut connection = Connection::open(&address).unwrap();
        assert_eq!(connection.content(b"?"), Ok(b"abcd".to_vec()));
        assert!(connection.content(b"?").unwrap_err().contains("503"));
        server.join().unwrap();
    }
}
