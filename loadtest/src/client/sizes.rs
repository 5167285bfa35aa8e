//! Sizes of bodies: one, or a distribution.

use std::str::FromStr;

use crate::random::Random;
use crate::units;

/// The largest body that is made, in bytes: an exponential has no end.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How large bodies are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sizes {
    /// Always so many bytes.
    Fixed(u64),
    /// Evenly between the two.
    Uniform(u64, u64),
    /// Exponential with this mean, cut off at 64 MiB.
    Exponential(u64),
}

impl Sizes {
    /// One size in bytes.
    pub(crate) fn sample(self, random: &mut Random) -> usize {
        let bytes = match self {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform(least, most) => least + ((most - least + 1) as f64 * random.unit()) as u64,
            Sizes::Exponential(mean) => (mean as f64 * random.exponential()) as u64,
        };
        bytes.min(BODY_BYTES_MAX) as usize
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bounded = |text: &str| match units::size(text)? {
            bytes if bytes > BODY_BYTES_MAX => Err(format!("`{text}` is more than 64 MiB")),
            bytes => Ok(bytes),
        };
        if let Some(mean) = text.strip_prefix("exp:") {
            return bounded(mean).map(Sizes::Exponential);
        }
        match text.split_once("..") {
            None => bounded(text).map(Sizes::Fixed),
            Some((least, most)) => {
                let (least, most) = (bounded(least)?, bounded(most)?);
                if least > most {
                    return Err(format!("`{text}` ends before it begins"));
                }
                Ok(Sizes::Uniform(least, most))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_fixed_uniform_or_exponential() {
        assert_eq!("1KiB".parse(), Ok(Sizes::Fixed(1024)));
        assert_eq!("10..1KiB".parse(), Ok(Sizes::Uniform(10, 1024)));
        assert_eq!("exp:2KiB".parse(), Ok(Sizes::Exponential(2048)));
        for wrong in ["", "9..1", "65MiB", "exp:", "1 KiB"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
        let mut random = Random::seeded(5);
        let mut mean =
            |sizes: Sizes| (0..20_000).map(|_| sizes.sample(&mut random) as f64).sum::<f64>() / 20_000.0;
        assert!((49.0..51.0).contains(&mean(Sizes::Uniform(0, 100))));
        assert!((970.0..1030.0).contains(&mean(Sizes::Exponential(1000))));
        assert_eq!(Sizes::Uniform(7, 7).sample(&mut random), 7);
    }
}
