//! Tables of bodies: what is forwarded of each, and what is refused.

use super::*;

/// Feeds `input` in pieces of `size` and returns what is forwarded, content bytes, and what is left over.
fn read(
    input: &str,
    framing: Framing,
    emit: Emit,
    size: usize,
) -> Result<(String, u64, usize, bool), BodyError> {
    let mut reader = BodyReader::new(framing, emit);
    let mut out = Vec::new();
    let mut used = 0;
    for piece in input.as_bytes().chunks(size) {
        if reader.is_done() {
            break;
        }
        let mut piece = piece.to_vec();
        let fed = reader.feed(&mut piece)?;
        out.extend_from_slice(&piece[..fed.kept]);
        used += fed.consumed;
    }
    out.extend_from_slice(reader.tail());
    Ok((String::from_utf8(out).unwrap(), reader.payload_bytes(), input.len() - used, reader.is_done()))
}

/// A complete chunked body: what is forwarded in each mode, whole and (but for torn zeros) byte by byte.
#[track_caller]
fn check(input: &str, framed: &str, content: &str) {
    let len = content.len() as u64;
    let expected = |text: &str| Ok((text.to_owned(), len, 0, true));
    assert_eq!(read(input, Framing::Chunked, Emit::Framed, usize::MAX), expected(framed), "{input:?}");
    for size in 1..=input.len() {
        assert_eq!(
            read(input, Framing::Chunked, Emit::Payload, size),
            expected(content),
            "{input:?} by {size}"
        );
    }
    if !input.starts_with("00") {
        assert_eq!(
            read(input, Framing::Chunked, Emit::Framed, 1),
            expected(framed),
            "{input:?} byte by byte"
        );
    }
}

#[track_caller]
fn refuse(input: &str, error: BodyError) {
    for size in [1, 2, 3, usize::MAX] {
        for emit in [Emit::Framed, Emit::Payload] {
            let got = read(input, Framing::Chunked, emit, size);
            assert_eq!(got, Err(error), "{input:?} by {size}");
        }
    }
}

#[test]
fn chunks_become_canonical() {
    check("0\r\n\r\n", "0\r\n\r\n", "");
    check("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello");
    check("3;a=b;c=\"d;\\\"e\"\r\nabc\r\n1 ; x\r\nd\r\n0\r\n\r\n", "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", "abcd");
    check("00005\r\nhello\r\n000\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello");
    check("A\r\n0123456789\r\n0;last\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789");
    check("0\r\nX: y\r\n\r\n", "0\r\nX: y\r\n\r\n", "");
    check("1\r\na\r\n0\r\nHost: b\r\nX: y\r\nContent-Length: 1\r\n\r\n", "1\r\na\r\n0\r\nX: y\r\n\r\n", "a");
}

#[test]
fn torn_behind_a_zero_it_stays() {
    // The zero is out before it is known to be superfluous; the size has one reading all the same.
    let got = read("01\r\na\r\n0\r\n\r\n", Framing::Chunked, Emit::Framed, 1);
    assert_eq!(got, Ok(("01\r\na\r\n0\r\n\r\n".to_owned(), 1, 0, true)));
    let got = read("0001\r\na\r\n0\r\n\r\n", Framing::Chunked, Emit::Framed, 1);
    assert_eq!(got, Ok(("01\r\na\r\n0\r\n\r\n".to_owned(), 1, 0, true)));
}

#[test]
fn what_follows_is_left_over() {
    let got = read("1\r\na\r\n0\r\n\r\nGET /", Framing::Chunked, Emit::Framed, usize::MAX);
    assert_eq!(got, Ok(("1\r\na\r\n0\r\n\r\n".to_owned(), 1, 5, true)));
    let got = read("1\r\na\r\n0\r\nX: y\r\n\r\nGET /", Framing::Chunked, Emit::Framed, 14);
    assert_eq!(got, Ok(("1\r\na\r\n0\r\nX: y\r\n\r\n".to_owned(), 1, 5, true)));
    assert_eq!(read("abcdef", Framing::Length(4), Emit::Framed, 3), Ok(("abcd".to_owned(), 4, 2, true)));
    assert_eq!(read("abc", Framing::None, Emit::Framed, 3), Ok((String::new(), 0, 3, true)));
    assert_eq!(read("abc", Framing::UntilClose, Emit::Framed, 2), Ok(("abc".to_owned(), 3, 0, false)));
}

