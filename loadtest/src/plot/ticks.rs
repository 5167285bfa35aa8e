//! Where the ticks of an axis are and what stands beside them.
//!
//! A linear axis has steps of 1, 2 or 5 times a power of ten (of two, for bytes; whole minutes and hours,
//! for long times), so that every tick is a number that people would choose.

use super::{Scale, Unit};

/// About how many ticks a linear axis has at most.
const TICKS_MAX: f64 = 7.0;

const NANOS: [(f64, &str); 6] =
    [(3.6e12, "h"), (60e9, "min"), (1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
const BYTES: [(f64, &str); 5] = [
    (1_099_511_627_776.0, "TiB"),
    (1_073_741_824.0, "GiB"),
    (1_048_576.0, "MiB"),
    (1_024.0, "KiB"),
    (1.0, "B"),
];
const THOUSANDS: [(f64, &str); 4] = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];

/// From this on a linear time axis counts in minutes: three of them, in nanoseconds.
const MINUTES_FROM: f64 = 180e9;

/// From this on a linear time axis counts in hours: three of them, in nanoseconds.
const HOURS_FROM: f64 = 3.0 * 3.6e12;

/// The step of a linear axis that spans `span`.
pub(super) fn step(span: f64, unit: Unit) -> f64 {
    let least = span / TICKS_MAX;
    if unit == Unit::Bytes && span >= 2.0 {
        return least.log2().ceil().exp2().max(1.0);
    }
    if unit == Unit::Nanos && span >= MINUTES_FROM {
        let minutes = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 360.0, 720.0, 1440.0];
        let fitting = minutes.into_iter().map(|minutes| minutes * 60e9).find(|&step| step >= least);
        return fitting.unwrap_or_else(|| (least / 86_400e9).ceil() * 86_400e9);
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&s| s >= least * 0.999)
        .unwrap_or(power)
}

/// The ticks of a linear axis from `low` to `high`, `step` apart.
pub(super) fn linear(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-6).ceil();
    let last = (high / step + 1e-6).floor();
    let count = (last - first).clamp(0.0, 100.0) as u32;
    (0..=count).map(|n| (first + f64::from(n)) * step).collect()
}

/// The ticks of a logarithmic axis: those with a text, and the lines between them.
pub(super) fn log(low: f64, high: f64) -> (Vec<f64>, Vec<f64>) {
    let decades = (high / low).log10();
    let within = |value: &f64| (low * 0.999..=high * 1.001).contains(value);
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = |factors: &'static [f64]| {
        (first..=last).flat_map(move |power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
    };
    let named: &[f64] = if decades <= 2.1 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (decades / 9.0).ceil().max(1.0) as i32;
    let texts =
        all(named).filter(within).filter(|value| (value.log10().round() as i32).rem_euclid(every) == 0);
    let between: &[f64] = if decades <= 6.0 { &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0] } else { &[] };
    (texts.collect(), all(between).filter(within).collect())
}

/// The ticks of an axis of percentiles up to `high`: 0, 50, 90, 99, 99.9 …
pub(super) fn percentile(high: f64) -> Vec<f64> {
    let nines = (1..=9).map(|n| 100.0 - 10_f64.powi(2 - n));
    [0.0, 50.0].into_iter().chain(nines).filter(|&value| value <= high + 1e-9).collect()
}

/// What stands beside a tick of a linear axis whose largest value is `largest` and whose ticks are `step`
/// apart: all ticks have the same unit.
pub(super) fn linear_text(value: f64, largest: f64, step: f64, unit: Unit) -> String {
    let units: &[(f64, &str)] = match unit {
        Unit::Plain | Unit::PerSecond => {
            if largest < 1e5 {
                return format!("{}{}", grouped(value, digits(step)), ending(unit));
            }
            &THOUSANDS
        }
        Unit::Percent => return format!("{value:.*} %", digits(step)),
        Unit::Nanos if largest < MINUTES_FROM => &NANOS[2..],
        Unit::Nanos if largest < HOURS_FROM => &NANOS[1..],
        Unit::Nanos => &NANOS,
        Unit::Bytes => &BYTES,
    };
    if value == 0.0 {
        return "0".to_owned();
    }
    let (scale, name) = fitting(largest, units);
    let digits = digits(step / scale);
    format!("{:.digits$}{}{name}{}", value / scale, if name.is_empty() { "" } else { " " }, ending(unit))
}

/// What stands beside a tick of a logarithmic axis, or in a tip: each value has the unit that fits it.
pub(super) fn text(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Plain | Unit::PerSecond if value.abs() < 1e5 => {
            format!("{}{}", grouped_significant(value), ending(unit))
        }
        Unit::Plain | Unit::PerSecond => scaled(value, &THOUSANDS, ending(unit)),
        Unit::Percent => format!("{} %", significant(value)),
        Unit::Nanos => scaled(value, &NANOS[2..], ""),
        Unit::Bytes => scaled(value, &BYTES, ""),
    }
}

/// A percentile as short as it is: `50 %`, `99.99 %`.
pub(super) fn percentile_text(value: f64) -> String {
    let text = format!("{value:.7}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// What stands beside a tick.
pub(super) fn tick_text(value: f64, scale: Scale, unit: Unit, largest: f64, step: f64) -> String {
    match scale {
        Scale::Linear => linear_text(value, largest, step, unit),
        Scale::Log => text(value, unit),
        Scale::Percentile => percentile_text(value),
    }
}

fn ending(unit: Unit) -> &'static str {
    if unit == Unit::PerSecond { "/s" } else { "" }
}

fn fitting(largest: f64, units: &[(f64, &'static str)]) -> (f64, &'static str) {
    let found = units.iter().find(|(scale, _)| largest.abs() >= scale * 0.9995);
    found.or(units.last()).copied().unwrap_or((1.0, ""))
}

fn scaled(value: f64, units: &[(f64, &'static str)], ending: &str) -> String {
    if value == 0.0 {
        return format!("0{ending}");
    }
    let (scale, name) = fitting(value, units);
    let space = if name.is_empty() { "" } else { " " };
    format!("{}{space}{name}{ending}", significant(value / scale))
}

/// Digits after the point that a multiple of `step` needs.
fn digits(step: f64) -> usize {
    (0..9)
        .find(|&digits| {
            (step * 10_f64.powi(digits)).fract().min(1.0 - (step * 10_f64.powi(digits)).fract()) < 1e-6
        })
        .unwrap_or(9) as usize
}

/// Three significant digits without trailing zeros.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn grouped_significant(value: f64) -> String {
    if value.abs() >= 1000.0 { grouped(value, 0) } else { significant(value) }
}

/// A number with a comma between thousands.
fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", value.abs());
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        out.push('-');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}
