//! Which driver the shards get: what the configuration asks for, and what the kernel lets us have.
//!
//! Containers commonly forbid io_uring (seccomp), and older kernels lack the flags, so the probe builds a real
//! ring with the very flags and asks for the very operations.

use std::io;

use io_uring::{IoUring, Probe, opcode};
use pinion_core::config::DriverChoice;

use crate::net::Driver;

/// The driver to use, and why not io_uring where it was tried in vain.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The driver.
    pub(crate) driver: Driver,
    /// Why `auto` fell back to epoll.
    pub(crate) fallback: Option<String>,
}

/// Chooses the driver.
///
/// # Errors
///
/// When the configuration insists on io_uring and there is no usable ring.
pub(crate) fn choose(choice: DriverChoice) -> io::Result<Choice> {
    choose_by(choice, probe)
}

fn choose_by(choice: DriverChoice, probe: impl FnOnce() -> io::Result<()>) -> io::Result<Choice> {
    match choice {
        DriverChoice::Epoll => Ok(Choice { driver: Driver::Epoll, fallback: None }),
        DriverChoice::IoUring => probe().map(|()| Choice { driver: Driver::IoUring, fallback: None }),
        DriverChoice::Auto => Ok(match probe() {
            Ok(()) => Choice { driver: Driver::IoUring, fallback: None },
            Err(error) => Choice { driver: Driver::Epoll, fallback: Some(error.to_string()) },
        }),
    }
}

/// The ring set-up of every shard: one submitting thread, completions only when it asks for them
/// (`bench/README.md` has the measurement).
pub(crate) fn ring_builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(RING_ENTRIES * 4);
    builder
}

/// Submission entries of a shard's ring; completions get four times as many.
pub(crate) const RING_ENTRIES: u32 = 1_024;

fn probe() -> io::Result<()> {
    let ring: IoUring = ring_builder().build(RING_ENTRIES)?;
    // `sys::ring` relies on both: no completion is lost, and success need not be reported.
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_skip_cqe_on_success() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring is too old"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        ("recv", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("poll_add", opcode::PollAdd::CODE),
        ("async_cancel", opcode::AsyncCancel::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((name, _)) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("the kernel's io_uring has no {name}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn only_auto_falls_back_and_says_why() {
        let auto = choose_by(DriverChoice::Auto, forbidden).unwrap();
        assert_eq!(auto.driver, Driver::Epoll);
        assert!(auto.fallback.unwrap().contains("not permitted"));
        assert!(choose_by(DriverChoice::IoUring, forbidden).is_err());
        let auto = choose_by(DriverChoice::Auto, || Ok(())).unwrap();
        assert_eq!((auto.driver, auto.fallback), (Driver::IoUring, None));
    }

    #[test]
    fn epoll_asks_nothing_of_the_ring() {
        let epoll = choose_by(DriverChoice::Epoll, || unreachable!()).unwrap();
        assert_eq!((epoll.driver, epoll.fallback), (Driver::Epoll, None));
    }
}
