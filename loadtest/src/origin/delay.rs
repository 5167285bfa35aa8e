//! How long the origin waits before an answer, or works on one: a fixed time or a distribution.
//!
//! Invariants: a sample is at most [`DELAY_SECONDS_MAX`], whatever the distribution's tail is; parsing
//! refuses parameters for which a distribution does not exist.

use std::f64::consts::TAU;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Share;
use crate::random::Random;
use crate::units;

/// The longest wait, in seconds: an exponential has no end, and a wait of days helps nobody.
const DELAY_SECONDS_MAX: f64 = 3600.0;

/// The largest sigma of a log-normal: at 5 the mean is 268,000 medians already.
const SIGMA_MAX: f64 = 5.0;

/// The parts of a mixture, at most.
const PARTS_MAX: usize = 64;

/// A time to wait.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delay {
    /// One distribution.
    One(Law),
    /// Each for its share: the shares summed up so far, ending with 1.
    Mixture(Arc<[(f64, Law)]>),
}

/// One distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Law {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between the two.
    Uniform(Duration, Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// The logarithm is normal with this deviation.
    LogNormal { median: Duration, sigma: f64 },
    /// P(X > x) = (least / x) ^ alpha.
    Pareto { least: Duration, alpha: f64 },
}

impl Delay {
    /// One wait.
    pub(crate) fn sample(&self, random: &mut Random) -> Duration {
        match self {
            Delay::One(law) => law.sample(random),
            Delay::Mixture(parts) => {
                let place = random.unit();
                // The last share ends at 1, above every place; its part is also right for a sum that
                // rounding left below 1.
                let chosen = parts.iter().find(|(end, _)| place < *end).or(parts.last());
                chosen.map_or(Duration::ZERO, |(_, law)| law.sample(random))
            }
        }
    }
}

impl Law {
    fn sample(self, random: &mut Random) -> Duration {
        let bounded = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, DELAY_SECONDS_MAX));
        match self {
            Law::Fixed(time) => time,
            Law::Uniform(least, most) => least + (most - least).mul_f64(random.unit()),
            Law::Exponential(mean) => bounded(mean.as_secs_f64() * random.exponential()),
            Law::LogNormal { median, sigma } => {
                // Box and Muller: the radius squared is exponential with mean 2.
                let normal = (2.0 * random.exponential()).sqrt() * (TAU * random.unit()).cos();
                bounded(median.as_secs_f64() * (sigma * normal).exp())
            }
            Law::Pareto { least, alpha } => {
                // ln(X / least) is exponential with mean 1 / alpha.
                bounded(least.as_secs_f64() * (random.exponential() / alpha).exp())
            }
        }
    }
}

impl FromStr for Law {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bounded = |text: &str| {
            let time = units::duration(text)?;
            if time.as_secs_f64() > DELAY_SECONDS_MAX {
                return Err(format!("`{text}` is longer than an hour"));
            }
            Ok(time)
        };
        let pair = |text: &str, most: f64| {
            let (time, number) =
                text.split_once(',').ok_or_else(|| format!("`{text}` is not TIME,NUMBER"))?;
            match number.parse::<f64>() {
                Ok(number) if number > 0.0 && number <= most => Ok((bounded(time)?, number)),
                _ => Err(format!("`{number}` is not a number above 0, up to {most}")),
            }
        };
        if let Some(mean) = text.strip_prefix("exp:") {
            return bounded(mean).map(Law::Exponential);
        }
        if let Some(parameters) = text.strip_prefix("lognormal:") {
            return pair(parameters, SIGMA_MAX).map(|(median, sigma)| Law::LogNormal { median, sigma });
        }
        if let Some(parameters) = text.strip_prefix("pareto:") {
            return pair(parameters, 1000.0).map(|(least, alpha)| Law::Pareto { least, alpha });
        }
        match text.split_once("..") {
            None => bounded(text).map(Law::Fixed),
            Some((least, most)) => {
                let (least, most) = (bounded(least)?, bounded(most)?);
                if least > most {
                    return Err(format!("`{text}` ends before it begins"));
                }
                Ok(Law::Uniform(least, most))
            }
        }
    }
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("%:") {
            return text.parse().map(Delay::One);
        }
        let mut parts: Vec<(f64, Law)> = Vec::new();
        let mut sum = 0.0;
        for part in split_parts(text) {
            let (share, law) = part.split_once(':').ok_or_else(|| format!("`{part}` is not SHARE:DELAY"))?;
            sum += share.parse::<Share>()?.0;
            parts.push((sum, law.parse()?));
        }
        if parts.len() > PARTS_MAX {
            return Err(format!("more than {PARTS_MAX} parts"));
        }
        if (sum - 1.0).abs() > 1e-6 {
            return Err(format!("the shares of `{text}` sum up to {}%, not to 100%", sum * 100.0));
        }
        Ok(Delay::Mixture(parts.into()))
    }
}

