//! The record of one finished request, as bytes: how it travels from a shard to the access log.
//!
//! ```text
//!   0       4       5       6        8          12       16                               48
//!   ├ bytes ┼ flags ┼ fault ┼ status ┼ attempts ┼ (zero) ┼ start, generation, in, out ───┼ …
//!   … phases, 6 × u64 ─┬─ lengths, 19 × u16 ─┬─ method ┬ authority ┬ path ┬ … 19 strings ─┤
//!   48                 96                    134
//! ```
//!
//! Numbers are little-endian; `bytes` counts the whole record, itself included. Strings are cut to the
//! named limits of [`limits`](crate::limits), and a flag says that one was.
//!
//! Invariants:
//! - encoding appends at most [`RECORD_BYTES_MAX`] bytes and formats nothing;
//! - decoding what was encoded gives the same entry, up to cut strings; decoding anything else gives
//!   `None` or some entry, never a panic.
//!
//! Not here: rings, JSON and text.
//!
//! Budget: one copy of each string, no allocation if the buffer has room.

use super::ledger::{Phase, Phases};
use crate::fault::Fault;
use crate::limits::{
    LOG_ADDRESS_BYTES_MAX, LOG_AUTHORITY_BYTES_MAX, LOG_HEADER_BYTES_MAX, LOG_METHOD_BYTES_MAX,
    LOG_NAME_BYTES_MAX, LOG_PATH_BYTES_MAX, LOG_PROXY_BYTES_MAX, LOG_RING_BYTES, LOG_SERVER_NAME_BYTES_MAX,
};

/// What the access log says of one request. An empty string stands for "absent".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessEntry<'a> {
    /// When the first byte of the request arrived, in nanoseconds of Unix time.
    pub start_unix_nanos: u64,
    /// Generation of the configuration the request was served with.
    pub generation: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// Where the time went; the request's duration is their sum.
    pub phases: Phases,
    /// The status sent to the client, 0 if none was.
    pub status: u16,
    /// How many times the request was sent upstream.
    pub attempts: u32,
    /// Whether the (last) upstream connection had served a request before.
    pub connection_reused: bool,
    /// What went wrong, if something did.
    pub fault: Option<Fault>,
    /// The method as received.
    pub method: &'a [u8],
    /// Host and port the request is for, as received.
    pub authority: &'a [u8],
    /// The path as forwarded.
    pub path: &'a [u8],
    /// The query without its question mark.
    pub query: Option<&'a [u8]>,
    /// `HTTP/1.0`, `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// The client's address as text.
    pub peer: &'a [u8],
    /// The listener's name.
    pub listener: &'a [u8],
    /// The route's name.
    pub route: &'a [u8],
    /// The cluster's name.
    pub cluster: &'a [u8],
    /// The endpoint's address as text.
    pub endpoint: &'a [u8],
    /// The User-Agent field.
    pub user_agent: &'a [u8],
    /// The X-Forwarded-For field as received.
    pub forwarded_for: &'a [u8],
    /// The X-Request-Id field.
    pub request_id: &'a [u8],
    /// What the connection's PROXY header said, as a header of version 2 whose source is who sent it, and whose
    /// destination is where the client connected to.
    pub proxy: &'a [u8],
    /// `TLSv1.3`, `TLSv1.2`; empty for plain text.
    pub tls_version: &'a [u8],
    /// The cipher suite's name.
    pub tls_cipher: &'a [u8],
    /// The host that the client asked for in its TLS handshake (SNI).
    pub server_name: &'a [u8],
    /// The first URI name of the client's certificate: its SPIFFE id where there is one.
    pub peer_uri: &'a [u8],
    /// The subject of the client's certificate.
    pub peer_subject: &'a [u8],
}

/// An entry read back from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The entry, borrowing from the record's bytes.
    pub entry: AccessEntry<'a>,
    /// Whether a string was cut to its limit.
    pub truncated: bool,
}

const FLAG_REUSED: u8 = 1;
const FLAG_QUERY: u8 = 2;
const FLAG_TRUNCATED: u8 = 4;
const NO_FAULT: u8 = u8::MAX;
const STRINGS: usize = 19;
/// Where the strings' lengths begin: after the head (16), four numbers and the phases.
const LENGTHS_AT: usize = 16 + 8 * 4 + 8 * Phase::COUNT;
/// Bytes before the first string.
const FIXED_BYTES: usize = LENGTHS_AT + 2 * STRINGS;

