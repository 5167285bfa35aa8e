//! Tables of heads: what is accepted, with its facts, and what is refused, with the reason.

use super::*;
use crate::limits::HEADER_COUNT_MAX;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 4096, uri_bytes: 256 };

/// One line of what matters about an accepted request.
fn facts(bytes: &[u8], head: &RequestHead) -> String {
    let text = |span: Span| String::from_utf8_lossy(span.of(head.bytes(bytes))).into_owned();
    let hop: Vec<String> =
        head.fields.iter().filter(|field| field.hop).map(|field| text(field.name)).collect();
    format!(
        "{:?} {:?} {} {} {:?} {:?} {}{}{}{}",
        head.method,
        head.form,
        text(head.authority),
        text(head.path),
        head.query.map(text),
        head.framing,
        if head.keep_alive { "keep" } else { "close" },
        if head.expect_continue { " expect" } else { "" },
        head.upgrade.map(|upgrade| format!(" upgrade={}", text(upgrade))).unwrap_or_default(),
        if hop.is_empty() { String::new() } else { format!(" hop={}", hop.join(",")) },
    )
}

#[track_caller]
fn check(request: &str, expected: Result<&str, HeadError>) {
    check_bytes(request.as_bytes(), expected);
}

#[track_caller]
fn check_bytes(bytes: &[u8], expected: Result<&str, HeadError>) {
    let mut head = RequestHead::new();
    let got = parse_request(bytes, &LIMITS, &mut head);
    let got = got.map(|progress| match progress {
        Progress::Partial => "partial".to_owned(),
        Progress::Complete => facts(bytes, &head),
    });
    assert_eq!(got.as_deref(), expected.as_ref().map(|facts| *facts), "{:?}", String::from_utf8_lossy(bytes));
}

/// A request with these lines between the request line and the end.
#[track_caller]
fn check_lines(lines: &str, expected: Result<&str, HeadError>) {
    check(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"), expected);
}

#[track_caller]
fn refuse_lines(lines: &str, error: HeadError) {
    check_lines(lines, Err(error));
}

#[test]
fn targets() {
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Get Origin a / None None keep"));
    check("GET /p?q HTTP/1.1\r\nHost: a:1\r\n\r\n", Ok("Get Origin a:1 /p Some(\"q\") None keep"));
    check("GET /?a?b HTTP/1.1\r\nHost: [::1]\r\n\r\n", Ok("Get Origin [::1] / Some(\"a?b\") None keep"));
    check("GET /? HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Get Origin a / Some(\"\") None keep"));
    check("GET http://b/p?q HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Get Absolute b /p Some(\"q\") None keep"));
    check("GET HTTPS://b:1?q HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Get Absolute b:1  Some(\"q\") None keep"));
    check("GET http://b HTTP/1.0\r\n\r\n", Ok("Get Absolute b  None None close"));
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Options Asterisk a * None None keep"));
    check("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Connect Authority b:443  None None keep"));
    check("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Other Origin a / None None keep"));
    check("get / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("Other Origin a / None None keep"));
    for (line, error) in [
        ("GET a HTTP/1.1", HeadError::Target),
        ("GET ftp://a/ HTTP/1.1", HeadError::Target),
        ("GET /#f HTTP/1.1", HeadError::Target),
        ("GET /\u{e9} HTTP/1.1", HeadError::Target),
        ("GET /\0 HTTP/1.1", HeadError::Target),
        ("GET /\t HTTP/1.1", HeadError::Target),
        ("GET  / HTTP/1.1", HeadError::Target),
        ("GET /\r HTTP/1.1", HeadError::Target),
        ("GET /", HeadError::Target),
        ("GET http:///p HTTP/1.1", HeadError::HostInvalid),
        ("GET http://u@b/ HTTP/1.1", HeadError::HostInvalid),
        ("GET http://b:x/ HTTP/1.1", HeadError::HostInvalid),
        ("GET * HTTP/1.1", HeadError::TargetForm),
        ("CONNECT /p HTTP/1.1", HeadError::TargetForm),
        ("CONNECT b HTTP/1.1", HeadError::TargetForm),
        ("CONNECT b: HTTP/1.1", HeadError::TargetForm),
        ("CONNECT [::1] HTTP/1.1", HeadError::TargetForm),
        ("CONNECT http://b:1/ HTTP/1.1", HeadError::TargetForm),
        ("G(T / HTTP/1.1", HeadError::Method),
        (" GET / HTTP/1.1", HeadError::Method),
        ("GET / HTTP/1.2", HeadError::VersionUnsupported),
        ("GET / HTTP/2.0", HeadError::VersionUnsupported),
        ("GET / HTTP/0.9", HeadError::VersionUnsupported),
        ("GET / HTTP/1.1 ", HeadError::Version),
        ("GET / HTTP/1.1 HTTP/1.1", HeadError::Version),
        ("GET / HTTP/11", HeadError::Version),
        ("GET / http/1.1", HeadError::Version),
        ("GET /  HTTP/1.1", HeadError::Version),
        ("GET / XTTP/1.1", HeadError::Version),
    ] {
        check(&format!("{line}\r\nHost: a\r\n\r\n"), Err(error));
    }
}

