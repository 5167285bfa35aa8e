//! The service manager's side: systemd's readiness protocol.
//!
//! Invariants: nothing is said when `NOTIFY_SOCKET` is not set, and a manager that can't be told is no
//! failure (the process serves all the same).
//!
//! Not here: socket activation (`publish::sockets`).

use sd_notify::NotifyState;

/// Serving: sent once after start and after each reload.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// A drain begins.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
