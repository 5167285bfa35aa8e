//! The one form of host and path: what every decision is made on and what is forwarded.
//!
//! Paths (RFC 3986 section 6.2.2): percent-encoded unreserved bytes are decoded, other escapes get
//! upper-case digits, bytes that a URI may not hold bare are escaped, `//` is merged, dot segments (also
//! written `%2e`) are resolved. Refused, because servers differ on them: encoded or bare backslash,
//! encoded slash, encoded NUL, broken escapes, `..;` segments (some servers cut parameters off first).
//!
//! Invariants: normalising twice changes nothing; the result starts with `/` (or is `*`).
//!
//! HOT: a usual path is recognised in one pass and not copied. Not here: queries, which stay as sent.

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalised {
    /// It was in its one form already; the output buffer holds nothing of use.
    Same,
    /// The output buffer holds its one form.
    Changed,
}

/// The path can be read in two ways, or in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRefused;

/// May stand as it is.
const PLAIN: u8 = 0;
/// `.`: plain, unless it begins a segment.
const DOT: u8 = 0b10;
/// `/`: begins a segment that may be empty or dots. Shifted left by one it meets the bit that it shares
/// with [`DOT`], and no other class.
const SLASH: u8 = 0b11;
/// `%`.
const ESCAPE: u8 = 8;
/// A visible byte outside the grammar of paths: escaped.
const BARE: u8 = 16;
/// Controls, space, `?`, `#`, `\` and bytes beyond ASCII.
const REFUSED: u8 = 32;
/// Any of these takes more than a look.
const WORK: u8 = ESCAPE | BARE | REFUSED;

const fn classes() -> [u8; 256] {
    let mut classes = [REFUSED; 256];
    let mut byte = 0x21;
    while byte < 0x7F {
        classes[byte as usize] = match byte {
            b'/' => SLASH,
            b'.' => DOT,
            b'%' => ESCAPE,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => BARE,
            b'?' | b'#' | b'\\' => REFUSED,
            _ => PLAIN,
        };
        byte += 1;
    }
    classes
}

static CLASS: [u8; 256] = classes();

/// Brings `path` (without query) into its one form. `out` is cleared and written only if that differs.
pub fn normalize_path(path: &[u8], out: &mut Vec<u8>) -> Result<Normalised, PathRefused> {
    if is_usual(path) {
        return Ok(Normalised::Same);
    }
    out.clear();
    if path.is_empty() {
        // An absolute-form target may lack its path (RFC 9112 section 3.2.1).
        out.push(b'/');
        return Ok(Normalised::Changed);
    }
    if path == b"*" {
        return Ok(Normalised::Same);
    }
    if path.first() != Some(&b'/') {
        return Err(PathRefused);
    }
    resolve(path, out)?;
    Ok(if out == path { Normalised::Same } else { Normalised::Changed })
}

/// Whether `path` needs no work: only plain bytes, and no segment that is empty or begins with a dot.
/// Without a branch per byte: each byte's class is a set of bits that is tested against the one before.
#[inline]
fn is_usual(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else { return false };
    let mut found = 0;
    let mut before = SLASH;
    for &byte in rest {
        let class = CLASS[usize::from(byte)];
        found |= class & (before << 1 | WORK);
        before = class;
    }
    found == 0
}

/// Writes the one form of a path that starts with `/`. The output is never more than three times as long.
fn resolve(path: &[u8], out: &mut Vec<u8>) -> Result<(), PathRefused> {
    for segment in path[1..].split(|&byte| byte == b'/') {
        let start = out.len();
        out.push(b'/');
        unescape(segment, out)?;
        let written = &out[start + 1..];
        if written.starts_with(b".;") || written.starts_with(b"..;") {
            return Err(PathRefused);
        }
        match written {
            b"" | b"." => out.truncate(start),
            b".." => {
                // Above the root there is nothing to leave (RFC 3986 section 5.2.4).
                let parent = memchr::memrchr(b'/', &out[..start]).unwrap_or(0);
                out.truncate(parent);
            }
            _ => {}
        }
    }
    // The last segment was empty or dots: the path names a folder.
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if out.is_empty() || last.is_empty() || is_dots(last) {
        out.push(b'/');
    }
    Ok(())
}

