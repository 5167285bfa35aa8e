//! What the demo prints.

use std::fmt::Write as _;
use std::time::Duration;

use super::judge::Seen;
use super::plan::{Addresses, HEADER_NAME, HEADER_VALUE, SERVICE, WEIGHTS};
use crate::units::show_nanos;

/// Where everything is.
pub(super) fn header(addresses: &Addresses) -> String {
    let Addresses { web, admin, v1, v2 } = addresses;
    format!(
        "pinion     http://{web}/   (admin http://{admin}/)\n\
         {SERVICE} v1 at {v1}, v2 at {v2}\n\
         rules      {HEADER_NAME}: {HEADER_VALUE} → v2;  everybody else → v1 {} : v2 {}\n",
        WEIGHTS.0, WEIGHTS.1
    )
}

/// What went where, and how long it took.
pub(super) fn results(plain: &Seen, jason: &Seen) -> String {
    let mut out = format!("{:<24}{:>9}{:>9}{:>9}{:>9}\n", "requests", "sent", "v1", "v2", "failed");
    let jason_label = format!("{HEADER_NAME}: {HEADER_VALUE}");
    for (who, seen) in [("without the header", plain), (jason_label.as_str(), jason)] {
        let failed: u64 = seen.errors.values().sum();
        // INVARIANT: writing to a string does not fail.
        let _ = writeln!(
            out,
            "{who:<24}{:>9}{:>9}{:>9}{failed:>9}",
            seen.requests,
            seen.by_version("v1"),
            seen.by_version("v2")
        );
    }
    out.push_str("\nlatency from the due time (service time from the send)\n");
    for (percentile, latency, service) in &plain.spectrum {
        let _ = writeln!(out, "{percentile}  {}  ({})", show_nanos(*latency), show_nanos(*service));
    }
    out
}

/// What the user can do now.
pub(super) fn afterwards(addresses: &Addresses, time: Option<Duration>) -> String {
    let Addresses { web, admin, .. } = addresses;
    let end = match time {
        Some(time) => format!("It stops {time:?} after its start, or at Ctrl-C."),
        None => "It stays up until Ctrl-C.".to_owned(),
    };
    format!(
        "try it\n  \
         curl http://{web}/\n  \
         curl -H '{HEADER_NAME}: {HEADER_VALUE}' http://{web}/\n  \
         curl -H '{HEADER_NAME}: {HEADER_VALUE}' http://{web}/echo\n\
         look inside\n  \
         curl http://{admin}/ready\n  \
         curl http://{admin}/metrics\n  \
         curl http://{admin}/config\n  \
         curl http://{admin}/clusters\n\n{end}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spectrum_has_a_line_with_p99() {
        let seen = Seen { spectrum: vec![("p99".to_owned(), 1_800_000.0, 900_000.0)], ..Seen::default() };
        let text = results(&seen, &Seen::default());
        assert!(text.lines().any(|line| line == "p99  1.80 ms  (900 µs)"), "{text}");
    }
}
