//! Plots are documents that any reader of XML takes, with ticks that people would choose.

use super::axis::Laid;
use super::*;

fn axis(scale: Scale, unit: Unit) -> Axis {
    Axis { label: "label".to_owned(), scale, unit }
}

fn ticks(scale: Scale, unit: Unit, values: &[f64]) -> Vec<String> {
    let laid = Laid::over(&axis(scale, unit), values.iter().copied(), false, false);
    laid.ticks().into_iter().map(|tick| tick.text).collect()
}

#[test]
fn ticks_are_numbers_that_people_would_choose() {
    let check = |scale, unit, values: &[f64], expected: &[&str]| {
        assert_eq!(ticks(scale, unit, values), expected, "{values:?}");
    };
    use Scale::{Linear, Log, Percentile};
    check(Linear, Unit::Plain, &[0.0, 10.0], &["0", "2", "4", "6", "8", "10"]);
    check(
        Linear,
        Unit::Plain,
        &[0.93, 1.07],
        &["0.92", "0.94", "0.96", "0.98", "1.00", "1.02", "1.04", "1.06", "1.08"],
    );
    check(
        Linear,
        Unit::Nanos,
        &[0.0, 1.4e6],
        &["0", "0.2 ms", "0.4 ms", "0.6 ms", "0.8 ms", "1.0 ms", "1.2 ms", "1.4 ms"],
    );
    check(Linear, Unit::Nanos, &[0.0, 600e9], &["0", "2 min", "4 min", "6 min", "8 min", "10 min"]);
    check(
        Linear,
        Unit::Bytes,
        &[0.0, 3e6],
        &["0", "0.5 MiB", "1.0 MiB", "1.5 MiB", "2.0 MiB", "2.5 MiB", "3.0 MiB"],
    );
    check(
        Linear,
        Unit::PerSecond,
        &[0.0, 4800.0],
        &["0/s", "1,000/s", "2,000/s", "3,000/s", "4,000/s", "5,000/s"],
    );
    check(Linear, Unit::PerSecond, &[0.0, 2e6], &["0", "0.5 M/s", "1.0 M/s", "1.5 M/s", "2.0 M/s"]);
    check(Linear, Unit::Percent, &[0.0, 2.5], &["0.0 %", "0.5 %", "1.0 %", "1.5 %", "2.0 %", "2.5 %"]);
    check(Log, Unit::Nanos, &[130e3, 4.1e6], &["100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms"]);
    check(Log, Unit::Nanos, &[9e4, 9e8], &["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
    check(Percentile, Unit::Percent, &[0.0, 99.95], &["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    // Nothing to show and a single value still have an axis.
    assert!(ticks(Linear, Unit::Plain, &[]).len() >= 2);
    assert!(ticks(Log, Unit::Nanos, &[]).len() >= 2);
    assert!(ticks(Linear, Unit::Nanos, &[5e6]).len() >= 2);
    assert!(ticks(Log, Unit::Nanos, &[5e6]).len() >= 2);
    assert!(ticks(Linear, Unit::Plain, &[0.0, 0.0]).len() >= 2);
    assert!(ticks(Linear, Unit::Plain, &[f64::NAN, f64::INFINITY]).len() >= 2);
}

#[test]
fn places_follow_the_scale() {
    let place = |scale, low, high, value| {
        Laid::over(&axis(scale, Unit::Plain), [low, high].into_iter(), false, false).place(value)
    };
    let near = |one: f64, two: f64| assert!((one - two).abs() < 1e-6, "{one} {two}");
    near(place(Scale::Linear, 0.0, 10.0, 2.5), 0.25);
    near(place(Scale::Log, 1.0, 100.0, 10.0), 0.5);
    near(place(Scale::Log, 1.0, 100.0, 0.0), 0.0);
    near(place(Scale::Percentile, 0.0, 99.9, 90.0), 1.0 / 3.0);
    near(place(Scale::Percentile, 0.0, 99.9, 99.0), 2.0 / 3.0);
    near(place(Scale::Percentile, 0.0, 99.9, 100.0), 1.0);
}

fn chart() -> Chart {
    Chart {
        title: "Latency <by> \"percentile\" & more".to_owned(),
        x: axis(Scale::Percentile, Unit::Percent),
        y: axis(Scale::Log, Unit::Nanos),
        series: vec![
            Series {
                name: "a & b".to_owned(),
                points: vec![(0.0, 1e5), (90.0, f64::NAN), (99.0, 1e6), (100.0, 0.0)],
                band: vec![(0.0, 9e4, 2e5), (99.0, 9e5, 2e6)],
            },
            Series { name: "c".to_owned(), points: vec![(0.0, 2e5), (99.0, 3e6)], band: Vec::new() },
        ],
        marks: true,
        step: false,
    }
}

/// Elements are closed in the order in which they were opened, attributes are quoted: enough of a check
/// that nothing unescaped got through.
fn well_formed(document: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = document;
    while let Some(begin) = rest.find('<') {
        assert!(!rest[..begin].contains('>'), "a bare > in {}", &rest[..begin]);
        let end = rest[begin..].find('>').map(|end| begin + end).unwrap();
        let tag = &rest[begin + 1..end];
        assert!(!tag.contains('<'), "{tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !["!DOCTYPE", "meta"].contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!document.contains("NaN") && !document.contains("inf"), "a number that is none");
}

#[test]
fn documents_are_well_formed_whatever_the_names_are() {
    let bars = Bars {
        title: "<bars>".to_owned(),
        y: axis(Scale::Linear, Unit::Bytes),
        groups: vec![("one & only".to_owned(), vec![1e6, f64::NAN]), ("two".to_owned(), vec![0.0, 3e6])],
        names: vec!["x".to_owned(), "<y>".to_owned()],
    };
    let heat = HeatMap {
        title: "heat".to_owned(),
        x: axis(Scale::Linear, Unit::Nanos),
        y: axis(Scale::Log, Unit::Nanos),
        columns: vec![(0.0, vec![(1e5, 2e5, 10), (2e5, 4e5, 0)]), (1e9, vec![]), (2e9, vec![(1e6, 2e6, 1)])],
    };
    for svg in [chart().svg(), bars.svg(), heat.svg()] {
        well_formed(&svg);
        assert_eq!(svg.matches("<svg ").count(), 1);
    }
    well_formed(&page("a <title>", &[("one & two", chart().svg()), ("", bars.svg())]));
    assert_eq!(escape("a<b>&\"'\u{7}"), "a&lt;b&gt;&amp;&quot;&#39;\u{fffd}");
}

#[test]
fn gaps_break_the_line_and_bands_lie_below() {
    let svg = chart().svg();
    let line = svg.lines().find(|line| line.contains("class=\"line l0\" d=\"M6") || line.contains("h0.1"));
    assert!(line.is_some_and(|line| line.matches('M').count() == 2), "{svg}");
    assert!(svg.find("class=\"band").unwrap() < svg.find("<circle").unwrap());
    let empty = Chart { series: Vec::new(), ..chart() };
    assert!(empty.svg().contains("nothing measured"));
    well_formed(&empty.svg());
}

#[test]
fn a_step_holds_its_value_until_the_next() {
    let svg = Chart { step: true, ..chart() }.svg();
    let line =
        svg.lines().find(|line| line.contains("class=\"line l1\" d=\"M") && line.contains('V')).unwrap();
    assert!(line.contains('H') && !line.contains('L'), "{line}");
}

#[test]
fn nothing_is_loaded_or_run() {
    let html = page("t", &[("s", chart().svg())]);
    let without_namespace = html.replace("http://www.w3.org/2000/svg", "");
    for forbidden in ["http://", "https://", "<script", "@import", "url(", "<link", "<img"] {
        assert!(!without_namespace.contains(forbidden), "{forbidden}");
    }
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("@media print"));
}
