//! What this machine's kernel can do of TLS, tried out once on loopback connections.
//!
//! Versions are not asked, because distributions move features between them; one suite says nothing of
//! another, because each has a module of its own.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use pinion_core::config::snapshot::{Ktls, Snapshot};
use pinion_core::telemetry::tls::TlsPlace;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};

use crate::sys::ktls::{Cipher, Keys, Way, install};

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3];

/// What the kernel can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelTls {
    /// It has TLS at all.
    ulp: bool,
    /// Both directions, by version and [`Cipher`].
    suites: [[bool; 3]; 2],
    /// Keys of TLS 1.3 can be renewed.
    rekey: bool,
    /// A socket with half a record counts as readable, so that waiting for it is busy.
    half_records: bool,
}

/// What this machine's kernel can do, found out when first asked.
pub(crate) fn kernel() -> KernelTls {
    static KERNEL: OnceLock<KernelTls> = OnceLock::new();
    *KERNEL.get_or_init(|| KernelTls::probe().unwrap_or_default())
}

/// What this machine lacks of what `snapshot` insists on, in a sentence.
pub(crate) fn lacks(snapshot: &Snapshot) -> Option<String> {
    let listeners = snapshot.listeners.iter().filter_map(|listener| {
        let tls = listener.tls.as_ref()?;
        Some(("listener", &*listener.name, tls.ktls))
    });
    let clusters = snapshot.clusters.iter().filter_map(|cluster| {
        let tls = cluster.tls.as_ref()?;
        Some(("cluster", &*cluster.name, tls.ktls))
    });
    let mut wishes = listeners.chain(clusters).filter(|(_, _, ktls)| *ktls != Ktls::Off).peekable();
    wishes.peek()?;
    let kernel = kernel();
    tracing::info!(found = kernel.words(), "kernel TLS");
    let (kind, name, _) = wishes.find(|(_, _, ktls)| *ktls == Ktls::On)?;
    if kernel.reports_half_records() {
        tracing::warn!("on this kernel a TLS connection with half a record costs a thread with io_uring");
    }
    kernel.refusal().map(|why| format!("{kind} {name:?} has `ktls = \"on\"`, but {why}"))
}

impl KernelTls {
    /// Tries everything out.
    ///
    /// # Errors
    ///
    /// When there is no loopback to try it on.
    fn probe() -> io::Result<Self> {
        let mut found = KernelTls::default();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let pair = || -> io::Result<(TcpStream, TcpStream)> {
            let one = TcpStream::connect(listener.local_addr()?)?;
            Ok((one, listener.accept()?.0))
        };
        found.ulp = install(pair()?.0.as_fd()).is_ok();
        if !found.ulp {
            return Ok(found);
        }
        for (place, version) in VERSIONS.into_iter().enumerate() {
            for cipher in Cipher::ALL {
                let (one, _other) = pair()?;
                found.suites[place][cipher as usize] = both_ways(&one, version, cipher);
            }
        }
        let Some(cipher) = Cipher::ALL.into_iter().find(|cipher| found.suites[1][*cipher as usize]) else {
            return Ok(found);
        };
        let (one, mut other) = pair()?;
        if both_ways(&one, ProtocolVersion::TLSv1_3, cipher)
            && let Some(keys) = Keys::dummy(ProtocolVersion::TLSv1_3, cipher)
        {
            found.rekey = keys.set(one.as_fd(), Way::Tx).is_ok();
            other.write_all(&[23, 3, 3, 1, 0, 0, 0, 0, 0, 0])?;
            found.half_records = is_readable(&one)?;
        }
        Ok(found)
    }

    /// Where records of a connection of `version` with `suite` begin, and may be handled later.
    pub(crate) fn place(
        &self,
        ktls: Ktls,
        version: ProtocolVersion,
        suite: SupportedCipherSuite,
    ) -> TlsPlace {
        if ktls == Ktls::Off {
            return TlsPlace::Off;
        }
        if !self.ulp {
            return TlsPlace::NoKernelTls;
        }
        let place = usize::from(version == ProtocolVersion::TLSv1_3);
        if !cipher_of(suite).is_some_and(|cipher| self.suites[place][cipher as usize]) {
            return TlsPlace::Suite;
        }
        match ktls {
            Ktls::Auto if version == ProtocolVersion::TLSv1_3 && !self.rekey => TlsPlace::NoRekey,
            Ktls::Auto if self.half_records => TlsPlace::HalfRecords,
            Ktls::Auto => TlsPlace::NotBulk,
            Ktls::Off | Ktls::On => TlsPlace::Unsettled,
        }
    }

