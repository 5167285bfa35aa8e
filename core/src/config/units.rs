//! Durations and sizes as people write them: always with a unit.
//!
//! Not here: bounds of single settings (`compile`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration: `250ms`, `10s`, `1m30s`, `24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Duration);

/// A number of bytes: `240B`, `64KiB`, `16MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// Longer is surely a mistake, and deadlines must not overflow.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

const TIME_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitError {
    /// A number without a unit.
    NoUnit,
    /// A unit that is not known.
    UnknownUnit,
    /// No digits where a number should be.
    NoNumber,
    /// A fraction.
    Fraction,
    /// Beyond what can be meant.
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnitError::NoUnit => "the unit is missing",
            UnitError::UnknownUnit => "unknown unit",
            UnitError::NoNumber => "a number is missing",
            UnitError::Fraction => "fractions are not understood, take a smaller unit",
            UnitError::TooLarge => "too large",
        })
    }
}

/// Splits `text` into a leading number and unit and the rest.
fn quantity<'a>(text: &'a str, units: &[(&str, u64)]) -> Result<(u64, &'a str), UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber);
    }
    if rest.starts_with(['.', ',']) {
        return Err(UnitError::Fraction);
    }
    let letters = rest.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
    let (unit, rest) = rest.split_at(letters);
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(UnitError::UnknownUnit)?;
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    Ok((number.checked_mul(*factor).ok_or(UnitError::TooLarge)?, rest))
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut sum = 0u64;
        let mut rest = text;
        loop {
            let (nanos, after) = quantity(rest, &TIME_UNITS)?;
            sum = sum.checked_add(nanos).ok_or(UnitError::TooLarge)?;
            rest = after;
            if rest.is_empty() {
                let time = Duration::from_nanos(sum);
                return if time > TIME_MAX { Err(UnitError::TooLarge) } else { Ok(Time(time)) };
            }
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos() as u64;
        let unit = TIME_UNITS[..4].iter().rev().find(|(_, factor)| nanos.is_multiple_of(*factor));
        let (name, factor) = unit.filter(|_| nanos > 0).copied().unwrap_or(("s", 1_000_000_000));
        write!(f, "{}{name}", nanos / factor)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match quantity(text, &SIZE_UNITS)? {
            (bytes, "") => Ok(Size(bytes)),
            _ => Err(UnitError::UnknownUnit),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS[..4].iter().rev().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (name, factor) = unit.filter(|_| self.0 > 0).copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Result<u64, UnitError>| {
            assert_eq!(text.parse::<Time>().map(|time| time.0.as_millis() as u64), expected, "{text}");
        };
        check("250ms", Ok(250));
        check("10s", Ok(10_000));
        check("1m30s", Ok(90_000));
        check("24h", Ok(86_400_000));
        check("0s", Ok(0));
        check("10", Err(UnitError::NoUnit));
        check("", Err(UnitError::NoNumber));
        check("s", Err(UnitError::NoNumber));
        check("-1s", Err(UnitError::NoNumber));
        check("1.5s", Err(UnitError::Fraction));
        check("10 s", Err(UnitError::UnknownUnit));
        check("10S", Err(UnitError::UnknownUnit));
        check("10é", Err(UnitError::UnknownUnit));
        check("1m30", Err(UnitError::NoUnit));
        check("9000h", Err(UnitError::TooLarge));
        check("99999999999999999999s", Err(UnitError::TooLarge));
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Result<u64, UnitError>| {
            assert_eq!(text.parse::<Size>().map(|size| size.0), expected, "{text}");
        };
        check("240B", Ok(240));
        check("0B", Ok(0));
        check("64KiB", Ok(65_536));
        check("1MB", Ok(1_000_000));
        check("64", Err(UnitError::NoUnit));
        check("64kib", Err(UnitError::UnknownUnit));
        check("64KiB1B", Err(UnitError::UnknownUnit));
        check("99999999999GiB", Err(UnitError::TooLarge));
    }

    #[test]
    fn shown_as_read() {
        for text in ["0s", "250ms", "10s", "90s", "1us"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        for text in ["0B", "240B", "64KiB", "256MiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }
}
