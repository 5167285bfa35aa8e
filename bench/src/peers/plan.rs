//! What is measured: sections, and the cases of each.

use clap::ValueEnum as _;

use super::address::Transport;
use super::traffic::Traffic;

/// The sizes of bodies, in bytes.
const BODIES: [usize; 3] = [100, 10 * 1024, 1024 * 1024];

/// The numbers of connections.
const CONNECTIONS: [u32; 5] = [1, 8, 64, 128, 512];

/// Connections of the open loop.
const OPEN_CONNECTIONS: u32 = 128;

/// A traffic, whether its bodies are large, and its connections and streams.
type TransportLoads = (Traffic, bool, &'static [(u32, u32)]);

/// The loads of the section `transports`.
const TRANSPORT_LOADS: [TransportLoads; 11] = [
    (Traffic::Http2ToHttp1, false, &[(1, 1), (4, 32), (100, 10)]),
    (Traffic::Http2, false, &[(1, 1), (4, 32), (100, 10)]),
    (Traffic::Grpc, false, &[(1, 1), (4, 32)]),
    (Traffic::Handshakes, false, &[(8, 1)]),
    (Traffic::HybridHandshakes, false, &[(8, 1)]),
    (Traffic::ResumedHandshakes, false, &[(8, 1)]),
    (Traffic::Tls, false, &[(1, 1), (64, 1)]),
    (Traffic::Tls, true, &[(4, 1)]),
    (Traffic::TlsHttp2, false, &[(4, 32)]),
    (Traffic::Tcp, false, &[(1, 1), (64, 1)]),
    (Traffic::Tcp, true, &[(4, 1)]),
];

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Section {
    /// CPU time and system calls, all on one CPU in turns: the steady measure.
    Lockstep,
    /// The most that goes through, in a closed loop.
    Saturation,
    /// Latency at fixed rates, in an open loop.
    Latency,
    /// Memory idle and for each connection.
    Memory,
    /// HTTP/2, gRPC, TLS and TCP: CPU time and system calls of closed loops, all on one CPU in turns.
    Transports,
}

impl Section {
    /// The name on the command line and in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Section::Lockstep => "lockstep",
            Section::Saturation => "saturation",
            Section::Latency => "latency",
            Section::Memory => "memory",
            Section::Transports => "transports",
        }
    }
}

/// What is asked of the proxies in one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(super) section: Section,
    /// Content bytes of each answer.
    pub(super) bytes: usize,
    /// Connections.
    pub(super) connections: u32,
    /// The most requests in flight on each of them: 1 but in HTTP/2.
    pub(super) streams: u32,
    /// What is spoken.
    pub(super) traffic: Traffic,
    pub(super) transport: Transport,
    /// Requests a second of an open loop, 0 in the others.
    pub(super) rate: u32,
}

impl Case {
    /// `10 KiB, K=8, Unix`.
    pub(super) fn label(self) -> String {
        let size = match self.bytes {
            bytes if bytes >= 1 << 20 && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
            bytes => format!("{bytes} B"),
        };
        let transport = match self.transport {
            Transport::Tcp => "",
            Transport::Unix => ", Unix",
        };
        match self.section {
            Section::Lockstep => format!("{size}, K={}{transport}", self.connections),
            Section::Saturation if self.connections == 1 => format!("{size}, 1 connection{transport}"),
            Section::Saturation => format!("{size}, {} connections{transport}", self.connections),
            Section::Latency => format!("{}/s{transport}", self.rate),
            Section::Memory => format!("{} idle connections{transport}", self.connections),
            Section::Transports if self.traffic.is_http2() => {
                format!("{}, {}×{}", self.traffic.label(), self.connections, self.streams)
            }
            Section::Transports if self.traffic.is_handshakes() => {
                format!("{}, K={}", self.traffic.label(), self.connections)
            }
            Section::Transports => format!("{}, {size}, K={}", self.traffic.label(), self.connections),
        }
    }
}

