//! Lines with bands.

use std::fmt::Write as _;

use super::axis::Laid;
use super::frame::{Frame, Key, colour, line_class};
use super::html::escape;
use super::{Chart, Scale, Series, Unit};

/// A line with more points than this has no tips: they would lie on one another.
const TIPS_MAX: usize = 400;

pub(super) fn render(chart: &Chart) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let bands = || chart.series.iter().flat_map(|series| &series.band);
    let xs = points().map(|point| point.0).chain(bands().map(|band| band.0));
    let ys = points().map(|point| point.1).chain(bands().flat_map(|band| [band.1, band.2]));
    let x = Laid::over(&chart.x, xs, false, chart.x.scale == Scale::Linear);
    // A rate that hardly varies must not look as if it did.
    let y = Laid::over(&chart.y, ys, chart.y.unit == Unit::PerSecond, false);
    let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
    let mut frame = Frame::begin(&chart.title, &names, Key::Line, &chart.y.label, &y);
    frame.draw_y(&y);
    frame.draw_x(&chart.x, &x);
    for (index, series) in chart.series.iter().enumerate() {
        draw_band(&mut frame, (&x, &y), series, colour(index));
    }
    // The first of the legend lies on top.
    for (index, series) in chart.series.iter().enumerate().rev() {
        draw_line(&mut frame, (&x, &y), series, index, chart);
    }
    if points().all(|point| !point.1.is_finite()) {
        let (middle, height) = (frame.x(0.5), frame.y(0.5));
        let _ = writeln!(
            frame.out,
            "<text x=\"{middle:.1}\" y=\"{height:.1}\" text-anchor=\"middle\">nothing measured</text>"
        );
    }
    frame.end(48.0)
}

fn draw_band(frame: &mut Frame, (x, y): (&Laid, &Laid), series: &Series, colour: usize) {
    for run in series.band.split(|(_, low, high)| !low.is_finite() || !high.is_finite()) {
        if run.is_empty() {
            continue;
        }
        let upper = run.iter().map(|&(at, _, high)| (at, high));
        let lower = run.iter().rev().map(|&(at, low, _)| (at, low));
        let mut path = String::new();
        for (at, value) in upper.chain(lower) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", frame.x(x.place(at)), frame.y(y.place(value)));
        }
        let _ = writeln!(frame.out, "<path class=\"band f{colour}\" d=\"{path}Z\"/>");
    }
}

fn draw_line(frame: &mut Frame, (x, y): (&Laid, &Laid), series: &Series, index: usize, chart: &Chart) {
    let (colour, class) = (colour(index), line_class(index));
    let mut path = String::new();
    for run in series.points.split(|(_, value)| !value.is_finite()) {
        for (number, &(at, value)) in run.iter().enumerate() {
            let (px, py) = (frame.x(x.place(at)), frame.y(y.place(value)));
            let _ = match (number, chart.step) {
                (0, _) => write!(path, "M{px:.1} {py:.1}"),
                (_, false) => write!(path, "L{px:.1} {py:.1}"),
                (_, true) => write!(path, "H{px:.1}V{py:.1}"),
            };
        }
        // A point between two gaps has no line: a dot of the line's width shows it.
        if run.len() == 1 {
            path.push_str("h0.1");
        }
    }
    if !path.is_empty() {
        let _ = writeln!(frame.out, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    let tips = series.points.len() <= TIPS_MAX;
    for &(at, value) in series.points.iter().filter(|(_, value)| value.is_finite()) {
        let (px, py) = (frame.x(x.place(at)), frame.y(y.place(value)));
        if chart.marks {
            let _ =
                writeln!(frame.out, "<circle class=\"f{colour}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/>");
        }
        if tips {
            let _ = writeln!(
                frame.out,
                "<circle class=\"tip\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"5\"><title>{}: {} at {}</title></circle>",
                escape(&series.name),
                escape(&y.text(value)),
                escape(&x.text(at))
            );
        }
    }
}
