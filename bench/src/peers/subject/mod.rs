//! The proxies that are compared: their names; where they are (`find`), how they are started (`configure`,
//! `speak`).

pub(super) mod configure;
pub(super) mod find;
mod speak;

/// A program under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Subject {
    /// Pinion on io_uring.
    Pinion,
    /// Pinion on epoll.
    PinionEpoll,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// A reverse proxy of Pingora's crates.
    Pingora,
    /// A forwarder of bytes that understands nothing: what the kernel alone costs.
    Floor,
}

impl Subject {
    /// All of them, in the order of the tables.
    pub(super) const ALL: [Subject; 7] = [
        Subject::Pinion,
        Subject::PinionEpoll,
        Subject::Nginx,
        Subject::Haproxy,
        Subject::Envoy,
        Subject::Pingora,
        Subject::Floor,
    ];

    /// How tables call it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Subject::Pinion => "pinion (io_uring)",
            Subject::PinionEpoll => "pinion (epoll)",
            Subject::Nginx => "nginx",
            Subject::Haproxy => "HAProxy",
            Subject::Envoy => "Envoy",
            Subject::Pingora => "Pingora",
            Subject::Floor => "floor",
        }
    }

    /// A file-system name, and the one on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Pinion => "pinion",
            Subject::PinionEpoll => "pinion-epoll",
            Subject::Nginx => "nginx",
            Subject::Haproxy => "haproxy",
            Subject::Envoy => "envoy",
            Subject::Pingora => "pingora",
            Subject::Floor => "floor",
        }
    }

    /// Whether it is somebody else's proxy: what Pinion is compared with.
    pub(super) fn is_peer(self) -> bool {
        !matches!(self, Subject::Pinion | Subject::PinionEpoll | Subject::Floor)
    }

    /// Whether it understands HTTP.
    pub(super) fn is_proxy(self) -> bool {
        self != Subject::Floor
    }
}