#[test]
fn hosts() {
    check("GET / HTTP/1.1\r\n\r\n", Err(HeadError::HostMissing));
    check("GET / HTTP/1.0\r\n\r\n", Ok("Get Origin  / None None close"));
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Err(HeadError::HostRepeated));
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(HeadError::HostRepeated));
    check("GET http://b/ HTTP/1.1\r\n\r\n", Err(HeadError::HostMissing));
    check("GET http://b/ HTTP/1.1\r\nHost: a@c\r\n\r\n", Err(HeadError::HostInvalid));
    for host in
        ["", "a b", "a,b", "u@a", "a/b", "http://a", "a:b", "a\tb", "[::1", "\u{e9}", "a?", "a#", "%61"]
    {
        check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), Err(HeadError::HostInvalid));
    }
}

#[test]
fn framing() {
    check_lines("Content-Length: 5", Ok("Post Origin a / None Length(5) keep"));
    check_lines("content-length:0", Ok("Post Origin a / None Length(0) keep"));
    check_lines(
        "Content-Length: 9223372036854775807",
        Ok("Post Origin a / None Length(9223372036854775807) keep"),
    );
    check_lines("Transfer-Encoding: Chunked", Ok("Post Origin a / None Chunked keep hop=Transfer-Encoding"));
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 5",
        "0x5",
        "5.0",
        "5;",
        "a",
        "9223372036854775808",
        "99999999999999999999",
        "18446744073709551621",
        "\u{661}",
    ] {
        refuse_lines(&format!("Content-Length: {value}"), HeadError::LengthInvalid);
    }
    refuse_lines("Content-Length: 5\r\nContent-Length: 5", HeadError::LengthRepeated);
    refuse_lines("Content-Length: 5\r\nContent-Length: 6", HeadError::LengthRepeated);
    refuse_lines("Content-Length: 5\r\nTransfer-Encoding: chunked", HeadError::LengthAndCoding);
    refuse_lines("Transfer-Encoding: x\r\nContent-Length: 5", HeadError::LengthAndCoding);
    for value in [
        "",
        "chunked, chunked",
        "chunked, gzip",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\u{b}",
        "chun ked",
        ",",
        "chunked,",
        ", chunked",
        "xchunked;",
    ] {
        let error = if value.contains('\u{b}') { HeadError::FieldValue } else { HeadError::CodingInvalid };
        refuse_lines(&format!("Transfer-Encoding: {value}"), error);
    }
    for value in ["gzip", "gzip, chunked", "identity", "xchunked", "chunkedx"] {
        refuse_lines(&format!("Transfer-Encoding: {value}"), HeadError::CodingUnsupported);
    }
    refuse_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", HeadError::CodingInvalid);
    refuse_lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", HeadError::CodingInvalid);
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::CodingInHttp10));
    check("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n", Ok("Post Origin  / None Length(3) close"));
    for line in
        ["TRACE / HTTP/1.1", "CONNECT a:1 HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.0", "DELETE / HTTP/1.0"]
    {
        check(&format!("{line}\r\nHost: a\r\nContent-Length: 1\r\n\r\n"), Err(HeadError::BodyForbidden));
    }
    check("GET / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", Ok("Get Origin  / None Length(0) close"));
    check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Ok("Get Origin a / None Length(1) keep"));
}