/// Which cases are wanted.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// The kinds of measurement
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES", default_values_t = Section::value_variants().to_vec())]
    sections: Vec<Section>,
    /// Every size with every number of connections over both kinds of socket, instead of a choice of them
    #[arg(long)]
    full: bool,
    /// Only the cases with these body sizes, in bytes
    #[arg(long, value_delimiter = ',', value_name = "BYTES")]
    bodies: Vec<usize>,
    /// Only the cases with so many requests in flight: connections times streams
    #[arg(long, value_delimiter = ',', value_name = "K")]
    in_flight: Vec<u32>,
    /// Only the cases over these sockets
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    transports: Vec<Transport>,
    /// Only these kinds of traffic in the section `transports`
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    traffic: Vec<Traffic>,
    /// Requests a second of the open loops, over 128 connections
    #[arg(long, value_delimiter = ',', value_name = "R", default_value = "2000,10000,20000")]
    rates: Vec<u32>,
    /// Idle connections of the memory measurement
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=25_000))]
    idle_connections: u32,
}

impl Choice {
    /// The cases, section by section.
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for &section in &self.sections {
            let case = |bytes, connections, transport, rate| {
                let (traffic, streams) = (Traffic::Http1, 1);
                Case { section, bytes, connections, streams, traffic, transport, rate }
            };
            match section {
                Section::Lockstep | Section::Saturation => cases.extend(
                    self.loads(section)
                        .into_iter()
                        .map(|(transport, bytes, connections)| case(bytes, connections, transport, 0)),
                ),
                Section::Latency if self.takes(Transport::Tcp, BODIES[0], OPEN_CONNECTIONS) => cases.extend(
                    self.rates.iter().map(|&rate| case(BODIES[0], OPEN_CONNECTIONS, Transport::Tcp, rate)),
                ),
                Section::Memory if self.takes_transport(Transport::Tcp) => {
                    cases.push(case(BODIES[0], self.idle_connections, Transport::Tcp, 0));
                }
                Section::Transports => cases.extend(self.transport_cases()),
                Section::Latency | Section::Memory => {}
            }
        }
        cases
    }

    /// Socket, body and connections of a section's cases.
    fn loads(&self, section: Section) -> Vec<(Transport, usize, u32)> {
        let [small, middle, large] = BODIES;
        let tcp = |bytes, connections: &[u32]| {
            connections.iter().map(move |&k| (Transport::Tcp, bytes, k)).collect::<Vec<_>>()
        };
        let unix = |bytes, connections: &[u32]| {
            connections.iter().map(move |&k| (Transport::Unix, bytes, k)).collect::<Vec<_>>()
        };
        let all = || {
            let both = [Transport::Tcp, Transport::Unix].into_iter();
            both.flat_map(|t| BODIES.map(move |b| (t, b)))
                .flat_map(|(t, b)| CONNECTIONS.map(move |k| (t, b, k)))
                .collect()
        };
        let mut loads: Vec<_> = match section {
            _ if self.full => all(),
            Section::Lockstep => [
                tcp(small, &CONNECTIONS),
                tcp(middle, &[8, 64]),
                tcp(large, &[4]),
                unix(small, &[1, 8, 64]),
                unix(middle, &[8]),
                unix(large, &[4]),
            ]
            .concat(),
            _ => {
                [tcp(small, &CONNECTIONS), tcp(middle, &[64]), tcp(large, &[8]), unix(small, &[64])].concat()
            }
        };
        loads.retain(|&(transport, bytes, connections)| self.takes(transport, bytes, connections));
        loads
    }

    /// The cases of the section `transports`.
    fn transport_cases(&self) -> impl Iterator<Item = Case> {
        let [small, _, large] = BODIES;
        let all = TRANSPORT_LOADS.iter().flat_map(move |&(traffic, is_large, loads)| {
            loads.iter().map(move |&(connections, streams)| Case {
                section: Section::Transports,
                bytes: if is_large { large } else { small },
                connections,
                streams,
                traffic,
                transport: Transport::Tcp,
                rate: 0,
            })
        });
        all.filter(|case| {
            (self.traffic.is_empty() || self.traffic.contains(&case.traffic))
                && self.takes(case.transport, case.bytes, case.connections * case.streams)
        })
    }

    fn takes(&self, transport: Transport, bytes: usize, connections: u32) -> bool {
        self.takes_transport(transport)
            && (self.bodies.is_empty() || self.bodies.contains(&bytes))
            && (self.in_flight.is_empty() || self.in_flight.contains(&connections))
    }

    fn takes_transport(&self, transport: Transport) -> bool {
        self.transports.is_empty() || self.transports.contains(&transport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        choice: Choice,
    }

    fn cases(line: &str) -> Vec<Case> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        <Line as clap::Parser>::parse_from(words).choice.cases()
    }

    #[test]
    fn cases_have_readable_names() {
        let case = |section, bytes, connections, transport| {
            let (traffic, streams, rate) = (Traffic::Http1, 1, 9);
            Case { section, bytes, connections, streams, traffic, transport, rate }
        };
        let label = |section, bytes, k, transport| case(section, bytes, k, transport).label();
        assert_eq!(label(Section::Lockstep, 100, 1, Transport::Tcp), "100 B, K=1");
        assert_eq!(label(Section::Lockstep, 10_240, 8, Transport::Unix), "10 KiB, K=8, Unix");
        assert_eq!(label(Section::Saturation, 1 << 20, 4, Transport::Tcp), "1 MiB, 4 connections");
        assert_eq!(label(Section::Latency, 100, 4, Transport::Tcp), "9/s");
        assert_eq!(label(Section::Memory, 100, 4, Transport::Tcp), "4 idle connections");
    }

    #[test]
    fn transports_have_their_loads() {
        let label = |case: &Case| case.label();
        let labels: Vec<_> = cases("--sections transports").iter().map(label).collect();
        for wanted in [
            "HTTP/2 to HTTP/2, 4×32",
            "HTTP/2 to HTTP/1, 100×10",
            "gRPC unary, 1×1",
            "TLS handshakes, resumed, K=8",
            "TLS, HTTP/1, 1 MiB, K=4",
            "TCP echo, 100 B, K=64",
        ] {
            assert!(labels.iter().any(|label| label == wanted), "{wanted}: {labels:?}");
        }
        let of = |line: &str| cases(line).iter().map(label).collect::<Vec<_>>();
        assert_eq!(of("--sections transports --traffic http2 --in-flight 128"), ["HTTP/2 to HTTP/2, 4×32"]);
        assert_eq!(of("--sections transports --transports unix").len(), 0);
    }

    #[test]
    fn every_size_number_and_socket_is_there() {
        let usual = cases("");
        for section in Section::value_variants() {
            assert!(usual.iter().any(|case| case.section == *section), "{section:?}");
        }
        let of = |case: &Case| (case.section, case.transport as u8, case.bytes, case.connections);
        let full = cases("--full --sections lockstep,saturation");
        assert_eq!(full.len(), 2 * 2 * BODIES.len() * CONNECTIONS.len());
        assert_eq!(full.iter().map(of).collect::<std::collections::BTreeSet<_>>().len(), full.len());
        for bytes in BODIES {
            assert!(usual.iter().any(|case| case.bytes == bytes && case.transport == Transport::Unix));
        }
    }

    #[test]
    fn a_choice_leaves_the_others_out() {
        let chosen = cases("--sections lockstep --bodies 100 --in-flight 1,64 --transports tcp");
        let connections: Vec<_> = chosen.iter().map(|case| case.connections).collect();
        assert_eq!(connections, [1, 64]);
        assert_eq!(cases("--sections latency --rates 5,7").len(), 2);
        assert_eq!(cases("--transports unix --sections latency,memory").len(), 0);
    }
}
