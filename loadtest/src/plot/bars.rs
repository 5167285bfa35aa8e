//! Groups of bars. Names of groups that do not fit beside one another stand aslant.

use std::fmt::Write as _;

use super::Bars;
use super::axis::Laid;
use super::frame::{Frame, Key, colour, width};
use super::html::escape;

/// The share of a group's width that stays free.
const GAP: f64 = 0.28;

/// How far names stand aslant, in degrees, and what of their length goes across and down.
const ANGLE: f64 = 32.0;
const COSINE: f64 = 0.85;
const SINE: f64 = 0.55;

/// The most room that names aslant get at the left.
const LEFT_MAX: f64 = 260.0;

/// The widest that one bar gets.
const BAR_MAX: f64 = 56.0;

pub(super) fn render(bars: &Bars) -> String {
    let values = bars.groups.iter().flat_map(|(_, values)| values.iter().copied());
    let y = Laid::over(&bars.y, values, true, false);
    let names: Vec<&str> = bars.names.iter().map(String::as_str).collect();
    let mut frame = Frame::begin(&bars.title, &names, Key::Box, &bars.y.label, &y);
    let groups = bars.groups.len().max(1) as f64;
    let longest = bars.groups.iter().map(|(name, _)| width(name)).fold(0.0, f64::max);
    let aslant = longest + 8.0 > (frame.right - frame.left) / groups;
    if aslant {
        // The first name reaches out to the left of the middle of its group.
        frame.left = frame.left.max((longest * COSINE + 8.0).min(LEFT_MAX));
    }
    frame.draw_y(&y);
    let room = (frame.right - frame.left) / groups;
    let most = bars.groups.iter().map(|(_, values)| values.len()).max().unwrap_or(0).max(1) as f64;
    let bar = (room * (1.0 - GAP) / most).min(BAR_MAX);
    // Figures stand above the bars if each fits above its own.
    let all = || bars.groups.iter().flat_map(|(_, values)| values).filter(|value| value.is_finite());
    let has_figures = all().all(|&value| width(&y.text(value)) * 0.92 <= bar);
    for (index, (_, values)) in bars.groups.iter().enumerate() {
        let begin = frame.left + room * (index as f64 + 0.5) - bar * most / 2.0;
        for (number, &value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let name = bars.names.get(number).map_or("", String::as_str);
            let place = (begin + bar * number as f64, bar);
            draw_bar(&mut frame, &y, place, value, (number, name), has_figures);
        }
    }
    for (index, (name, _)) in bars.groups.iter().enumerate() {
        let (x, below) = (frame.left + room * (index as f64 + 0.5), frame.bottom + 18.0);
        let name = escape(name);
        let _ = if aslant {
            writeln!(
                frame.out,
                "<text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"end\" \
                 transform=\"rotate(-{ANGLE} {x:.1} {below:.1})\">{name}</text>"
            )
        } else {
            writeln!(frame.out, "<text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{name}</text>")
        };
    }
    frame.end(if aslant { 30.0 + longest * SINE } else { 30.0 })
}

fn draw_bar(
    frame: &mut Frame,
    y: &Laid,
    (x, wide): (f64, f64),
    value: f64,
    (number, name): (usize, &str),
    has_figure: bool,
) {
    let base = frame.y(y.place(y.low().max(0.0)));
    let end = frame.y(y.place(value));
    let text = escape(&y.text(value));
    let _ = writeln!(
        frame.out,
        "<rect class=\"f{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
         <title>{}{}{text}</title></rect>",
        colour(number),
        x + 1.0,
        end.min(base),
        (wide - 2.0).max(1.0),
        (base - end).abs(),
        escape(name),
        if name.is_empty() { "" } else { ": " },
    );
    if has_figure {
        let above = if end <= base { end - 4.0 } else { end + 12.0 };
        let _ = writeln!(
            frame.out,
            "<text class=\"value\" x=\"{:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{text}</text>",
            x + wide / 2.0
        );
    }
}