#[test]
fn lines_and_names() {
    for (request, error) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nX: b\nHost: a\r\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nX:\nHost: a\r\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.0\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.0\r\n\n", HeadError::LineEnding),
        ("GET / HTTP/1.0\n\n", HeadError::LineEnding),
        ("\nGET / HTTP/1.0\r\n\r\n", HeadError::LineEnding),
        ("\rGET / HTTP/1.0\r\n\r\n", HeadError::LineEnding),
        ("GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n", HeadError::FieldName),
        ("GET / HTTP/1.1\r\nHost: a\r\nY: a\rX: b\r\n\r\n", HeadError::LineEnding),
    ] {
        check(request, Err(error));
    }
    refuse_lines(" folded", HeadError::FieldName);
    refuse_lines("X: a\r\n\tfolded", HeadError::FieldName);
    refuse_lines("X : a", HeadError::FieldName);
    refuse_lines("X\t: a", HeadError::FieldName);
    refuse_lines(": a", HeadError::FieldName);
    refuse_lines("X", HeadError::FieldName);
    refuse_lines("X(: a", HeadError::FieldName);
    refuse_lines("\u{e9}: a", HeadError::FieldName);
    refuse_lines("Transfer-Encoding\u{b}: chunked", HeadError::FieldName);
    for byte in ['\0', '\u{1}', '\u{b}', '\u{1f}', '\u{7f}'] {
        refuse_lines(&format!("X: a{byte}b"), HeadError::FieldValue);
    }
    for name in
        ["Content_Length", "Transfer_Encoding", "ContentLength", "Transfer-Encoding-", "_Host", "Ho-st"]
    {
        refuse_lines(&format!("{name}: 1"), HeadError::FieldLookAlike);
    }
    check_lines("X: \u{e9}", Ok("Post Origin a / None None keep"));
    check_lines("X:", Ok("Post Origin a / None None keep"));
    check_lines("X: \t \r\nY: b  ", Ok("Post Origin a / None None keep"));
}

#[test]
fn connection() {
    check_lines("Connection: close", Ok("Post Origin a / None None close hop=Connection"));
    check_lines("connection: Keep-Alive, , CLOSE", Ok("Post Origin a / None None close hop=connection"));
    check_lines(
        "Connection: x-a,Y\r\nX-A: 1\r\ny: 2\r\nZ: 3",
        Ok("Post Origin a / None None keep hop=Connection,X-A,y"),
    );
    // Fields whose loss would change the message can't be named away.
    check_lines(
        "Connection: host, content-length, x-forwarded-for\r\nContent-Length: 1\r\nX-Forwarded-For: 1",
        Ok("Post Origin a / None Length(1) keep hop=Connection"),
    );
    refuse_lines("Connection: a b", HeadError::ConnectionInvalid);
    refuse_lines("Connection: close;x", HeadError::ConnectionInvalid);
    refuse_lines(&format!("Connection: {}", "x,".repeat(17)), HeadError::ConnectionInvalid);
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        Ok("Get Origin  / None None keep hop=Connection"),
    );
    check_lines(
        "Connection: Upgrade\r\nUpgrade: websocket",
        Ok("Post Origin a / None None keep upgrade=websocket hop=Connection,Upgrade"),
    );
    check_lines("Upgrade: websocket", Ok("Post Origin a / None None keep hop=Upgrade"));
    check_lines(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1",
        Ok("Post Origin a / None Length(1) keep hop=Connection,Upgrade"),
    );
    check_lines("Expect: 100-Continue", Ok("Post Origin a / None None keep expect"));
    refuse_lines("Expect: 100-continue, x", HeadError::ExpectationUnsupported);
    check("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", Ok("Post Origin  / None None close hop=Expect"));
    check_lines(
        "TE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nX_Forwarded_For: 1\r\nProxy: evil\r\nHTTP2-Settings: x",
        Ok(
            "Post Origin a / None None keep hop=TE,Keep-Alive,Proxy-Connection,X_Forwarded_For,Proxy,HTTP2-Settings",
        ),
    );
}

