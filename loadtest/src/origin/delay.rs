//! How long the origin waits before an answer: a fixed time or a distribution.

use std::str::FromStr;
use std::time::Duration;

use crate::random::Random;
use crate::units;

/// The longest wait, in seconds: an exponential has no end, and a wait of days helps nobody.
const DELAY_SECONDS_MAX: f64 = 3600.0;

/// A time to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between the two.
    Uniform(Duration, Duration),
    /// Exponential with this mean.
    Exponential(Duration),
}

impl Delay {
    /// One wait.
    pub(crate) fn sample(self, random: &mut Random) -> Duration {
        match self {
            Delay::Fixed(time) => time,
            Delay::Uniform(least, most) => least + (most - least).mul_f64(random.unit()),
            Delay::Exponential(mean) => {
                Duration::from_secs_f64((mean.as_secs_f64() * random.exponential()).min(DELAY_SECONDS_MAX))
            }
        }
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bounded = |text: &str| {
            let time = units::duration(text)?;
            if time.as_secs_f64() > DELAY_SECONDS_MAX {
                return Err(format!("`{text}` is longer than an hour"));
            }
            Ok(time)
        };
        if let Some(mean) = text.strip_prefix("exp:") {
            return bounded(mean).map(Delay::Exponential);
        }
        match text.split_once("..") {
            None => bounded(text).map(Delay::Fixed),
            Some((least, most)) => {
                let (least, most) = (bounded(least)?, bounded(most)?);
                if least > most {
                    return Err(format!("`{text}` ends before it begins"));
                }
                Ok(Delay::Uniform(least, most))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_fixed_uniform_or_exponential() {
        let ms = Duration::from_millis;
        assert_eq!("5ms".parse(), Ok(Delay::Fixed(ms(5))));
        assert_eq!("1ms..9ms".parse(), Ok(Delay::Uniform(ms(1), ms(9))));
        assert_eq!("exp:5ms".parse(), Ok(Delay::Exponential(ms(5))));
        for wrong in ["", "5", "9ms..1ms", "exp:", "2h", "gauss:1ms"] {
            assert!(wrong.parse::<Delay>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn samples_follow_their_distribution() {
        let mut random = Random::seeded(3);
        let mean = |delay: Delay, random: &mut Random| {
            (0..20_000).map(|_| delay.sample(random).as_secs_f64()).sum::<f64>() / 20_000.0
        };
        let uniform = Delay::Uniform(Duration::from_millis(1), Duration::from_millis(9));
        assert!((0.0049..0.0051).contains(&mean(uniform, &mut random)));
        let exponential = Delay::Exponential(Duration::from_millis(5));
        assert!((0.0048..0.0052).contains(&mean(exponential, &mut random)));
    }
}
