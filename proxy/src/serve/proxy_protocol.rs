//! PROXY headers: the one that a connection begins with, and the one that endpoints get.
//!
//! Invariants:
//! - nobody is believed whom the listener does not trust;
//! - from the header on its source is the client, for logs, for forwarded headers and for whom is trusted;
//! - a connection with a header that is no header is closed, with its reason counted.
//!
//! Not here: the forms of a header (`core`: `proxy_protocol`), sending it (`upstream::pool`).

use std::net::SocketAddr;

use pinion_core::config::snapshot::SendHeader;
use pinion_core::fault::Fault;
use pinion_core::limits::LOG_PROXY_BYTES_MAX;
use pinion_core::proxy_protocol::{
    self, Header, HeaderError, Peers, Progress, Ssl, Values, Version, encode_v1, encode_v2,
};

use super::downstream::Downstream;
use super::sniff::sniff;
use crate::shard::Shard;
use crate::tls::facts::Alpn;

/// What the PROXY header of a connection said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyFacts {
    /// Where the client connected to, if that is known.
    destination: Option<SocketAddr>,
    /// The header as received, for its values; empty if it has none.
    header: Box<[u8]>,
    /// What the access log says of it, see `AccessEntry::proxy`.
    pub(crate) logged: Box<[u8]>,
}

impl ProxyFacts {
    // ALLOC: once a connection.
    fn new(sender: Option<SocketAddr>, header: &Header<'_>, bytes: &[u8]) -> Self {
        let destination = match header.peers {
            Peers::Inet { destination, .. } => Some(destination),
            Peers::Local | Peers::Unknown | Peers::Unix => None,
        };
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        let peers = sender.map_or(Peers::Unknown, |source| {
            let destination = destination.unwrap_or(unspecified);
            Peers::Inet { source, destination }
        });
        let mut logged = Vec::new();
        encode_v2(&mut logged, &peers, &bounded(&header.values), false);
        if logged.len() > LOG_PROXY_BYTES_MAX {
            logged.clear();
            encode_v2(&mut logged, &peers, &Values::default(), false);
        }
        let has_values = header.values != Values::default();
        ProxyFacts {
            destination,
            header: if has_values { bytes.into() } else { Box::default() },
            logged: logged.into(),
        }
    }

    /// The header's values.
    fn values(&self) -> Values<'_> {
        match proxy_protocol::read(&self.header) {
            Ok(Progress::Complete(header, _)) => bounded(&header.values),
            _ => Values::default(),
        }
    }
}

/// Values of others, cut to what is passed on and logged: DNS names and usual ones fit by far.
fn bounded<'a>(values: &Values<'a>) -> Values<'a> {
    /// Bytes of one value.
    const MOST: usize = 255;
    let cut = |value: &'a [u8]| &value[..value.len().min(MOST)];
    let mut values = *values;
    (values.alpn, values.authority) = (cut(values.alpn), cut(values.authority));
    if let Some(ssl) = &mut values.ssl {
        for value in
            [&mut ssl.version, &mut ssl.common_name, &mut ssl.cipher, &mut ssl.signature, &mut ssl.key]
        {
            *value = cut(value);
        }
    }
    values
}

/// Reads the header that the connection's listener asks for, if it does.
///
/// # Errors
///
/// The connection is over: the fault, if there is one (see `sniff`).
pub(crate) async fn read(shard: &Shard, connection: &mut Downstream) -> Result<(), Option<Fault>> {
    let listener = connection.view.listener.clone();
    let Some(accept) = &listener.proxy_protocol else { return Ok(()) };
    if !accept.believes(connection.peer.map(|peer| peer.ip())) {
        // Where it is optional what such a peer sends is not looked at.
        return if accept.required { Err(Some(Fault::ProxyHeaderUntrusted)) } else { Ok(()) };
    }
    let deadline = connection.accepted.after(listener.timeouts.header);
    let sender = connection.peer;
    let judge = |bytes: &[u8]| match proxy_protocol::read(bytes) {
        Ok(Progress::Partial) => Ok(None),
        Ok(Progress::Complete(header, length)) => {
            let source = match header.peers {
                Peers::Inet { source, .. } => Some(source),
                Peers::Local | Peers::Unknown | Peers::Unix => None,
            };
            let facts = ProxyFacts::new(sender, &header, &bytes[..length]);
            Ok(Some(Some((source, facts, length))))
        }
        Err(HeaderError::Absent) if !accept.required => Ok(Some(None)),
        Err(error) => {
            tracing::debug!(listener = &*listener.name, reason = error.label(), "a PROXY header was refused");
            Err(fault(error))
        }
    };
    if let Some((source, facts, length)) =
        sniff(shard, connection, deadline, Fault::ProxyHeaderTimeout, judge).await?
    {
        if let Some(inbuf) = &mut connection.inbuf {
            inbuf.take(length);
        }
        connection.inbuf = connection.inbuf.take().filter(|inbuf| !inbuf.unread().is_empty());
        connection.told(source, facts);
    }
    Ok(())
}

