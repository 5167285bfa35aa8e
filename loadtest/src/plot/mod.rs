//! Plots as self-contained SVG, and HTML pages around them: no script, nothing from the net.
//!
//! ```text
//! title
//! ── latency  ── service time            legend: only when there is something to tell apart
//! y label
//! 100 ms ┤        ╭──
//!  10 ms ┤   ╭────╯                       ticks carry the unit
//!   1 ms ┼───┴──────┬────
//!        0 %       90 %     x label
//! ```
//!
//! Invariants: the same input gives the same bytes; text is escaped; a value that is not finite is a gap,
//! never a broken picture; colours follow the reader's light or dark preference and print as light, where
//! dashes tell the lines apart too.
//!
//! Not here: what is worth plotting (the callers).

mod axis;
mod bars;
mod chart;
mod frame;
mod heat;
mod html;
mod ticks;

pub use html::{escape, page};

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values of zero and below lie on the edge.
    Log,
    /// Values are percentiles from 0 to 100: 0, 90, 99, 99.9 … evenly spaced.
    Percentile,
}

/// What the numbers of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Numbers without a unit.
    Plain,
    /// Nanoseconds, shown in the unit that fits.
    Nanos,
    /// Bytes, shown as KiB, MiB …
    Bytes,
    /// Events a second.
    PerSecond,
    /// Hundredths: 12.5 is 12.5 %.
    Percent,
}

/// One axis of a plot.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows; the ticks carry the unit.
    pub label: String,
    /// How values are laid out.
    pub scale: Scale,
    /// What the values are.
    pub unit: Unit,
}

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by rising x. A y that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    /// `(x, lower, upper)`: the range around the line, empty if there is none.
    pub band: Vec<(f64, f64, f64)>,
}

/// Lines over a common pair of axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
    /// Whether each point has a dot.
    pub marks: bool,
    /// Whether a value holds until the next point, instead of a straight line to it.
    pub step: bool,
}

impl Chart {
    /// The chart as an SVG document that can stand alone or in a page.
    #[must_use]
    pub fn svg(&self) -> String {
        chart::render(self)
    }
}

/// Groups of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Above the bars.
    pub title: String,
    /// The vertical axis; bars stand on zero.
    pub y: Axis,
    /// The name of each group and the height of each of its bars; one that is not finite is left out.
    pub groups: Vec<(String, Vec<f64>)>,
    /// The names of the bars in a group.
    pub names: Vec<String>,
}

impl Bars {
    /// The bars as an SVG document that can stand alone or in a page.
    #[must_use]
    pub fn svg(&self) -> String {
        bars::render(self)
    }
}

/// How often values occurred, as darkness over two axes.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// Above the map.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Where each column begins, by rising x, and its cells: `(low, high, count)`. A column ends where
    /// the next one begins, the last is as wide as the one before it.
    pub columns: Vec<Column>,
}

/// A column of a heat map: where it begins, and its cells as `(low, high, count)`.
pub type Column = (f64, Vec<(f64, f64, u64)>);

impl HeatMap {
    /// The map as an SVG document that can stand alone or in a page.
    #[must_use]
    pub fn svg(&self) -> String {
        heat::render(self)
    }
}

#[cfg(test)]
mod tests;