#[test]
fn broken_chunks_are_refused() {
    for size in [
        "",
        "g",
        "-1",
        "+1",
        "0x1",
        " 1",
        "\t1",
        "\r\n",
        ";a",
        "1g",
        "8000000000000000",
        "11111111111111111",
        "\u{661}",
        "1_0",
    ] {
        refuse(&format!("{size}\r\n"), BodyError::ChunkSize);
    }
    refuse("\n", BodyError::ChunkSize);
    refuse("1\n", BodyError::ChunkSize);
    for line in [
        "1 ",
        "1 x",
        "1;",
        "1;a\n",
        "1;a\0",
        "1;a\u{7f}",
        "1;a=\"b",
        "1;a=\"b\\",
        "1;a=(b)",
        "1;;a",
        "1;=b",
        "1; \r",
        "1;a\rb",
        "1\rb",
    ] {
        refuse(&format!("{line}\r\n"), BodyError::ChunkLine);
    }
    refuse("1\r\rx", BodyError::ChunkLine);
    for end in ["1\r\nab", "1\r\na\n", "1\r\na\r\r", "1\r\na0\r\n"] {
        refuse(end, BodyError::ChunkEnd);
    }
    for trailers in ["X\r\n\r\n", " X: y\r\n\r\n", "X: y\n\r\n\r\n", "Content_Length: 1\r\n\r\n"] {
        refuse(&format!("0\r\n{trailers}"), BodyError::Trailers);
    }
}

#[test]
fn sums_are_limited() {
    refuse(&format!("{}1\r\n", "0".repeat(CHUNK_LINE_BYTES_MAX)), BodyError::ChunkLineTooLong);
    refuse(&format!("1;{}\r\n", "a".repeat(CHUNK_LINE_BYTES_MAX)), BodyError::ChunkLineTooLong);
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(1000));
    refuse(&chunk.repeat(17), BodyError::ChunkLineTooLong);
    refuse(&format!("0\r\n{}", "X: y\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1)), BodyError::TrailersTooLarge);
    refuse(
        &format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1)),
        BodyError::TrailersTooLarge,
    );
    let most = format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILER_BYTES_MAX / 6 - 1));
    for size in [1, 7, usize::MAX] {
        assert_eq!(
            read(&most, Framing::Chunked, Emit::Framed, size),
            Ok((most.clone(), 0, 0, true)),
            "by {size}"
        );
    }
}

#[test]
fn the_end_of_the_connection() {
    let end = |framing, input: &str| {
        let mut reader = BodyReader::new(framing, Emit::Framed);
        let mut bytes = input.as_bytes().to_vec();
        reader.feed(&mut bytes).unwrap();
        reader.on_eof()
    };
    assert_eq!(end(Framing::UntilClose, "abc"), Ok(()));
    assert_eq!(end(Framing::None, ""), Ok(()));
    assert_eq!(end(Framing::Length(3), "abc"), Ok(()));
    assert_eq!(end(Framing::Length(4), "abc"), Err(BodyError::Truncated));
    for part in ["", "1", "1\r\n", "1\r\na", "1\r\na\r\n", "0\r\n", "0\r\nX: y\r\n"] {
        assert_eq!(end(Framing::Chunked, part), Err(BodyError::Truncated), "{part:?}");
    }
}

#[test]
fn spliced_bytes_are_accounted_for() {
    let mut reader = BodyReader::new(Framing::Length(10), Emit::Framed);
    assert_eq!(reader.remaining(), Some(10));
    reader.skip(6);
    assert_eq!((reader.remaining(), reader.payload_bytes(), reader.is_done()), (Some(4), 6, false));
    let mut rest = *b"abcdef";
    assert_eq!(reader.feed(&mut rest), Ok(Fed { consumed: 4, kept: 4, done: true }));
    assert_eq!((reader.remaining(), reader.payload_bytes(), reader.is_done()), (None, 10, true));
    let mut reader = BodyReader::new(Framing::UntilClose, Emit::Framed);
    reader.skip(5);
    assert!(reader.is_until_close() && reader.payload_bytes() == 5);
}

#[test]
fn an_error_is_final() {
    let mut reader = BodyReader::new(Framing::Chunked, Emit::Framed);
    assert_eq!(reader.feed(&mut b"x".to_vec()), Err(BodyError::ChunkSize));
    assert!(reader.feed(&mut b"0\r\n\r\n".to_vec()).is_err() && !reader.is_done());
}

/// Content and trailers of a whole chunked body, apart, however it is torn.
#[test]
fn trailers_are_kept_apart_where_asked() {
    let input = "3\r\nabc\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 3\r\ngrpc-message: ok\r\n\r\n";
    for size in 1..=input.len() {
        let mut reader = BodyReader::new(Framing::Chunked, Emit::Parted);
        let mut out = Vec::new();
        for piece in input.as_bytes().chunks(size) {
            assert!(reader.trailers().is_empty(), "not before the end");
            let mut piece = piece.to_vec();
            let fed = reader.feed(&mut piece).unwrap();
            out.extend_from_slice(&piece[..fed.kept]);
        }
        assert!(reader.is_done());
        assert_eq!(out, b"abc", "by {size}");
        assert_eq!(reader.trailers(), b"Grpc-Status: 0\r\ngrpc-message: ok\r\n", "by {size}");
        assert!(reader.tail().is_empty());
    }
}