#[test]
fn empty_lines_come_first_or_not_at_all() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for count in 0..=4 {
        check(&format!("{}{request}", "\r\n".repeat(count)), Ok("Get Origin a / None None keep"));
    }
    check(&format!("{}{request}", "\r\n".repeat(5)), Err(HeadError::EmptyLines));
    check("\r\n\r\n\r\n\r\n\r\n", Err(HeadError::EmptyLines));
    for part in ["", "\r", "\r\n", "\r\n\r", "G", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        check(part, Ok("partial"));
    }
}

#[test]
fn limits() {
    let uri = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(len - 1));
    assert!(parse_request(uri(256).as_bytes(), &LIMITS, &mut RequestHead::new()).is_ok());
    check(&uri(257), Err(HeadError::UriTooLong));
    // Known before the line ends.
    check(&uri(300)[..280], Err(HeadError::UriTooLong));
    check(&format!("GET /{}", "u".repeat(5000)), Err(HeadError::UriTooLong));
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(4096)), Err(HeadError::HeadTooLarge));
    check(&"M".repeat(4096), Err(HeadError::HeadTooLarge));
    let head = |len: usize| {
        let front = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        format!("{front}{}\r\n\r\n", "x".repeat(len - front.len() - 4))
    };
    check(&head(4096), Ok("Get Origin a / None None keep"));
    check(&head(4097), Err(HeadError::HeadTooLarge));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    check(&fields(HEADER_COUNT_MAX), Ok("Get Origin a / None None keep"));
    check(&fields(HEADER_COUNT_MAX + 1), Err(HeadError::TooManyFields));
    // A limit beyond what spans can hold is cut to it.
    let wide = HeadLimits { head_bytes: usize::MAX, uri_bytes: usize::MAX };
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(HEADER_BYTES_MAX));
    assert_eq!(parse_request(long.as_bytes(), &wide, &mut RequestHead::new()), Err(HeadError::HeadTooLarge));
}

#[track_caller]
fn check_response(method: Method, response: &str, expected: Result<&str, HeadError>) {
    let mut head = ResponseHead::new();
    let got =
        parse_response(response.as_bytes(), &LIMITS, method, &mut head).map(|progress| match progress {
            Progress::Partial => "partial".to_owned(),
            Progress::Complete => format!(
                "{} {:?} {:?} {:?} {}",
                head.status,
                String::from_utf8_lossy(head.reason.of(response.as_bytes())),
                head.framing,
                head.length,
                if head.keep_alive { "keep" } else { "close" },
            ),
        });
    assert_eq!(got.as_deref(), expected.as_ref().map(|facts| *facts), "{response:?}");
}