/// The limit of each string, in the order of [`AccessEntry::strings`].
const STRING_BYTES_MAX: [usize; STRINGS] = [
    LOG_METHOD_BYTES_MAX,
    LOG_AUTHORITY_BYTES_MAX,
    LOG_PATH_BYTES_MAX,
    LOG_PATH_BYTES_MAX,
    LOG_METHOD_BYTES_MAX,
    LOG_ADDRESS_BYTES_MAX,
    LOG_NAME_BYTES_MAX,
    LOG_NAME_BYTES_MAX,
    LOG_NAME_BYTES_MAX,
    LOG_ADDRESS_BYTES_MAX,
    LOG_HEADER_BYTES_MAX,
    LOG_HEADER_BYTES_MAX,
    LOG_HEADER_BYTES_MAX,
    LOG_PROXY_BYTES_MAX,
    LOG_METHOD_BYTES_MAX,
    LOG_NAME_BYTES_MAX,
    LOG_SERVER_NAME_BYTES_MAX,
    LOG_HEADER_BYTES_MAX,
    LOG_HEADER_BYTES_MAX,
];

/// The most bytes one record can have: what a buffer to encode into should hold.
pub const RECORD_BYTES_MAX: usize = {
    let mut sum = FIXED_BYTES;
    let mut at = 0;
    while at < STRINGS {
        assert!(STRING_BYTES_MAX[at] <= u16::MAX as usize);
        sum += STRING_BYTES_MAX[at];
        at += 1;
    }
    sum
};

const _: () = assert!(RECORD_BYTES_MAX * 64 <= LOG_RING_BYTES, "a ring holds many of the largest records");
const _: () = assert!(Fault::COUNT < NO_FAULT as usize);

impl<'a> AccessEntry<'a> {
    /// How long the request took, in nanoseconds: the sum of its phases.
    pub fn duration_nanos(&self) -> u64 {
        self.phases.total()
    }

    fn strings(&self) -> [&'a [u8]; STRINGS] {
        [
            self.method,
            self.authority,
            self.path,
            self.query.unwrap_or_default(),
            self.protocol,
            self.peer,
            self.listener,
            self.route,
            self.cluster,
            self.endpoint,
            self.user_agent,
            self.forwarded_for,
            self.request_id,
            self.proxy,
            self.tls_version,
            self.tls_cipher,
            self.server_name,
            self.peer_uri,
            self.peer_subject,
        ]
    }

    /// Appends this entry's record to `out`: at most [`RECORD_BYTES_MAX`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; FIXED_BYTES];
        let mut strings = self.strings();
        let mut truncated = false;
        let mut bytes = FIXED_BYTES;
        for (at, string) in strings.iter_mut().enumerate() {
            truncated |= string.len() > STRING_BYTES_MAX[at];
            *string = &string[..string.len().min(STRING_BYTES_MAX[at])];
            bytes += string.len();
            put(&mut fixed, LENGTHS_AT + 2 * at, (string.len() as u16).to_le_bytes());
        }
        put(&mut fixed, 0, (bytes as u32).to_le_bytes());
        fixed[4] = u8::from(self.connection_reused) * FLAG_REUSED
            + u8::from(self.query.is_some()) * FLAG_QUERY
            + u8::from(truncated) * FLAG_TRUNCATED;
        fixed[5] = self.fault.map_or(NO_FAULT, |fault| fault.index() as u8);
        put(&mut fixed, 6, self.status.to_le_bytes());
        put(&mut fixed, 8, self.attempts.to_le_bytes());
        let numbers = [self.start_unix_nanos, self.generation, self.bytes_in, self.bytes_out];
        for (at, number) in numbers.into_iter().chain(self.phases.0).enumerate() {
            put(&mut fixed, 16 + 8 * at, number.to_le_bytes());
        }
        out.reserve(bytes);
        out.extend_from_slice(&fixed);
        for string in strings {
            out.extend_from_slice(string);
        }
    }
}

/// Puts `bytes` at place `at`, which is a constant offset within the fixed part.
#[inline]
fn put<const N: usize>(fixed: &mut [u8; FIXED_BYTES], at: usize, bytes: [u8; N]) {
    fixed[at..at + N].copy_from_slice(&bytes);
}

/// How many bytes the record that begins with `head` has; `None` for impossible lengths.
pub fn record_bytes(head: [u8; 4]) -> Option<usize> {
    let bytes = u32::from_le_bytes(head) as usize;
    (FIXED_BYTES..=RECORD_BYTES_MAX).contains(&bytes).then_some(bytes)
}

