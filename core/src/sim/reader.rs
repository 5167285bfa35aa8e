//! A second, independent reading of HTTP/1.1 messages, for judging what the proxy writes.
//!
//! It shares no code with the product and is far narrower than the RFC: one way to write each thing.
//! Slow and simple on purpose. Whatever the proxy sends must pass it with nothing left over or missing.
//! The simulation's peers read with it, and so do the property tests and fuzz targets.

/// A message as this reader understands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `METHOD target HTTP/1.1` or `HTTP/1.1 status reason`, split at the first two spaces.
    pub start: [String; 3],
    /// Lower-case names and values in order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The content.
    pub body: Vec<u8>,
    /// Lower-case names and values.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// The framing was chunked.
    pub chunked: bool,
}

impl Message {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_slice()).collect()
    }

    /// The only value of a field.
    pub fn one(&self, name: &str) -> Option<String> {
        match self.all(name)[..] {
            [value] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.start[1].parse().unwrap_or(0)
    }

    /// `Connection: close` was said.
    pub fn closes(&self) -> bool {
        self.one("connection").is_some_and(|value| value == "close")
    }
}

/// What reading came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A message and how many bytes it took.
    Whole(Box<Message>, usize),
    /// The bytes are the beginning of a message.
    Part,
}

fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, String> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    if end == 0 || bytes[end - 1] != b'\r' {
        return Err("bare LF".into());
    }
    let text = &bytes[..end - 1];
    if text.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7F) {
        return Err(format!("control byte in {:?}", String::from_utf8_lossy(text)));
    }
    Ok(Some((text, end + 1)))
}

type Section = Vec<(String, Vec<u8>)>;

fn section(bytes: &[u8]) -> Result<Option<(Section, usize)>, String> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let Some((text, used)) = line(&bytes[at..])? else { return Ok(None) };
        at += used;
        if text.is_empty() {
            return Ok(Some((fields, at)));
        }
        let colon = text.iter().position(|&byte| byte == b':').ok_or("no colon")?;
        let (name, value) = (&text[..colon], &text[colon + 1..]);
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return Err(format!("bad name {:?}", String::from_utf8_lossy(name)));
        }
        let name = String::from_utf8_lossy(name).to_lowercase();
        let squashed: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        for important in ["host", "content-length", "transfer-encoding"] {
            if squashed == important.replace('-', "") && name != important {
                return Err(format!("look-alike {name}"));
            }
        }
        let value = value.trim_ascii().to_vec();
        fields.push((name, value));
    }
}

fn number(text: &[u8], radix: u32) -> Result<usize, String> {
    let text = std::str::from_utf8(text).map_err(|_| "number")?;
    if text.is_empty() || text.starts_with('+') {
        return Err(format!("bad number {text:?}"));
    }
    let number = u64::from_str_radix(text, radix).map_err(|_| format!("bad number {text:?}"))?;
    usize::try_from(number).map_err(|_| "huge".into())
}

fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some((text, used)) = line(&bytes[at..])? else { return Ok(None) };
        let size = number(text, 16)?;
        at += used;
        if size == 0 {
            let Some((trailers, used)) = section(&bytes[at..])? else { return Ok(None) };
            message.trailers = trailers;
            return Ok(Some(at + used));
        }
        if bytes.len() - at < size.saturating_add(2) {
            return Ok(None);
        }
        message.body.extend_from_slice(&bytes[at..at + size]);
        if &bytes[at + size..at + size + 2] != b"\r\n" {
            return Err("chunk end".into());
        }
        at += size + 2;
    }
}

fn head(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some((text, used)) = line(bytes)? else { return Ok(None) };
    let text = std::str::from_utf8(text).map_err(|_| "start line beyond ASCII")?;
    let mut words = text.splitn(3, ' ').map(str::to_owned);
    let mut next = || words.next().ok_or(format!("start line {text:?}"));
    let start = [next()?, next()?, next()?];
    let Some((fields, more)) = section(&bytes[used..])? else { return Ok(None) };
    Ok(Some((Message { start, fields, ..Message::default() }, used + more)))
}

fn framing(message: &Message) -> Result<Option<usize>, String> {
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => number(length, 10).map(Some),
        ([], [b"chunked"]) => Ok(Some(usize::MAX)),
        _ => Err(format!("framing {lengths:?} {codings:?}")),
    }
}

/// Reads one request from the start of `bytes`.
///
/// # Errors
/// What makes it no message.
pub fn read_request(bytes: &[u8]) -> Result<Reading, String> {
    let Some((mut message, used)) = head(bytes)? else { return Ok(Reading::Part) };
    let [method, target, version] = &message.start;
    if version != "HTTP/1.1" || method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("request line {:?}", message.start));
    }
    if !(target.starts_with('/') || target == "*")
        || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    {
        return Err(format!("target {target:?}"));
    }
    if message.all("host").len() != 1 {
        return Err("not one Host".into());
    }
    let rest = &bytes[used..];
    let body = match framing(&message)? {
        None => 0,
        Some(usize::MAX) => {
            message.chunked = true;
            match chunks(rest, &mut message)? {
                Some(used) => used,
                None => return Ok(Reading::Part),
            }
        }
        Some(length) if rest.len() < length => return Ok(Reading::Part),
        Some(length) => {
            message.body = rest[..length].to_vec();
            length
        }
    };
    Ok(Reading::Whole(Box::new(message), used + body))
}

/// Reads one response from the start of `bytes`. `ended`: nothing follows, the connection was closed.
///
/// # Errors
/// What makes it no message.
pub fn read_response(bytes: &[u8], to_head: bool, ended: bool) -> Result<Reading, String> {
    let Some((mut message, used)) = head(bytes)? else { return Ok(Reading::Part) };
    let status = message.status();
    if message.start[0] != "HTTP/1.1" || !(100..1000).contains(&status) {
        return Err(format!("status line {:?}", message.start));
    }
    let rest = &bytes[used..];
    let declared = framing(&message)?;
    let body = if to_head || status < 200 || status == 204 || status == 304 {
        0
    } else {
        match declared {
            None if !ended => return Ok(Reading::Part),
            None => {
                message.body = rest.to_vec();
                rest.len()
            }
            Some(usize::MAX) => {
                message.chunked = true;
                match chunks(rest, &mut message)? {
                    Some(used) => used,
                    None => return Ok(Reading::Part),
                }
            }
            Some(length) if rest.len() < length => return Ok(Reading::Part),
            Some(length) => {
                message.body = rest[..length].to_vec();
                length
            }
        }
    };
    Ok(Reading::Whole(Box::new(message), used + body))
}