fn fault(error: HeaderError) -> Fault {
    match error {
        HeaderError::Absent => Fault::ProxyHeaderMissing,
        HeaderError::Checksum => Fault::ProxyHeaderChecksum,
        HeaderError::TooLong => Fault::ProxyHeaderTooLong,
        HeaderError::Line
        | HeaderError::Address
        | HeaderError::Command
        | HeaderError::Family
        | HeaderError::Length
        | HeaderError::Value => Fault::ProxyHeaderMalformed,
    }
}

/// The header about `connection`'s client that endpoints get; `name` is what it asked for by SNI.
// ALLOC: once an upstream connection.
pub(crate) fn header(shard: &Shard, connection: &Downstream, send: &SendHeader, name: &str) -> Box<[u8]> {
    let said = connection.proxy.as_ref();
    let destination = said.and_then(|said| said.destination).or_else(|| connection.local_address());
    let peers = match (connection.peer, destination) {
        (Some(source), Some(destination)) => Peers::Inet { source, destination },
        _ => Peers::Unknown,
    };
    let mut out = Vec::new();
    if send.version == Version::V1 {
        encode_v1(&mut out, &peers);
        return out.into();
    }
    let mut values = said.map_or_else(Values::default, |said| said.values());
    let tls = connection.tls.as_deref();
    // What ends here counts for more than what somebody before says.
    let common_name = tls.and_then(|tls| tls.peer.as_ref()).map(|peer| common_name(&peer.subject));
    if let Some(tls) = tls {
        values.alpn = match tls.alpn {
            Some(Alpn::Http1) => b"http/1.1",
            Some(Alpn::Http2) => b"h2",
            Some(Alpn::Other) | None => &[],
        };
        values.authority = tls.sni.as_deref().unwrap_or_default().as_bytes();
        values.ssl = Some(Ssl {
            // One that was not verified is no connection.
            certificate: tls.peer.is_some(),
            verified: tls.peer.is_some(),
            version: tls.version_label().as_bytes(),
            common_name: common_name.as_deref().unwrap_or_default().as_bytes(),
            cipher: tls.suite_label().as_bytes(),
            ..Ssl::default()
        });
    }
    if !name.is_empty() {
        values.authority = name.as_bytes();
    }
    let id;
    if values.unique_id.is_empty() && send.values.unique_id {
        let mut rng = shard.rng.borrow_mut();
        id = (u128::from(rng.bits()) << 64 | u128::from(rng.bits())).to_be_bytes();
        values.unique_id = &id;
    }
    let wanted = send.values;
    let values = Values {
        alpn: if wanted.alpn { values.alpn } else { &[] },
        authority: if wanted.authority { values.authority } else { &[] },
        unique_id: if wanted.unique_id { values.unique_id } else { &[] },
        ssl: values.ssl.filter(|_| wanted.tls),
    };
    encode_v2(&mut out, &peers, &values, wanted.crc32c);
    out.into()
}

/// The unique id that a header says, in hexadecimal; empty without one.
// ALLOC: once a connection that is passed on.
pub(crate) fn unique_id(header: &[u8]) -> String {
    let Ok(Progress::Complete(header, _)) = proxy_protocol::read(header) else { return String::new() };
    header.values.unique_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first common name of a subject as RFC 4514 writes it; empty without one. At most 255 bytes.
fn common_name(subject: &str) -> String {
    let mut names = vec![String::new()];
    let mut letters = subject.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' | '+' => names.push(String::new()),
            // Letters that would end the name are written behind a backslash.
            _ => {
                let plain = if letter == '\\' { letters.next() } else { Some(letter) };
                if let Some(name) = names.last_mut() {
                    name.extend(plain);
                }
            }
        }
    }
    let name = names.iter().find_map(|name| name.strip_prefix("CN=")).unwrap_or_default();
    name.char_indices()
        .take_while(|(at, letter)| at + letter.len_utf8() <= 255)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names() {
        let long = format!("CN={}", "ä".repeat(200));
        for (subject, expected) in [
            ("CN=a,O=b", "a"),
            ("O=b,CN=client 1", "client 1"),
            ("OU=x+CN=y,O=z", "y"),
            ("CN=a\\,b\\+c,O=d", "a,b+c"),
            ("O=b", ""),
            ("", ""),
            (&long, &*"ä".repeat(127)),
        ] {
            assert_eq!(common_name(subject), expected, "{subject}");
        }
    }
}
