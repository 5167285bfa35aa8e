//! `grpc-timeout`: how long the caller waits, as up to eight digits and a unit.
//!
//! Invariants: what is written is never more than what is left; what is malformed is no timeout.

use super::value_of;
use crate::http::head::Fields;
use std::time::Duration;

/// The most that eight digits hold.
const NUMBER_MAX: u128 = 99_999_999;
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60 * 1_000_000_000),
    (b'H', 3_600 * 1_000_000_000),
];

/// Reads a value; `None` if it is malformed.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let nanos = UNITS.iter().find(|(letter, _)| letter == unit)?.1;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    let nanos = number * nanos;
    // 99,999,999 hours are 3.6 × 10^11 seconds.
    Some(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

/// What a head says: the first field, if it is well-formed.
pub fn of_fields(bytes: &[u8], fields: &Fields) -> Option<Duration> {
    parse(value_of(bytes, fields, b"grpc-timeout")?.of(bytes))
}

/// Appends `left` in the smallest unit whose number has eight digits at most, rounded down.
pub fn write(left: Duration, out: &mut Vec<u8>) {
    let nanos = left.as_nanos();
    let fits = |&&(_, unit): &&(u8, u128)| nanos / unit <= NUMBER_MAX;
    // More than eight digits of hours are not worth a word.
    let &(letter, unit) = UNITS.iter().find(fits).unwrap_or(&(b'H', 3_600 * 1_000_000_000));
    crate::http::h1::write_decimal(out, (nanos / unit).min(NUMBER_MAX) as u64);
    out.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0S", Some(Duration::ZERO)),
            ("00000001S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("000000001S", None),
            ("123456789n", None),
            ("S", None),
            ("1", None),
            ("", None),
            ("1s", None),
            ("1 S", None),
            ("-1S", None),
            ("1.5S", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[track_caller]
    fn check(left: Duration, text: &str) {
        let mut out = Vec::new();
        write(left, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert!(parse(text.as_bytes()).unwrap() <= left, "{text} is more than {left:?}");
    }

    #[test]
    fn what_is_left_is_rounded_down() {
        check(Duration::ZERO, "0n");
        check(Duration::from_nanos(99_999_999), "99999999n");
        check(Duration::from_nanos(100_000_000), "100000u");
        check(Duration::from_nanos(100_000_999), "100000u");
        check(Duration::from_millis(99_999), "99999000u");
        check(Duration::from_secs(100), "100000m");
        check(Duration::from_secs(100_000), "100000S");
        check(Duration::from_secs(100_000_000), "1666666M");
        check(Duration::from_secs(6_000_000_000), "1666666H");
        check(Duration::MAX, "99999999H");
    }
}
