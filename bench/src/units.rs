//! Durations on the command line and in reports.

use std::time::Duration;

/// Parses `250ms`, `30s`, `2m`.
///
/// # Errors
/// A missing or unknown unit, or not a number.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("`{text}` is not a duration with a unit (ms, s, m, h)")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a duration"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("`{text}` is out of range"))
}

/// A time in nanoseconds with three significant digits: `1.80 ms`.
pub(crate) fn show_nanos(nanos: f64) -> String {
    let (value, unit) = if nanos < 999.5e3 {
        (nanos / 1e3, "µs")
    } else if nanos < 999.5e6 {
        (nanos / 1e6, "ms")
    } else {
        (nanos / 1e9, "s")
    };
    let digits = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A moment as RFC 3339 writes it, in UTC, to the second.
pub(crate) fn timestamp(moment: std::time::SystemTime) -> String {
    let moment = time::OffsetDateTime::from(moment).truncate_to_second();
    moment.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(duration("30").is_err());
        assert!(duration("x").is_err());
    }

    #[test]
    fn moments_are_in_utc() {
        let moment = std::time::UNIX_EPOCH + Duration::from_millis(1_790_000_000_900);
        assert_eq!(timestamp(moment), "2026-09-21T14:13:20Z");
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!(show_nanos(1_800_000.0), "1.80 ms");
        assert_eq!(show_nanos(999_900.0), "1.00 ms");
        assert_eq!(show_nanos(63_120.0), "63.1 µs");
        assert_eq!(show_nanos(2.5e9), "2.50 s");
    }
}
