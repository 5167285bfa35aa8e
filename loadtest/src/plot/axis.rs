//! From values to places on the paper: the domain of an axis, its ticks, and where a value lies.

use super::ticks;
use super::{Axis, Scale, Unit};

/// The highest percentile that has a place of its own: what is above lies on the edge.
const PERCENTILE_MAX: f64 = 99.999_999;

/// An axis with its domain.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    scale: Scale,
    unit: Unit,
    low: f64,
    high: f64,
    /// Between the ticks of a linear axis.
    step: f64,
}

/// A tick: its value and what stands beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) text: String,
}

impl Laid {
    /// The axis over these values. `zero` makes a linear domain begin at zero if no value is below;
    /// `exact` leaves it as wide as the values, else it is widened to whole ticks.
    pub(super) fn over(axis: &Axis, values: impl Iterator<Item = f64>, zero: bool, exact: bool) -> Self {
        let usable = |value: &f64| value.is_finite() && (axis.scale != Scale::Log || *value > 0.0);
        let (mut low, mut high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = if axis.scale == Scale::Log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        let laid = |low, high| Laid {
            scale: axis.scale,
            unit: axis.unit,
            low,
            high,
            step: ticks::step(high - low, axis.unit),
        };
        match axis.scale {
            Scale::Percentile => laid(0.0, high.clamp(90.0, PERCENTILE_MAX)),
            Scale::Log => {
                if high / low < 1.01 {
                    (low, high) = (low / 2.0, high * 2.0);
                }
                if exact { laid(low, high) } else { laid(round_log(low, false), round_log(high, true)) }
            }
            Scale::Linear => {
                if low > 0.0 && (zero || low < 0.5 * high) {
                    low = 0.0;
                }
                if high - low <= high.abs() * 1e-9 {
                    let margin = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
                    (low, high) = if low == 0.0 { (0.0, 1.0) } else { (low - margin, high + margin) };
                }
                if exact {
                    return laid(low, high);
                }
                let step = ticks::step(high - low, axis.unit);
                let (low, high) = ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step);
                Laid { step, ..laid(low, high) }
            }
        }
    }

    /// Where a value lies: 0 at the beginning of the axis, 1 at its end. What is outside lies on the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let (low, high, value) = match self.scale {
            Scale::Linear => (self.low, self.high, value),
            Scale::Log => (self.low.ln(), self.high.ln(), value.max(self.low).ln()),
            Scale::Percentile => (nines(self.low), nines(self.high), nines(value)),
        };
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// The ticks with a text.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let values = match self.scale {
            Scale::Linear => ticks::linear(self.low, self.high, self.step),
            Scale::Log => ticks::log(self.low, self.high).0,
            Scale::Percentile => ticks::percentile(self.high),
        };
        let largest = self.high.abs().max(self.low.abs());
        let text = |value| ticks::tick_text(value, self.scale, self.unit, largest, self.step);
        values.into_iter().map(|value| Tick { value, text: text(value) }).collect()
    }

    /// Lines between the ticks.
    pub(super) fn minor(&self) -> Vec<f64> {
        if self.scale == Scale::Log { ticks::log(self.low, self.high).1 } else { Vec::new() }
    }

    /// A value as a tip shows it.
    pub(super) fn text(&self, value: f64) -> String {
        match self.scale {
            Scale::Percentile => ticks::percentile_text(value),
            _ => ticks::text(value, self.unit),
        }
    }

    /// The beginning of the domain.
    pub(super) fn low(&self) -> f64 {
        self.low
    }
}

/// How many nines a percentile has: 90 has one, 99 two.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile.clamp(0.0, PERCENTILE_MAX) / 100.0).log10()
}

/// The next 1, 2 or 5 of a decade, outwards.
fn round_log(value: f64, up: bool) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let found = if up {
        factors.into_iter().find(|&factor| factor >= value * 0.999_999)
    } else {
        factors.into_iter().rev().find(|&factor| factor <= value * 1.000_001)
    };
    found.unwrap_or(value)
}
