//! Durations, sizes and addresses as people write them on a command line, and durations as people read
//! them in a report.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Parses a duration with its unit: `250us`, `50ms`, `1.5s`, `2m`, `1h`. A bare `0` is allowed.
///
/// # Errors
/// A missing or unknown unit, a negative or endless number.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" => return Err(format!("`{text}` needs a unit, for example `{text}ms` or `{text}s`")),
        _ => return Err(format!("`{unit}` is not a unit of time (ns, us, ms, s, m, h)")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a duration"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("`{text}` is out of range"))
}

/// Parses a size in bytes: `100`, `100B`, `64KiB`, `1MiB`, `1GiB`, and the decimal `kB`, `MB`, `GB`.
///
/// # Errors
/// An unknown unit or a number past 64 bits.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(format!("`{unit}` is not a unit of size (B, KiB, MiB, GiB, kB, MB, GB)")),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is not a size"))?;
    number.checked_mul(scale).ok_or_else(|| format!("`{text}` is out of range"))
}

/// Where to listen or to connect: `IP:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("`unix:` needs a path".to_owned());
            }
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        text.parse()
            .map(Address::Tcp)
            .map_err(|_| format!("`{text}` is neither IP:PORT nor unix:PATH, for example 127.0.0.1:9001"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A time in nanoseconds, shown with three significant digits and a unit: `1.80 s`, `231 µs`.
#[derive(Clone, Copy)]
pub(crate) struct Nanos(pub(crate) u64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bound of each unit is what would round up to 1000 of it.
        let nanos = self.0 as f64;
        let (value, unit) = if nanos < 999.5 {
            (nanos, "ns")
        } else if nanos < 999.5e3 {
            (nanos / 1e3, "µs")
        } else if nanos < 999.5e6 {
            (nanos / 1e6, "ms")
        } else {
            (nanos / 1e9, "s")
        };
        let digits = if unit == "ns" || value >= 99.95 {
            0
        } else if value >= 9.995 {
            1
        } else {
            2
        };
        write!(f, "{value:.digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "ms", "-1s", "1.2.3s", "1fortnight", "99999999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MB"), Ok(1_000_000));
        for wrong in ["", "KiB", "1 KiB", "-1", "18446744073709551615KiB", "1kb"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let check = |nanos, text: &str| assert_eq!(Nanos(nanos).to_string(), text);
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(231_400, "231 µs");
        check(999_600, "1.00 ms");
        check(12_340_000, "12.3 ms");
        check(1_800_000_000, "1.80 s");
        check(61_000_000_000, "61.0 s");
    }

    #[test]
    fn addresses_are_tcp_or_unix() {
        assert_eq!("unix:/run/a".parse(), Ok(Address::Unix("/run/a".into())));
        assert!(matches!("127.0.0.1:80".parse(), Ok(Address::Tcp(_))));
        assert!("localhost:80".parse::<Address>().is_err());
        assert!("unix:".parse::<Address>().is_err());
    }
}