/// Whether a segment as sent stands for `.` or `..`.
fn is_dots(segment: &[u8]) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => tail,
            _ => return false,
        };
        dots += 1;
    }
    dots == 1 || dots == 2
}

/// Appends one segment with its escapes in their one form.
fn unescape(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathRefused> {
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        match CLASS[usize::from(byte)] {
            PLAIN | DOT => out.push(byte),
            BARE => escape(byte, out),
            ESCAPE => {
                let high = hex(bytes.next())?;
                let low = hex(bytes.next())?;
                match high << 4 | low {
                    0 | b'/' | b'\\' => return Err(PathRefused),
                    byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                        out.push(byte);
                    }
                    byte => escape(byte, out),
                }
            }
            _ => return Err(PathRefused),
        }
    }
    Ok(())
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

fn hex(byte: Option<u8>) -> Result<u8, PathRefused> {
    match byte {
        Some(byte @ b'0'..=b'9') => Ok(byte - b'0'),
        Some(byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
        Some(byte @ b'A'..=b'F') => Ok(byte - b'A' + 10),
        _ => Err(PathRefused),
    }
}

/// The longest host name (RFC 1035 section 2.3.4), with room for a port in front of normalising.
const HOST_BYTES_MAX: usize = 255;

/// Writes the host of `host[:port]` in its one form: lower-case, without port and final dot, brackets of
/// an IPv6 address kept. Returns its length, or `None` if it is no valid authority: empty, user
/// information, anything but letters, digits, `-`, `_`, `.`, a bad address literal or port.
#[inline]
pub fn normalize_host(host: &[u8], out: &mut [u8; 256]) -> Option<usize> {
    if host.first() == Some(&b'[') {
        let name = authority_host(host)?;
        let room = out.get_mut(..name.len())?;
        for (to, from) in room.iter_mut().zip(name) {
            *to = from.to_ascii_lowercase();
        }
        return Some(name.len());
    }
    let mut end = 0;
    for (to, &byte) in out.iter_mut().zip(host) {
        let letter = NAME[usize::from(byte)];
        if letter == 0 {
            break;
        }
        *to = letter;
        end += 1;
    }
    if !is_name(&host[..end]) || !is_port(&host[end..]) {
        return None;
    }
    Some(end - usize::from(host[end - 1] == b'.'))
}

/// The host part of a valid `host[:port]` (RFC 3986 section 3.2.2, narrowed to what names and addresses use).
#[inline]
pub(crate) fn authority_host(authority: &[u8]) -> Option<&[u8]> {
    let end = if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority)?;
        let text = std::str::from_utf8(&authority[1..end]).ok()?;
        text.parse::<std::net::Ipv6Addr>().ok()?;
        end + 1
    } else {
        let end = authority.iter().position(|&byte| NAME[usize::from(byte)] == 0).unwrap_or(authority.len());
        if !is_name(&authority[..end]) {
            return None;
        }
        end
    };
    let (host, port) = authority.split_at(end);
    is_port(port).then_some(host)
}

