//! The display says what the senders did, and a run ends once its percentile is sure enough.

use super::display::{style, text};
use super::live::View;
use super::*;
use crate::random::Random;

const SECOND: u64 = 1_000_000_000;

fn reading(totals: &[Totals]) -> Reading {
    let mut reading = Reading::default();
    totals.iter().for_each(|totals| totals.read(&mut reading));
    reading
}

#[test]
fn a_view_shows_what_came_since_the_last_one() {
    let totals = [Totals::default(), Totals::default()];
    let mut live = Live::new(SECOND, None);
    for (index, totals) in totals.iter().enumerate() {
        totals.sent.fetch_add(120, Ordering::Relaxed);
        for request in 0..100 {
            totals.on_answer(if request < 90 { 1_000_000 } else { 50_000_000 }, request == 0);
        }
        totals.failed.fetch_add(1 + index as u64, Ordering::Relaxed);
    }
    assert!(!live.wants(SECOND / 2) && live.wants(SECOND));
    live.take(SECOND, reading(&totals));
    let view = live.view(SECOND).unwrap();
    assert_eq!((view.rate, view.in_flight, view.errors), (200.0, 37, 5));
    let [p50, p99, _] = view.percentiles.unwrap();
    assert!((1_000_000..1_010_000).contains(&p50) && (50_000_000..50_500_000).contains(&p99));
    // The next one knows only what is new.
    assert_eq!(live.view(SECOND + 1), None);
    totals[0].on_answer(2_000_000, false);
    live.take(3 * SECOND, reading(&totals));
    let view = live.view(3 * SECOND).unwrap();
    assert_eq!(view.rate, 0.5);
    assert!((2_000_000..2_020_000).contains(&view.percentiles.unwrap()[0]));
}

#[test]
fn lines_name_what_they_show() {
    let view = View {
        now: 3 * SECOND,
        rate: 1999.6,
        in_flight: 7,
        waiting: 0,
        errors: 2,
        percentiles: Some([231_000, 1_800_000_000, 2_000_000_000]),
        half_width: Some(0.0423),
    };
    assert_eq!(
        text(&view),
        "2000/s  in flight 7  p50 231 µs  p99 1.80 s  p99.9 2.00 s  errors 2  sure to ±4.2 %"
    );
    let view = View { waiting: 5, percentiles: None, half_width: None, ..view };
    assert_eq!(text(&view), "2000/s  in flight 7  waiting 5  no answers  errors 2");
    assert!(style().is_ok());
}

/// Seconds until a run of such latencies is sure enough, at most so many.
fn seconds_until_sure(spread: f64, until: &str) -> Option<u64> {
    let totals = [Totals::default()];
    let mut live = Live::new(SECOND / 10, Some(until.parse().unwrap()));
    let mut random = Random::seeded(4);
    (1..=600)
        .find(|tenth| {
            let now = tenth * SECOND / 10;
            for _ in 0..200 {
                totals[0].on_answer((1e6 * (1.0 + spread * random.exponential())) as u64, false);
            }
            if live.wants(now) {
                live.take(now, reading(&totals));
            }
            live.view(now);
            live.is_sure()
        })
        .map(|tenth| tenth / 10)
}

#[test]
fn a_run_is_sure_sooner_when_its_latencies_vary_less() {
    let steady = seconds_until_sure(0.1, "p99:5%").unwrap();
    let varied = seconds_until_sure(2.0, "p99:5%").unwrap();
    assert!((3..=5).contains(&steady) && varied > steady, "{steady} {varied}");
    assert_eq!(seconds_until_sure(5.0, "p99.9:0.1%"), None);
}

#[test]
fn how_sure_is_a_share_of_a_percentile() {
    let check = |text: &str, percentile, share| {
        assert_eq!(text.parse(), Ok(Surety { percentile, share }), "{text}");
    };
    check("5%", 99.0, 0.05);
    check("p50:2%", 50.0, 0.02);
    check("p99.9:12.5%", 99.9, 0.125);
    for wrong in ["", "5", "0%", "p100:5%", "99:5%", "p50", "p50:5", "-1%", "nan%", "101%"] {
        assert!(wrong.parse::<Surety>().is_err(), "{wrong}");
    }
}
