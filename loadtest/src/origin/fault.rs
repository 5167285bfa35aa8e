//! What goes wrong on purpose, at random: failed requests and reset connections.

use std::str::FromStr;

use super::answer::{Content, Cut, Plan};
use crate::random::Random;

/// A share of the requests, from 0 to 1, written as `1%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Share(percent / 100.0)),
            _ => Err(format!("`{text}` is not a share, for example 0.1%")),
        }
    }
}

/// Which share of the requests fails, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ErrorRate {
    /// Of all requests.
    pub(crate) share: Share,
    /// Their status code.
    pub(crate) status: u16,
}

impl FromStr for ErrorRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (share, status) = text.split_once(':').unwrap_or((text, "503"));
        match status.parse() {
            Ok(status @ 400..=599) => Ok(ErrorRate { share: share.parse()?, status }),
            _ => Err(format!("`{status}` is not the status code of an error, 400 to 599")),
        }
    }
}

/// The faults of this origin.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Answers with an error's status.
    pub(crate) errors: Option<ErrorRate>,
    /// Answers that a reset cuts off.
    pub(crate) resets: Option<Share>,
}

impl Faults {
    /// Whether nothing ever goes wrong.
    pub(super) fn is_none(&self) -> bool {
        self.errors.is_none() && self.resets.is_none()
    }

    /// Lets chance change what is answered. An error replaces the content; a reset happens to errors as
    /// well.
    pub(super) fn strike(&self, plan: &mut Plan, random: &mut Random) {
        if let Some(errors) = self.errors
            && random.unit() < errors.share.0
        {
            plan.status = errors.status;
            plan.content = Content::Identity;
        }
        if let Some(share) = self.resets
            && random.unit() < share.0
        {
            plan.cut = Some(Cut::Reset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_and_errors_have_a_status() {
        assert_eq!("0.5%".parse(), Ok(Share(0.005)));
        assert_eq!("1%".parse(), Ok(ErrorRate { share: Share(0.01), status: 503 }));
        assert_eq!("100%:500".parse(), Ok(ErrorRate { share: Share(1.0), status: 500 }));
        for wrong in ["", "%", "1", "101%", "-1%", "nan%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        for wrong in ["1%:200", "1%:", "1%:600", "x:500"] {
            assert!(wrong.parse::<ErrorRate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_strike_as_often_as_they_should_and_the_same_for_the_same_seed() {
        let faults =
            Faults { errors: Some(ErrorRate { share: Share(0.1), status: 500 }), resets: Some(Share(0.01)) };
        let run = |seed| {
            let mut random = Random::seeded(seed);
            let mut struck = Vec::new();
            for number in 0..50_000 {
                let mut plan = Plan::default();
                faults.strike(&mut plan, &mut random);
                if plan != Plan::default() {
                    struck.push((number, plan.status, plan.cut));
                }
            }
            struck
        };
        let struck = run(1);
        let errors = struck.iter().filter(|(_, status, _)| *status == 500).count();
        let resets = struck.iter().filter(|(_, _, cut)| cut.is_some()).count();
        // Five standard deviations around 5,000 and 500.
        assert!((4664..=5336).contains(&errors), "{errors}");
        assert!((388..=612).contains(&resets), "{resets}");
        assert_eq!(struck, run(1));
        assert_ne!(struck, run(2));
    }
}
