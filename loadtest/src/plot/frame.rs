//! What every plot has: the paper, the title, the legend, the axes with their lines.
//!
//! ```text
//!  0 ┌─────────────────────────────────────────┐
//!    │ title                                   │
//!    │ ■ legend ■ legend                       │
//!    │ y label                                 │
//!    │  ticks ┌───────────────────────────────┐│ top
//!    │        │              plot             ││
//!    │        └───────────────────────────────┘│ bottom
//!    │          ticks                          │
//!    │                                 x label │
//!    └─────────────────────────────────────────┘
//!           left                         right
//! ```

use std::fmt::Write as _;

use super::Axis;
use super::axis::{Laid, Tick};
use super::html::{colours, escape};

/// The width of every plot, in its own units (pixels when shown unscaled).
pub(super) const WIDTH: f64 = 860.0;

/// The height of the area inside the axes.
const PLOT_HEIGHT: f64 = 260.0;

/// Colours before they repeat.
const COLOURS: usize = 8;

/// The mean width of a character of the 12-pixel text, generously.
const CHARACTER: f64 = 6.6;

const STYLE: &str = "\
.plot text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;\
fill:var(--soft)}\
.plot .title{font-size:15px;font-weight:600;fill:var(--ink)}\
.plot .name,.plot .value{fill:var(--ink)}\
.plot .value{font-size:11px}\
.plot .paper{fill:var(--paper)}\
.plot .grid{stroke:var(--grid);stroke-width:1;fill:none}\
.plot .minor{stroke:var(--grid);stroke-width:.5;fill:none}\
.plot .edge{stroke:var(--edge);stroke-width:1;fill:none}\
.plot .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\
.plot .again{stroke-dasharray:7 4}\
.plot .band{stroke:none;fill-opacity:.18}\
.plot .tip{fill:transparent;stroke:none}\
.plot .tip:hover{fill:var(--ink);fill-opacity:.25}\
.plot .heat{fill:var(--heat)}";

/// The style of all plots: colours, and the classes that draw with them.
fn style() -> String {
    let mut out = colours(".plot");
    out.push_str(STYLE);
    for index in 0..COLOURS {
        let _ =
            write!(out, ".plot .l{index}{{stroke:var(--s{index})}}.plot .f{index}{{fill:var(--s{index})}}");
    }
    // On paper without colours the dashes tell the lines apart.
    let dashes = ["7 3", "2 3", "9 3 2 3", "1 4", "12 4", "5 2 1 2 1 2", "3 6"];
    out.push_str("@media print{");
    for (index, dash) in dashes.iter().enumerate() {
        let _ = write!(out, ".plot .line.l{}{{stroke-dasharray:{dash}}}", index + 1);
    }
    out.push('}');
    out
}

/// The number of the colour of the `index`-th series.
pub(super) fn colour(index: usize) -> usize {
    index % COLOURS
}

/// The classes of the `index`-th series: where colours repeat, the lines are dashed.
pub(super) fn line_class(index: usize) -> String {
    format!("line l{}{}", colour(index), if index < COLOURS { "" } else { " again" })
}

/// A width for this text at 12 pixels.
pub(super) fn width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// How an entry of the legend is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Line,
    Box,
}

/// A plot being drawn.
pub(super) struct Frame {
    /// The SVG so far, without its first line.
    pub(super) out: String,
    title: String,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    /// Draws title and legend, and leaves room for the ticks of `y`.
    pub(super) fn begin(title: &str, legend: &[&str], key: Key, y_label: &str, y: &Laid) -> Self {
        let mut out = String::new();
        let mut top = 14.0;
        if !title.is_empty() {
            let _ = writeln!(out, "<text class=\"title\" x=\"8\" y=\"24\">{}</text>", escape(title));
            top = 38.0;
        }
        if legend.len() > 1 {
            top = draw_legend(&mut out, legend, key, top);
        }
        if !y_label.is_empty() {
            top += 12.0;
            let _ = writeln!(out, "<text x=\"8\" y=\"{:.1}\">{}</text>", top, escape(y_label));
        }
        top += 12.0;
        let widest = y.ticks().iter().map(|tick| width(&tick.text)).fold(0.0, f64::max);
        // Plots below one another share their left edge unless a text needs more.
        let left = (widest + 18.0).clamp(72.0, 200.0);
        Frame { out, title: escape(title), left, right: WIDTH - 24.0, top, bottom: top + PLOT_HEIGHT }
    }