/// Reads one whole record; `None` if `record` is not exactly one.
pub fn decode(record: &[u8]) -> Option<Record<'_>> {
    let mut rest = Reader(record);
    if record_bytes(rest.array()?)? != record.len() {
        return None;
    }
    let [flags, fault] = rest.array()?;
    let status = u16::from_le_bytes(rest.array()?);
    let attempts = u32::from_le_bytes(rest.array()?);
    let _: [u8; 4] = rest.array()?;
    let [start_unix_nanos, generation, bytes_in, bytes_out] = rest.numbers()?;
    let phases = Phases(rest.numbers()?);
    let mut lengths = [0; STRINGS];
    for length in &mut lengths {
        *length = usize::from(u16::from_le_bytes(rest.array()?));
    }
    let mut strings = [&[][..]; STRINGS];
    for (string, length) in strings.iter_mut().zip(lengths) {
        *string = rest.string(length)?;
    }
    let [method, authority, path, query, protocol, peer, listener, route, cluster, endpoint, others @ ..] =
        strings;
    let [agent, xff, id, proxy, tls_version, tls_cipher, server_name, peer_uri, peer_subject] = others;
    let entry = AccessEntry {
        start_unix_nanos,
        generation,
        bytes_in,
        bytes_out,
        phases,
        status,
        attempts,
        connection_reused: flags & FLAG_REUSED != 0,
        fault: Fault::ALL.get(usize::from(fault)).copied(),
        method,
        authority,
        path,
        query: (flags & FLAG_QUERY != 0).then_some(query),
        protocol,
        peer,
        listener,
        route,
        cluster,
        endpoint,
        user_agent: agent,
        forwarded_for: xff,
        request_id: id,
        proxy,
        tls_version,
        tls_cipher,
        server_name,
        peer_uri,
        peer_subject,
    };
    rest.0.is_empty().then_some(Record { entry, truncated: flags & FLAG_TRUNCATED != 0 })
}

/// What is left to read of a record.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = u64::from_le_bytes(self.array()?);
        }
        Some(numbers)
    }

    fn string(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (string, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..=max)
    }

    #[test]
    fn long_strings_are_cut_and_said_so() {
        let long = vec![b'a'; 70_000];
        let entry = AccessEntry {
            method: &long,
            authority: &long,
            path: &long,
            query: Some(&long),
            protocol: &long,
            peer: &long,
            listener: &long,
            route: &long,
            cluster: &long,
            endpoint: &long,
            user_agent: &long,
            forwarded_for: &long,
            request_id: &long,
            proxy: &long,
            tls_version: &long,
            tls_cipher: &long,
            server_name: &long,
            peer_uri: &long,
            peer_subject: &long,
            ..AccessEntry::default()
        };
        let mut out = Vec::new();
        entry.encode(&mut out);
        assert_eq!(out.len(), RECORD_BYTES_MAX);
        let record = decode(&out).unwrap();
        assert!(record.truncated);
        assert_eq!(record.entry.path.len(), LOG_PATH_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            numbers in any::<[u64; 4]>(), phases in any::<[u64; 6]>(), status in any::<u16>(),
            attempts in any::<u32>(), connection_reused in any::<bool>(),
            fault in proptest::option::of(0..Fault::COUNT),
            method in bytes(LOG_METHOD_BYTES_MAX), path in bytes(300),
            query in proptest::option::of(bytes(300)), peer in bytes(60), name in bytes(40), id in bytes(40),
        ) {
            let entry = AccessEntry {
                start_unix_nanos: numbers[0], generation: numbers[1],
                bytes_in: numbers[2], bytes_out: numbers[3],
                phases: Phases(phases), status, attempts, connection_reused,
                fault: fault.map(|fault| Fault::ALL[fault]),
                method: &method, authority: &name, path: &path, query: query.as_deref(), protocol: b"HTTP/1.1",
                peer: &peer, listener: &name, route: &name, cluster: &name, endpoint: &peer,
                user_agent: &path, forwarded_for: &name, request_id: &id, proxy: &id,
                tls_version: b"TLSv1.3", tls_cipher: &name, server_name: &name, peer_uri: &path, peer_subject: &path,
            };
            let mut out = vec![1, 2, 3];
            entry.encode(&mut out);
            let record = &out[3..];
            prop_assert_eq!(record_bytes([record[0], record[1], record[2], record[3]]), Some(record.len()));
            prop_assert_eq!(decode(record), Some(Record { entry, truncated: false }));
        }

        #[test]
        fn nothing_makes_decoding_panic(mut record in bytes(600), honest in any::<bool>()) {
            if honest && record.len() >= 4 {
                let len = record.len() as u32;
                record[..4].copy_from_slice(&len.to_le_bytes());
            }
            let _ = decode(&record);
        }
    }
}
