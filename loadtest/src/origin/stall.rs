//! A scripted standstill: for a while after a given moment the origin answers nothing, on any
//! connection. Requests that fall into it are answered when it ends.

use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::units;

/// One standstill, counted from the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    /// When it begins.
    pub(crate) at: Duration,
    /// How long it lasts.
    pub(crate) length: Duration,
}

impl FromStr for Stall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (at, length) =
            text.split_once(':').ok_or_else(|| format!("`{text}` is not AT:FOR, for example 2s:500ms"))?;
        Ok(Stall { at: units::duration(at)?, length: units::duration(length)? })
    }
}

/// The script of standstills, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Script {
    stalls: Vec<Stall>,
    first: OnceLock<Instant>,
}

impl Script {
    /// A script of these standstills.
    pub(crate) fn new(stalls: Vec<Stall>) -> Self {
        Script { stalls, first: OnceLock::new() }
    }

    /// Whether it never stands still.
    pub(super) fn is_empty(&self) -> bool {
        self.stalls.is_empty()
    }

    /// How long a request that arrives at `now` has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if self.stalls.is_empty() {
            return Duration::ZERO;
        }
        let age = now.saturating_duration_since(*self.first.get_or_init(|| now));
        wait_at(&self.stalls, age)
    }
}

/// How long a request has to wait that arrives `age` after the first one. Standstills that touch or
/// overlap are one.
fn wait_at(stalls: &[Stall], age: Duration) -> Duration {
    let mut until = age;
    // Each round that moves `until` has left one standstill behind for good.
    while let Some(end) =
        stalls.iter().filter(|s| s.at <= until && until < s.at + s.length).map(|s| s.at + s.length).max()
    {
        until = end;
    }
    until - age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_the_end_of_the_standstill_it_fell_into() {
        let stall = |text: &str| text.parse::<Stall>().unwrap();
        let stalls = [stall("1s:500ms"), stall("1500ms:1s"), stall("5s:1s")];
        let check =
            |age, wait| assert_eq!(wait_at(&stalls, Duration::from_millis(age)), Duration::from_millis(wait));
        check(0, 0);
        check(999, 0);
        check(1000, 1500);
        check(1400, 1100);
        check(2499, 1);
        check(2500, 0);
        check(5500, 500);
        assert!("1s".parse::<Stall>().is_err());
        assert!("1s:5".parse::<Stall>().is_err());
    }
}