    /// Whether keys can be renewed.
    pub(crate) fn renews(&self) -> bool {
        self.rekey
    }

    /// Whether it calls a socket readable that has half a record: with io_uring each such socket then costs a
    /// kernel thread until the rest comes.
    pub(crate) fn reports_half_records(&self) -> bool {
        self.half_records
    }

    /// Why `ktls = "on"` can't be had.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if !self.ulp {
            return Some("the kernel has no TLS (module tls)");
        }
        let usual = [Cipher::Aes128Gcm, Cipher::Aes256Gcm];
        let all = self.suites.iter().all(|suites| usual.iter().all(|cipher| suites[*cipher as usize]));
        if all { None } else { Some("the kernel's TLS lacks AES-GCM (module gcm)") }
    }

    /// The words for the log.
    pub(crate) fn words(&self) -> String {
        if !self.ulp {
            return "none".to_owned();
        }
        let suites = self.suites.iter().flatten().filter(|suite| **suite).count();
        let rekey = if self.rekey { "renews keys" } else { "can't renew keys" };
        let poll = if self.half_records { "reports half records" } else { "waits for whole records" };
        format!("{suites} of 6 suites, {rekey}, {poll}")
    }
}

/// Whether both directions of `socket` take dummy keys.
fn both_ways(socket: &TcpStream, version: ProtocolVersion, cipher: Cipher) -> bool {
    let Some(keys) = Keys::dummy(version, cipher) else {
        return false;
    };
    install(socket.as_fd()).is_ok()
        && keys.set(socket.as_fd(), Way::Tx).is_ok()
        && keys.set(socket.as_fd(), Way::Rx).is_ok()
}

/// Whether poll calls `socket` readable. What was written to the other end is there at once: it is loopback.
fn is_readable(socket: &TcpStream) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(socket, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&now))?;
    Ok(polled[0].revents().contains(PollFlags::IN))
}

fn cipher_of(suite: SupportedCipherSuite) -> Option<Cipher> {
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(Cipher::Aes128Gcm),
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Cipher::Aes256Gcm),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(Cipher::ChaCha20Poly1305),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> KernelTls {
        KernelTls { ulp: true, suites: [[true; 3]; 2], rekey: true, half_records: false }
    }

    #[test]
    fn auto_wants_a_kernel_that_can_do_it_all_and_on_does_not() {
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let (tls12, tls13) = (ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3);
        let check = |kernel: KernelTls, ktls, version, expected| {
            assert_eq!(kernel.place(ktls, version, suite), expected, "{kernel:?}");
        };
        check(able(), Ktls::Off, tls13, TlsPlace::Off);
        check(able(), Ktls::Auto, tls13, TlsPlace::NotBulk);
        check(able(), Ktls::On, tls13, TlsPlace::Unsettled);
        let old = KernelTls { rekey: false, ..able() };
        check(old, Ktls::Auto, tls13, TlsPlace::NoRekey);
        check(old, Ktls::Auto, tls12, TlsPlace::NotBulk);
        check(old, Ktls::On, tls13, TlsPlace::Unsettled);
        check(KernelTls { half_records: true, ..able() }, Ktls::Auto, tls13, TlsPlace::HalfRecords);
        check(KernelTls { suites: [[false; 3]; 2], ..able() }, Ktls::On, tls13, TlsPlace::Suite);
        check(KernelTls::default(), Ktls::On, tls13, TlsPlace::NoKernelTls);
        assert_eq!(able().refusal(), None);
        assert!(KernelTls::default().refusal().is_some());
        assert!(KernelTls { suites: [[false; 3]; 2], ..able() }.refusal().is_some());
    }

    #[test]
    fn probing_leaves_a_verdict() {
        let found = KernelTls::probe().unwrap();
        println!("kernel TLS: {}", found.words());
        assert_eq!(found, kernel());
        assert!(found.ulp || found == KernelTls::default());
    }
}
