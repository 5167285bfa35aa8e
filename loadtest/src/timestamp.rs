//! Times of the calendar: RFC 3339 as logs and reports have them, and the format of web servers' logs.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The time now, in UTC, RFC 3339.
pub(crate) fn now() -> String {
    of(SystemTime::now())
}

/// A time in UTC, RFC 3339.
pub(crate) fn of(time: SystemTime) -> String {
    let now = OffsetDateTime::from(time);
    // Milliseconds are as exact as anybody needs it. INVARIANT: the year has four digits.
    let now = now.replace_millisecond(now.millisecond()).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

/// `2026-11-20T10:00:01.5Z`: nanoseconds since 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i128> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp_nanos)
}

/// `20/Nov/2026:10:00:01 +0100`: nanoseconds since 1970.
pub(crate) fn parse_common(text: &str) -> Option<i128> {
    let format = format_description!(
        "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    OffsetDateTime::parse(text, format).ok().map(OffsetDateTime::unix_timestamp_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_formats() {
        // `date -u -d 2026-11-20T09:00:01 +%s` says 1795165201.
        let expected = Some(1_795_165_201_000_000_000);
        assert_eq!(parse_rfc3339("2026-11-20T09:00:01Z"), expected);
        assert_eq!(parse_common("20/Nov/2026:10:00:01 +0100"), expected);
        assert_eq!(parse_rfc3339("2026-11-20T10:00:01.000005+01:00"), expected.map(|at| at + 5_000));
        for wrong in ["", "2026-11-20", "2026-02-30T00:00:00Z", "2026-11-20T09:00:01"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
        assert_eq!(parse_common("20/Foo/2026:10:00:01 +0100"), None);
        assert!(parse_rfc3339(&now()).is_some());
    }
}