    /// From a place on the horizontal axis (0 to 1) to the paper.
    pub(super) fn x(&self, place: f64) -> f64 {
        self.left + place * (self.right - self.left)
    }

    /// From a place on the vertical axis (0 to 1) to the paper.
    pub(super) fn y(&self, place: f64) -> f64 {
        self.bottom - place * (self.bottom - self.top)
    }

    /// Draws the horizontal lines and the texts of the vertical axis.
    pub(super) fn draw_y(&mut self, y: &Laid) {
        let (left, right) = (self.left, self.right);
        for value in y.minor() {
            let at = self.y(y.place(value));
            let _ = writeln!(self.out, "<path class=\"minor\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>");
        }
        for Tick { value, text } in y.ticks() {
            let at = self.y(y.place(value));
            let _ = writeln!(self.out, "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>");
            let _ = writeln!(
                self.out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.0,
                escape(&text)
            );
        }
    }

    /// Draws the lines and the texts of the horizontal axis; a text that would touch the one before it is
    /// left out.
    pub(super) fn draw_x(&mut self, axis: &Axis, x: &Laid) {
        let (top, bottom) = (self.top, self.bottom);
        for value in x.minor() {
            let at = self.x(x.place(value));
            let _ = writeln!(self.out, "<path class=\"minor\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>");
        }
        let mut taken = f64::NEG_INFINITY;
        for Tick { value, text } in x.ticks() {
            let at = self.x(x.place(value));
            let _ = writeln!(self.out, "<path class=\"grid\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>");
            let half = width(&text) / 2.0;
            let middle = at.min(WIDTH - half - 2.0);
            if middle - half < taken + 6.0 {
                continue;
            }
            taken = middle + half;
            let _ = writeln!(
                self.out,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                escape(&text)
            );
        }
        if !axis.label.is_empty() {
            let _ = writeln!(
                self.out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.right,
                bottom + 38.0,
                escape(&axis.label)
            );
        }
    }

    /// The whole document: `below` is the room under the plot.
    pub(super) fn end(mut self, below: f64) -> String {
        let _ = writeln!(
            self.out,
            "<path class=\"edge\" d=\"M{:.1} {:.1}H{:.1}\"/>",
            self.left, self.bottom, self.right
        );
        let height = (self.bottom + below).ceil();
        format!(
            "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n<style>{}</style>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{}</svg>\n",
            self.title,
            style(),
            self.out
        )
    }
}

/// Entries side by side, in as many rows as they need; gives where the last row ends.
fn draw_legend(out: &mut String, legend: &[&str], key: Key, top: f64) -> f64 {
    let (mut x, mut y) = (8.0, top + 10.0);
    for (index, name) in legend.iter().enumerate() {
        let entry = 24.0 + width(name) + 16.0;
        if x > 8.0 && x + entry > WIDTH - 8.0 {
            (x, y) = (8.0, y + 18.0);
        }
        let colour = colour(index);
        let _ = match key {
            Key::Line => {
                let class = line_class(index);
                writeln!(out, "<path class=\"{class}\" d=\"M{x:.1} {:.1}h18\"/>", y - 4.0)
            }
            Key::Box => writeln!(
                out,
                "<rect class=\"f{colour}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"10\"/>",
                y - 9.0
            ),
        };
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            x + if key == Key::Line { 24.0 } else { 18.0 },
            escape(name)
        );
        x += entry;
    }
    y + 8.0
}