/// The parts of a mixture: a comma ends one only where a share follows, because some distributions have
/// a comma of their own.
fn split_parts(text: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        number > 0 && rest[number..].starts_with("%:")
    };
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(',') {
        if begins(&text[at + 1..]) {
            parts.push(&text[from..at]);
            from = at + 1;
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn parsed(text: &str) -> Delay {
        text.parse().unwrap()
    }

    #[test]
    fn distributions_are_read() {
        assert_eq!(parsed("5ms"), Delay::One(Law::Fixed(5 * MS)));
        assert_eq!(parsed("1ms..9ms"), Delay::One(Law::Uniform(MS, 9 * MS)));
        assert_eq!(parsed("exp:5ms"), Delay::One(Law::Exponential(5 * MS)));
        assert_eq!(parsed("pareto:1ms,1.5"), Delay::One(Law::Pareto { least: MS, alpha: 1.5 }));
        let log_normal = Law::LogNormal { median: 5 * MS, sigma: 0.5 };
        assert_eq!(parsed("lognormal:5ms,0.5"), Delay::One(log_normal));
        let Delay::Mixture(parts) = parsed("1%:lognormal:5ms,0.5,99%:1ms") else { unreachable!() };
        assert_eq!(*parts, [(0.01, log_normal), (1.0, Law::Fixed(MS))]);
        for wrong in [
            "",
            "5",
            "9ms..1ms",
            "exp:",
            "2h",
            "gauss:1ms",
            "lognormal:1ms",
            "lognormal:1ms,0",
            "lognormal:1ms,9",
            "pareto:1ms,-1",
            "pareto:1ms,nan",
            "1%:5ms",
            "60%:1ms,60%:2ms",
            "50%:1ms,50%:",
            "x%:1ms",
        ] {
            assert!(wrong.parse::<Delay>().is_err(), "{wrong}");
        }
    }

    /// The share of samples up to each bound is what the distribution's function says, within 5 standard
    /// errors of 20,000 samples.
    #[test]
    fn samples_follow_their_distribution() {
        let check = |text: &str, bounds: &[(f64, f64)]| {
            let (delay, mut random) = (parsed(text), Random::seeded(3));
            let samples: Vec<f64> =
                (0..20_000).map(|_| delay.sample(&mut random).as_secs_f64() * 1e3).collect();
            for &(bound, expected) in bounds {
                let share = samples.iter().filter(|sample| **sample <= bound).count() as f64 / 20_000.0;
                assert!((share - expected).abs() < 0.018, "{text} up to {bound} ms: {share}, not {expected}");
            }
        };
        check("1ms..9ms", &[(1.0, 0.0), (3.0, 0.25), (5.0, 0.5), (9.0, 1.0)]);
        check("exp:5ms", &[(5.0, 0.632), (0.5, 0.095), (15.0, 0.950)]);
        check(
            "lognormal:5ms,0.5",
            &[(5.0, 0.5), (5.0 * 0.5_f64.exp(), 0.841), (5.0 * (-0.5_f64).exp(), 0.159)],
        );
        check("pareto:1ms,1.5", &[(1.0, 0.0), (2.0, 0.646), (4.0, 0.875), (16.0, 0.984)]);
        check("10%:50ms,90%:1ms", &[(0.9, 0.0), (1.0, 0.9), (49.0, 0.9), (50.0, 1.0)]);
    }

    #[test]
    fn no_tail_is_endless() {
        let mut random = Random::seeded(5);
        let delay = parsed("pareto:1h,0.01");
        assert!((0..1000).all(|_| delay.sample(&mut random) <= Duration::from_secs(3600)));
    }
}