/// The bytes of a host name in lower case; zero for every other byte.
const NAME: [u8; 256] = {
    let mut name = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            name[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    name
};

/// Whether these bytes, each of which may stand in a name, are one: not too long, and no empty label at
/// either end.
#[inline]
fn is_name(name: &[u8]) -> bool {
    match name {
        [] | [b'.', ..] | [.., b'.', b'.'] => false,
        _ => name.len() <= HOST_BYTES_MAX,
    }
}

/// Nothing, or `:` and a port number; `:` alone is allowed (RFC 3986 section 3.2.3).
#[inline]
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => {
            let mut port = 0_u32;
            for digit in digits {
                if !digit.is_ascii_digit() || port > 0xFFFF {
                    return false;
                }
                port = port * 10 + u32::from(digit - b'0');
            }
            port <= 0xFFFF
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Result<&str, PathRefused>) {
        let mut out = b"left over".to_vec();
        let got = normalize_path(path.as_bytes(), &mut out);
        let text = got.map(|what| match what {
            Normalised::Same => path.to_owned(),
            Normalised::Changed => String::from_utf8(out.clone()).unwrap(),
        });
        assert_eq!(text.as_deref(), expected.as_ref().map(|path| *path), "{path}");
        if let Ok(text) = text {
            assert_eq!(normalize_path(text.as_bytes(), &mut out), Ok(Normalised::Same), "{path} twice");
        }
    }

    #[test]
    fn usual_paths_stay() {
        for path in
            ["/", "/a", "/a/b.html", "/a/", "/a;v=1/b", "/a:b@c", "/~x/-_", "/%20", "/a%0D%0A", "/a.", "*"]
        {
            check(path, Ok(path));
        }
    }

    #[test]
    fn one_form() {
        check("", Ok("/"));
        check("//", Ok("/"));
        check("//a///b//", Ok("/a/b/"));
        check("/./a/./b/.", Ok("/a/b/"));
        check("/a/../b", Ok("/b"));
        check("/a/b/..", Ok("/a/"));
        check("/a/b/../", Ok("/a/"));
        check("/..", Ok("/"));
        check("/../../a", Ok("/a"));
        check("/a/%2e%2E/b", Ok("/b"));
        check("/a/.%2e", Ok("/"));
        check("/a//../b", Ok("/b"));
        check("/%41%7e%2d", Ok("/A~-"));
        check("/%c3%a9", Ok("/%C3%A9"));
        check("/a\"<>^`{|}[]", Ok("/a%22%3C%3E%5E%60%7B%7C%7D%5B%5D"));
        check("/%252e%252e", Ok("/%252e%252e"));
        check("/.well-known", Ok("/.well-known"));
        check("/...", Ok("/..."));
        check("/a/..b", Ok("/a/..b"));
    }

    #[test]
    fn two_readings_are_refused() {
        for path in [
            "a",
            "/a%2fb",
            "/a%2F",
            "/%5c",
            "/a\\b",
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/a/..;/b",
            "/.;x",
            "/%2e%2e;/a",
            "/a b",
            "/a?b",
            "/a#b",
            "/\u{e9}",
            "/\u{7f}",
            "/a\tb",
            "**",
        ] {
            check(path, Err(PathRefused));
        }
    }

    #[track_caller]
    fn check_host(host: &str, expected: Option<&str>) {
        let mut out = [0; 256];
        let got =
            normalize_host(host.as_bytes(), &mut out).map(|len| std::str::from_utf8(&out[..len]).unwrap());
        assert_eq!(got, expected, "{host}");
    }

    #[test]
    fn hosts() {
        check_host("Example.COM", Some("example.com"));
        check_host("example.com:8080", Some("example.com"));
        check_host("example.com:", Some("example.com"));
        check_host("example.com.:80", Some("example.com"));
        check_host("a_b-c.d", Some("a_b-c.d"));
        check_host("127.0.0.1:1", Some("127.0.0.1"));
        check_host("[::1]:80", Some("[::1]"));
        check_host("[2001:DB8::1]", Some("[2001:db8::1]"));
        for host in [
            "",
            ":80",
            "a b",
            "user@host",
            "a,b",
            "a/b",
            "a:b",
            "a:99999",
            "a:80:80",
            "[::1",
            "[::1]x",
            "[zz]",
            "::1",
            "[fe80::1%25eth0]",
            ".",
            ".a",
            "a..",
            "%61",
            "a\0",
            "\u{e9}",
            "a:+80",
            "a:00000000080000000000",
        ] {
            check_host(host, None);
        }
        check_host(&"a".repeat(255), Some(&"a".repeat(255)));
        check_host(&"a".repeat(256), None);
    }
}
