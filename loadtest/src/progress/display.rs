//! Where the view is shown: a line each second, or on a terminal a bar that is drawn anew.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::live::View;
use crate::units::Nanos;

/// One of the ways to show a run.
pub(super) enum Display {
    Nothing,
    /// A line each second; the run's length in nanoseconds.
    Lines(u64),
    Bar(ProgressBar),
}

impl Display {
    /// The way that suits stderr, for a run of `end` nanoseconds.
    pub(super) fn new(quiet: bool, end: u64) -> Self {
        if quiet {
            return Display::Nothing;
        }
        if !std::io::stderr().is_terminal() {
            return Display::Lines(end);
        }
        let bar = ProgressBar::with_draw_target(Some(end / 1_000_000), ProgressDrawTarget::stderr());
        // INVARIANT: the template is a constant that a test parses.
        bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
        Display::Bar(bar)
    }

    /// Shows it.
    pub(super) fn show(&self, view: &View) {
        match self {
            Display::Nothing => {}
            Display::Lines(end) => {
                let left = Duration::from_nanos(end.saturating_sub(view.now)).as_secs_f64();
                eprintln!("{:5.0} s  {}  {left:.0} s left", view.now as f64 / 1e9, text(view));
            }
            Display::Bar(bar) => {
                bar.set_position(view.now / 1_000_000);
                bar.set_message(text(view));
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// A line for the time, and below it the numbers.
pub(super) fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    let style = ProgressStyle::with_template("{elapsed} {bar:40} {eta} left\n{msg}")?;
    Ok(style.progress_chars("━╸─"))
}

/// The numbers of a view, on one line.
pub(super) fn text(view: &View) -> String {
    let mut text = format!("{:.0}/s  in flight {}", view.rate, view.in_flight);
    if view.waiting > 0 {
        text.push_str(&format!("  waiting {}", view.waiting));
    }
    match view.percentiles {
        Some([p50, p99, p999]) => {
            text.push_str(&format!("  p50 {}  p99 {}  p99.9 {}", Nanos(p50), Nanos(p99), Nanos(p999)));
        }
        None => text.push_str("  no answers"),
    }
    text.push_str(&format!("  errors {}", view.errors));
    if let Some(half) = view.half_width {
        text.push_str(&format!("  sure to ±{:.1} %", half * 100.0));
    }
    text
}