#[test]
fn responses() {
    let check = |response: &str, expected| check_response(Method::Get, response, expected);
    check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Ok("200 \"OK\" Length(2) Some(2) keep"));
    check("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Ok("200 \"\" Length(0) Some(0) keep"));
    check("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", Ok("200 \"\" Chunked None keep"));
    check("HTTP/1.1 200 Not so OK\r\n\r\n", Ok("200 \"Not so OK\" UntilClose None close"));
    check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Ok("200 \"OK\" Length(2) Some(2) close"));
    check(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n",
        Ok("200 \"OK\" Length(2) Some(2) keep"),
    );
    check("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Ok("200 \"OK\" UntilClose None close"));
    check("HTTP/1.1 204 No Content\r\n\r\n", Ok("204 \"No Content\" None None keep"));
    check("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Ok("204 \"No Content\" None None keep"));
    check("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", Ok("304 \"x\" None Some(9) keep"));
    check("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", Ok("103 \"Early Hints\" None None keep"));
    check("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", Ok("999 \"x\" Length(0) Some(0) keep"));
    check_response(
        Method::Head,
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        Ok("200 \"OK\" None Some(9) keep"),
    );
    check_response(
        Method::Head,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        Ok("200 \"OK\" None None keep"),
    );
    check_response(Method::Connect, "HTTP/1.1 200 OK\r\n\r\n", Ok("200 \"OK\" None None keep"));
    for (response, error) in [
        ("HTTP/1.1 099 x\r\n\r\n", HeadError::StatusLine),
        ("HTTP/1.1 20 x\r\n\r\n", HeadError::StatusLine),
        ("HTTP/1.1 2000 x\r\n\r\n", HeadError::StatusLine),
        ("HTTP/1.1  200 x\r\n\r\n", HeadError::StatusLine),
        ("HTTP/2.0 200 x\r\n\r\n", HeadError::StatusLine),
        ("HTTP/1.1 200 a\0\r\n\r\n", HeadError::StatusLine),
        ("HTTP/1.1 200 x\n\r\n", HeadError::LineEnding),
        ("HTTP/1.1 200\nX: y\r\n\r\n", HeadError::LineEnding),
        ("\r\nHTTP/1.1 200 x\r\n\r\n", HeadError::EmptyLines),
        ("HTTP/1.1 200 x\r\nX : y\r\n\r\n", HeadError::FieldName),
        ("HTTP/1.1 200 x\r\n y\r\n\r\n", HeadError::FieldName),
        (
            "HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            HeadError::LengthAndCoding,
        ),
        ("HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", HeadError::LengthRepeated),
        ("HTTP/1.1 304 x\r\nContent-Length: x\r\n\r\n", HeadError::LengthInvalid),
        ("HTTP/1.1 200 x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::CodingUnsupported),
        ("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::CodingInHttp10),
        ("HTTP/1.1 204 x\r\nContent-Length: 1\r\n\r\n", HeadError::BodyForbidden),
        ("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", HeadError::BodyForbidden),
        ("HTTP/1.1 100 x\r\nContent-Length: 1\r\n\r\n", HeadError::BodyForbidden),
        ("HTTP/1.1 200 x\r\nContent_Length: 1\r\n\r\n", HeadError::FieldLookAlike),
    ] {
        check(response, Err(error));
    }
}

#[test]
fn every_error_answers_with_a_suitable_status() {
    for &error in HeadError::ALL {
        let status = error.fault().row().status;
        assert!([400, 414, 417, 431, 501, 505].contains(&status), "{error:?}");
        assert_eq!(error.upstream_fault().row().status, 502, "{error:?}");
        assert!(!error.reason().is_empty());
    }
}

#[test]
fn a_reused_head_keeps_nothing_of_the_last() {
    let mut used = RequestHead::new();
    let long = "GET http://b/p?q HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\nExpect: 100-continue\r\nX-A: 1\r\n\r\n";
    assert_eq!(parse_request(long.as_bytes(), &LIMITS, &mut used), Ok(Progress::Complete));
    let short = "\r\nGET / HTTP/1.0\r\nHost: c\r\n\r\n";
    let mut fresh = RequestHead::new();
    assert_eq!(parse_request(short.as_bytes(), &LIMITS, &mut used), Ok(Progress::Complete));
    assert_eq!(parse_request(short.as_bytes(), &LIMITS, &mut fresh), Ok(Progress::Complete));
    assert_eq!(facts(short.as_bytes(), &used), facts(short.as_bytes(), &fresh));
    assert_eq!((used.fields.len(), used.skip, used.len), (1, 2, short.len() - 2));
}

#[test]
fn the_hint_for_torn_heads() {
    for (bytes, from, expected) in [
        ("a\r\n\r\n", 0, true),
        ("a\r\n\r\n", 4, true),
        ("a\r\n\r\nbody", 2, true),
        ("a\n\n", 2, true),
        ("a\r\nb\r\n", 0, false),
        ("a\r\n\r", 3, false),
        ("", 0, false),
        ("a\r\n\r\nbcdefgh", 9, false),
    ] {
        assert_eq!(may_end(bytes.as_bytes(), from), expected, "{bytes:?} from {from}");
    }
}
