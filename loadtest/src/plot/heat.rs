//! Heat maps: how often each value occurred in each column, darkest where most.
//!
//! Darkness follows the logarithm of the count, so that a single slow request is still seen beside a
//! million quick ones; one hue at eight strengths over the paper's colour works on light and dark.

use std::fmt::Write as _;

use super::HeatMap;
use super::axis::Laid;
use super::frame::{Frame, Key, WIDTH, width};
use super::html::escape;

/// How many strengths there are.
const LEVELS: usize = 8;

pub(super) fn render(map: &HeatMap) -> String {
    let cells = || map.columns.iter().flat_map(|(_, cells)| cells).filter(|cell| cell.2 > 0);
    let y = Laid::over(&map.y, cells().flat_map(|cell| [cell.0, cell.1]), false, false);
    let x = Laid::over(&map.x, edges(map).into_iter(), false, true);
    let most = cells().map(|cell| cell.2).max().unwrap_or(1);
    let mut frame = Frame::begin(&map.title, &[], Key::Box, &map.y.label, &y);
    frame.draw_y(&y);
    frame.draw_x(&map.x, &x);
    let edges = edges(map);
    let mut levels = vec![String::new(); LEVELS];
    let mut tips = String::new();
    for ((_, cells), edge) in map.columns.iter().zip(edges.windows(2)) {
        let (left, right) = (frame.x(x.place(edge[0])), frame.x(x.place(edge[1])));
        for &(low, high, count) in cells.iter().filter(|cell| cell.2 > 0) {
            let (under, over) = (frame.y(y.place(low)), frame.y(y.place(high)));
            // Thin cells keep a visible height.
            let over = over.min(under - 1.0);
            let _ =
                write!(levels[level(count, most)], "M{left:.1} {over:.1}H{right:.1}V{under:.1}H{left:.1}Z");
        }
        let total: u64 = cells.iter().map(|cell| cell.2).sum();
        let Some(&(low, high, _)) = cells.iter().max_by_key(|cell| cell.2).filter(|cell| cell.2 > 0) else {
            continue;
        };
        let tip = format!("{}: {total}, most from {} to {}", x.text(edge[0]), y.text(low), y.text(high));
        let _ = writeln!(
            tips,
            "<rect class=\"tip\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{}</title></rect>",
            frame.top,
            (right - left).max(0.5),
            frame.bottom - frame.top,
            escape(&tip)
        );
    }
    for (index, path) in levels.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let _ = writeln!(
            frame.out,
            "<path class=\"heat\" fill-opacity=\"{:.3}\" shape-rendering=\"crispEdges\" d=\"{path}\"/>",
            strength(index)
        );
    }
    frame.out.push_str(&tips);
    draw_key(&mut frame, most);
    frame.end(48.0)
}

/// Where the columns begin, and where the last one ends.
fn edges(map: &HeatMap) -> Vec<f64> {
    let mut edges: Vec<f64> = map.columns.iter().map(|column| column.0).collect();
    let wide = match edges.as_slice() {
        [.., before, last] => last - before,
        _ => 1.0,
    };
    edges.extend(edges.last().map(|last| last + wide));
    edges
}

/// The strength of a count: 0 is the palest.
fn level(count: u64, most: u64) -> usize {
    if most <= 1 {
        return LEVELS - 1;
    }
    let share = (count as f64).ln() / (most as f64).ln();
    ((share * LEVELS as f64) as usize).min(LEVELS - 1)
}

fn strength(level: usize) -> f64 {
    0.12 + 0.88 * level as f64 / (LEVELS - 1) as f64
}

/// The key of the strengths, at the right above the map.
fn draw_key(frame: &mut Frame, most: u64) {
    let (text, y) = (most.to_string(), frame.top - 20.0);
    let begin = WIDTH - 24.0 - width(&text) - 6.0 - 14.0 * LEVELS as f64;
    let _ = writeln!(
        frame.out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">requests  1</text>",
        begin - 6.0,
        y + 9.0
    );
    for index in 0..LEVELS {
        let _ = writeln!(
            frame.out,
            "<rect class=\"heat\" fill-opacity=\"{:.3}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"14\" height=\"10\"/>",
            strength(index),
            begin + 14.0 * index as f64,
        );
    }
    let _ = writeln!(
        frame.out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
        WIDTH - 24.0,
        y + 9.0
    );
}
