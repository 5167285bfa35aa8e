//! Which text format a scraper gets.

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format to answer with, given the Accept field: OpenMetrics if it is named at least as dearly
    /// as plain text, else the Prometheus text format. Never refuses: a scraper that can't take either
    /// sees that from the content type.
    pub(crate) fn from_accept(accept: &str) -> Self {
        let (mut open, mut text) = (0_u32, 0_u32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut spoken) = (1_000, true);
            for parameter in parts {
                match parameter.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                    Some((name, value)) if name.eq_ignore_ascii_case("q") => quality = thousandths(value),
                    Some((name, value)) if name.eq_ignore_ascii_case("version") => {
                        spoken = matches!(value.trim_matches('"'), "0.0.1" | "0.0.4" | "1.0.0");
                    }
                    _ => {}
                }
            }
            if spoken && media.eq_ignore_ascii_case("application/openmetrics-text") {
                open = open.max(quality);
            } else if spoken && media.eq_ignore_ascii_case("text/plain") {
                text = text.max(quality);
            }
        }
        if open > 0 && open >= text { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The Content-Type of an answer in this format.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A quality value in thousandths; what can't be read counts as zero.
fn thousandths(quality: &str) -> u32 {
    quality.parse::<f32>().map_or(0, |quality| (quality.clamp(0.0, 1.0) * 1_000.0) as u32)
}
